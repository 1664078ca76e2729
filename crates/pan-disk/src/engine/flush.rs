//! Making things durable. One thread syncs for all that wait: writes of all volumes of a pool share it.

use pan_model::VolumeId;

use crate::format::record::Body;
use crate::{Fault, FlushMark, Medium, Name, Result, Seq, Side};

use super::journal::Purpose;
use super::pool::{Guard, Pool};

/// Bytes of a record of a flush.
const FLUSH_BYTES: u64 = 24;

impl<M: Medium> Pool<M> {
    /// Makes every write durable that was acknowledged before, of all volumes. How far a volume was flushed is
    /// [`flushed`](Self::flushed)'s to keep.
    ///
    /// # Errors
    /// The disk failed or is full; nothing was promised then.
    pub fn sync(&self) -> Result<()> {
        let state = self.lock();
        let last = state.journal.last;
        self.durable(state, last).map(drop)
    }

    /// A volume counts as flushed up to `mark`, after a [`sync`](Self::sync) that made it so. Durable with the next one.
    ///
    /// # Errors
    /// The volume is not there, or the disk.
    pub fn flushed(&self, volume: VolumeId, mark: FlushMark) -> Result<()> {
        if self.lock().superblock(volume)?.last_flush >= mark {
            return Ok(());
        }
        let mut state = self.room(FLUSH_BYTES, 0, Purpose::Control)?;
        state.volume(volume)?;
        let written = state.journal.append(&self.medium, &Body::Flush { volume, mark }, &[]);
        written.map_err(|fault| state.blame(fault, "record a flush"))?;
        state.flushed(volume, mark);
        Ok(())
    }

    /// Makes every write to a volume durable that was acknowledged before, and counts it as flushed up to `mark`.
    ///
    /// # Errors
    /// The disk failed or is full; nothing was promised then.
    pub fn flush(&self, volume: VolumeId, mark: FlushMark) -> Result<()> {
        let mut state = self.room(FLUSH_BYTES, 0, Purpose::Control)?;
        state.volume(volume)?;
        let written = state.journal.append(&self.medium, &Body::Flush { volume, mark }, &[]);
        let seq = written.map_err(|fault| state.blame(fault, "record a flush"))?;
        let mut state = self.durable(state, seq)?;
        state.flushed(volume, mark);
        Ok(())
    }

    /// Waits until every record up to `seq` is durable, and the data that they speak of.
    pub(super) fn durable<'a>(&'a self, mut state: Guard<'a>, seq: Seq) -> Result<Guard<'a>> {
        loop {
            state.usable()?;
            if state.journal.flushed >= seq {
                return Ok(state);
            }
            if state.syncing {
                state = self.wait(state);
                continue;
            }
            state = self.sync_all(state)?;
        }
    }

    fn sync_all<'a>(&'a self, mut state: Guard<'a>) -> Result<Guard<'a>> {
        let (target, said) = (state.journal.last, state.journal.said);
        let data = std::mem::take(&mut state.data_dirty);
        let unsynced = std::mem::take(&mut state.unsynced);
        let dirty = std::mem::take(&mut state.journal.dirty);
        // The half that was sealed before the other one.
        let first = state.journal.active.side.other();
        state.syncing = true;
        drop(state);
        let outcome = sync_files(&self.medium, data, dirty, first);
        let mut state = self.lock();
        state.syncing = false;
        self.changed.notify_all();
        if let Err(fault) = outcome {
            // What a failed sync left behind is not known, and another one that succeeds says nothing about it.
            let text = match fault {
                Fault::Full => "no space was left for what had been written".to_owned(),
                Fault::Failed(text) => text,
            };
            state.unsynced += unsynced;
            return Err(state.fail(text));
        }
        state.journal.flushed = state.journal.flushed.max(target);
        state.journal.marked = state.journal.marked.max(said);
        state.settle_units();
        Ok(state)
    }
}

/// Syncs data before the journal that speaks of them.
fn sync_files(medium: &impl Medium, data: bool, dirty: [bool; 2], first: Side) -> Result<(), Fault> {
    if data {
        medium.sync(Name::Data)?;
    }
    for side in [first, first.other()] {
        if dirty[side.index()] {
            medium.sync(Name::Journal(side))?;
        }
    }
    Ok(())
}
