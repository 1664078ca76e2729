//! Writing, and giving back. Small writes go into the journal, data and all: one write and one sync. Large ones go to new places
//! in the data file, and the journal gets their checksums; until that record is durable the old places are kept.

use pan_model::VolumeId;

use crate::format::codec::sums;
use crate::format::page::UNITS;
use crate::format::record::Body;
use crate::span::UNIT_BLOCKS;
use crate::{BLOCK, DiskError, Layer, Medium, Name, Place, Result, Seq, Source, Span, UNIT};

use super::journal::Purpose;
use super::maps::page_of;
use super::pool::{Guard, Pool};
use super::units::Run;

/// Whole units from this size on go to the data file at once. Below, writing twice costs less than a second sync.
const DIRECT_MIN: u64 = 2 * UNIT;
/// A record of units at new places lists at most so many, which is 1 MiB.
const DIRECT_UNITS_MAX: u64 = 16;
/// Units that may lie in the data file without being durable, which is 32 MiB: after a crash each is read to see whether it is there.
const UNSYNCED_MAX: u64 = 512;
/// Bytes of a record that gives blocks back.
const ZERO_BYTES: u64 = 20;

/// How durable a write is when the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives the end of the process, and a loss of power after the next flush.
    Flushed,
    /// It survives a loss of power (FUA).
    Now,
}

/// Something to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    /// The first byte, a multiple of [`BLOCK`].
    pub offset: u64,
    /// Whole blocks.
    pub data: &'a [u8],
}

impl Write<'_> {
    const fn span(&self) -> Span {
        Span { offset: self.offset, length: self.data.len() as u64 }
    }
}

impl<M: Medium> Pool<M> {
    /// Writes to a volume. The extents come into the intent log, and into what absent members missed, with the same record: they
    /// are there whenever the write is.
    ///
    /// Writes that overlap must not be under way at once: which of them lasts is not said.
    ///
    /// # Errors
    /// The range, the intent log or the disk. Nothing was promised then: each block is the old or the new one.
    pub fn write(&self, volume: VolumeId, write: Write<'_>, durability: Durability) -> Result<()> {
        self.write_all(volume, &[write], durability)
    }

    /// Writes in this order, with at most one sync at the end.
    ///
    /// # Errors
    /// Like [`write`](Self::write).
    pub fn write_all(&self, volume: VolumeId, writes: &[Write<'_>], durability: Durability) -> Result<()> {
        let mut last = None;
        for write in writes {
            ready(&self.lock(), volume, write.span())?;
            for (span, direct) in pieces(write.span()) {
                let from = (span.offset - write.offset) as usize;
                let data = &write.data[from..from + span.length as usize];
                let piece = Write { offset: span.offset, data };
                last = Some(if direct { self.write_direct(volume, piece)? } else { self.write_journal(volume, piece)? });
            }
        }
        match (durability, last) {
            (Durability::Flushed, _) | (_, None) => Ok(()),
            (Durability::Now, Some(seq)) => self.durable(self.lock(), seq).map(drop),
        }
    }

    fn write_journal(&self, volume: VolumeId, write: Write<'_>) -> Result<Seq> {
        let most = self.record_bytes_max;
        let mut last = Seq(0);
        for (at, data) in (0..).zip(write.data.chunks(most as usize)) {
            let piece = Write { offset: write.offset + at * most, data };
            let sums = sums(data);
            let mut state = self.room(16 + 4 * sums.len() as u64, data.len() as u64, Purpose::Data)?;
            let layer = ready(&state, volume, piece.span())?;
            let body = Body::Write { layer, block: piece.offset / BLOCK, sums };
            last = self.record(&mut state, volume, piece.span(), &body, data)?;
        }
        Ok(last)
    }

    fn write_direct(&self, volume: VolumeId, write: Write<'_>) -> Result<Seq> {
        let mut state = self.lock();
        ready(&state, volume, write.span())?;
        if state.unsynced >= UNSYNCED_MAX {
            let last = state.journal.last;
            state = self.durable(state, last)?;
        }
        let runs = state.units.allocate(write.span().length / UNIT);
        drop(state);
        let mut last = Seq(0);
        let mut unit = write.offset / UNIT;
        for (at, run) in runs.iter().enumerate() {
            let from = (unit * UNIT - write.offset) as usize;
            let data = &write.data[from..from + (run.count * UNIT) as usize];
            match self.write_run(volume, unit, *run, data) {
                Ok(seq) => last = seq,
                Err(error) => {
                    let mut state = self.lock();
                    runs[at..].iter().for_each(|run| state.units.abandon(*run));
                    return Err(error);
                }
            }
            unit += run.count;
        }
        Ok(last)
    }

    /// Writes units to new places. On an error none of those places is in use.
    fn write_run(&self, volume: VolumeId, unit: u64, run: Run, data: &[u8]) -> Result<Seq> {
        if let Err(fault) = self.medium.write_at(Name::Data, (run.first.0 - 1) * UNIT, data) {
            return Err(self.lock().blame(fault, "write data"));
        }
        let sums = sums(data);
        let mut state = self.room(24 + 4 * sums.len() as u64, 0, Purpose::Data)?;
        let span = Span { offset: unit * UNIT, length: run.count * UNIT };
        let layer = ready(&state, volume, span)?;
        state.prepare(&self.medium, layer, unit..unit + run.count)?;
        state.data_dirty = true;
        state.unsynced += run.count;
        let body = Body::Place { layer, unit, place: run.first, sums };
        let seq = self.record(&mut state, volume, span, &body, &[])?;
        let Body::Place { sums, .. } = body else { unreachable!("it was made three lines above") };
        state.place(layer, unit, Place(run.first.0), &sums, seq);
        Ok(seq)
    }

    /// Writes a record of something that changes a range, and remembers the range for the peers.
    fn record(&self, state: &mut Guard<'_>, volume: VolumeId, span: Span, body: &Body, data: &[u8]) -> Result<Seq> {
        let seq = state.journal.append(&self.medium, body, data).map_err(|fault| state.blame(fault, "write to the journal"))?;
        state.had_space();
        state.volume_mut(volume)?.marks.written(span);
        Ok(seq)
    }

    /// Makes a range read as zeros and gives its space back, in whole units of 64 KiB (trim, write zeroes). Says which parts of it that
    /// changed: where all reads as zeros already nothing is recorded, and so nothing comes into the intent log.
    ///
    /// # Errors
    /// Like [`write`](Self::write).
    pub fn zero(&self, volume: VolumeId, span: Span, durability: Durability) -> Result<Vec<Span>> {
        ready(&self.lock(), volume, span)?;
        let blocks = span.blocks();
        let page = UNITS * UNIT_BLOCKS;
        let (mut last, mut changed) = (None, Vec::new());
        let mut at = blocks.start;
        while at < blocks.end {
            let end = blocks.end.min((at / page + 1) * page);
            if let Some(seq) = self.zero_blocks(volume, at..end)? {
                last = Some(seq);
                changed.push(Span::of_blocks(at, end - at));
            }
            at = end;
        }
        if let (Durability::Now, Some(seq)) = (durability, last) {
            self.durable(self.lock(), seq).map(drop)?;
        }
        Ok(changed)
    }

    /// Gives blocks of one page back. Nothing is done, and nothing remembered, where all of them read as zeros already.
    fn zero_blocks(&self, volume: VolumeId, blocks: std::ops::Range<u64>) -> Result<Option<Seq>> {
        let span = Span::of_blocks(blocks.start, blocks.end - blocks.start);
        let mut state = self.room(ZERO_BYTES, 0, Purpose::Control)?;
        let layer = ready(&state, volume, span)?;
        let (number, _) = page_of(span.units().start);
        let first = u64::from(number) * UNITS;
        let page = state.maps.get(&self.medium, layer, number)?;
        let anywhere = span.units().any(|unit| page.0[(unit - first) as usize].place.is_some());
        if !anywhere && !state.journal.holds(layer, blocks.clone()) {
            return Ok(None);
        }
        state.prepare(&self.medium, layer, span.units())?;
        let body = Body::Zero { layer, block: blocks.start, count: blocks.end - blocks.start };
        let seq = self.record(&mut state, volume, span, &body, &[])?;
        state.zero(layer, blocks, seq);
        Ok(Some(seq))
    }
}

/// The layer of a volume, if a range of it may be written.
fn ready(state: &Guard<'_>, volume: VolumeId, span: Span) -> Result<Layer> {
    let layer = state.within(Source::Volume(volume), span)?;
    if !state.volume(volume)?.marks.fits(span) {
        return Err(DiskError::IntentsFull(volume));
    }
    Ok(layer)
}

impl super::state::State {
    /// Makes the pages of units ready to be changed.
    pub fn prepare(&mut self, medium: &impl Medium, layer: Layer, units: std::ops::Range<u64>) -> Result<()> {
        if units.is_empty() {
            return Ok(());
        }
        for number in page_of(units.start).0..=page_of(units.end - 1).0 {
            self.maps.change(medium, &mut self.units, layer, number)?;
        }
        Ok(())
    }
}

/// Cuts a range into what goes through the journal and what goes to the data file at once.
fn pieces(span: Span) -> Vec<(Span, bool)> {
    let (first, end) = (span.offset.next_multiple_of(UNIT), span.end() / UNIT * UNIT);
    if end <= first || end - first < DIRECT_MIN {
        return if span.length == 0 { Vec::new() } else { vec![(span, false)] };
    }
    let mut pieces = Vec::new();
    if span.offset < first {
        pieces.push((Span { offset: span.offset, length: first - span.offset }, false));
    }
    let mut at = first;
    while at < end {
        let length = (end - at).min(DIRECT_UNITS_MAX * UNIT);
        pieces.push((Span { offset: at, length }, true));
        at += length;
    }
    if end < span.end() {
        pieces.push((Span { offset: end, length: span.end() - end }, false));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_are_the_whole(block in 0u64..300, count in 1u64..900) {
            let span = Span::of_blocks(block, count);
            let mut at = span.offset;
            for (piece, direct) in pieces(span) {
                prop_assert_eq!(piece.offset, at);
                prop_assert!(piece.length > 0 && (!direct || piece.offset % UNIT == 0 && piece.length % UNIT == 0));
                at = piece.end();
            }
            prop_assert_eq!(at, span.end());
        }
    }
}
