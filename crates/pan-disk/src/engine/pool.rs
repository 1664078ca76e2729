//! A pool: its beginning and end, its lock, and the upkeep that a thread of its own does.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use pan_model::VolumeId;

use crate::format::root::{HALF_BYTES, Root, Start};
use crate::format::superblock::{Standing, Superblock};
use crate::{DiskError, Fault, Medium, Name, Result, Seq, Side, UNIT};

use super::journal::Purpose;
use super::open;
use super::state::{Condition, State, store_root};

/// How often a thread tries to get room in the journal before it says that it cannot: each try carried a half home, and
/// others used it up.
const TRIES_MAX: u32 = 64;
/// Units to be given back that are not left to the upkeep: 16 MiB.
const PUNCH_AT_ONCE: u64 = 256;

/// The lock, held.
pub(super) type Guard<'a> = MutexGuard<'a, State>;

/// What cannot be changed in a pool later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// A random number: it keeps what tenants write from ever looking like the journal's own records.
    pub salt: u64,
    /// Bytes of each of the journal's two halves, taken at once. [`Layout::HALF_BYTES`] where there is no reason for another.
    pub half_bytes: u64,
}

impl Layout {
    /// 32 MiB: at 5,000 flushed writes of 4 KiB a second a half lasts for more than a second, and is carried home in a fraction of it.
    pub const HALF_BYTES: u64 = 32 << 20;
}

/// What a pool takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the units that hold something, and of those that wait to be given back.
    pub data: u64,
    /// Bytes of units that will be given back to the disk.
    pub to_give_back: u64,
    /// Bytes of blocks that are in the journal only.
    pub journal: u64,
}

/// All replicas on one disk. Shared by reference among threads; every call blocks until it is done.
///
/// Dropping it is like a crash: nothing that was flushed is lost, but [`close`](Self::close) makes the next open quicker.
#[derive(Debug)]
pub struct Pool<M> {
    pub(super) medium: M,
    pub(super) record_bytes_max: u64,
    state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Held by whoever carries home, or changes what exists.
    upkeep: Mutex<()>,
}

impl<M: Medium> Pool<M> {
    /// Makes a pool on a disk that has none.
    ///
    /// # Errors
    /// There is one, the layout cannot be, or the disk.
    pub fn format(medium: M, layout: Layout) -> Result<Self> {
        if !HALF_BYTES.contains(&layout.half_bytes) || !layout.half_bytes.is_multiple_of(crate::BLOCK) {
            return Err(DiskError::Layout(layout.half_bytes));
        }
        let failed = |fault: Fault| match fault {
            Fault::Full => DiskError::Full("make a pool"),
            Fault::Failed(text) => DiskError::Failed(text),
        };
        if let Some(found) = medium.names().map_err(failed)?.first() {
            return Err(DiskError::PoolExists(*found));
        }
        let root = Root {
            revision: 1,
            salt: layout.salt,
            half_bytes: layout.half_bytes,
            boot: 0,
            clean: true,
            generation: 0,
            start: Start { side: Side::A, generation: 1, seq: Seq(1) },
            applied: Seq(0),
            layer_next: 1,
            layers: BTreeMap::new(),
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        };
        store_root(&medium, &root).map_err(failed)?;
        medium.sync_names().map_err(failed)?;
        Self::open(medium)
    }

    /// Opens a pool, whatever state it was left in: everything flushed is there, every replica has a new incarnation.
    ///
    /// # Errors
    /// There is none, what describes it is damaged, or the disk.
    pub fn open(medium: M) -> Result<Self> {
        let state = open::open(&medium)?;
        let record_bytes_max = state.journal.record_bytes_max();
        let pool = Self { medium, record_bytes_max, state: Mutex::new(state), changed: Condvar::new(), upkeep: Mutex::new(()) };
        pool.give_back()?;
        Ok(pool)
    }

    /// Carries everything home and marks every replica as clean.
    ///
    /// # Errors
    /// The disk; nothing is lost then, as after a crash.
    pub fn close(self) -> Result<()> {
        self.checkpoint()?;
        self.checkpoint()?;
        self.lock().units.cool();
        self.give_back()?;
        let mut state = self.lock();
        let last = state.journal.last;
        state = self.durable(state, last)?;
        for volume in state.volumes.keys().copied().collect::<Vec<_>>() {
            let superblock = Superblock { standing: Standing::Clean, ..state.superblock(volume)? };
            state.write_superblock(&self.medium, volume, superblock)?;
        }
        let root = Root { clean: true, ..state.root(state.maps.generation, state.start, state.journal.last) };
        store_root(&self.medium, &root).map_err(|fault| state.blame(fault, "write the root"))
    }

    /// What a thread of its own calls in a loop: waits until there is something to carry home or to give back, and does it.
    /// Without such a thread whoever writes has to do it now and then.
    ///
    /// Returns `false` once [`stop_upkeep`](Self::stop_upkeep) was called.
    ///
    /// # Errors
    /// The disk failed. One that is full is no error here.
    pub fn upkeep(&self) -> Result<bool> {
        let mut state = self.lock();
        while !state.closing && state.journal.frozen.is_none() && state.units.to_punch() < PUNCH_AT_ONCE {
            state.usable()?;
            state = self.wait(state);
        }
        if state.closing {
            return Ok(false);
        }
        let frozen = state.journal.frozen.is_some();
        drop(state);
        self.give_back()?;
        if !frozen {
            return Ok(true);
        }
        match self.carry_for_room() {
            // Whoever writes next tries again; until then there is nothing to wait for.
            Err(DiskError::Full(_)) => {
                let state = self.lock();
                if !state.closing {
                    drop(self.wait(state));
                }
                Ok(true)
            }
            outcome => outcome.map(|()| true),
        }
    }

    /// Ends every [`upkeep`](Self::upkeep).
    pub fn stop_upkeep(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// Gives back what can be: carries the journal home, and frees units that were kept for the next writes. To be called when a
    /// disk is full, or idle.
    ///
    /// # Errors
    /// The disk.
    pub fn tidy(&self) -> Result<()> {
        self.checkpoint()?;
        self.checkpoint()?;
        self.lock().units.cool();
        self.give_back()
    }

    /// Carries home what keeps others from writing, unless somebody just did.
    fn carry_for_room(&self) -> Result<()> {
        let _upkeep = self.upkeep_lock();
        let state = self.lock();
        if state.journal.frozen.is_none() && state.maps.dirty() + 2 <= state.journal.pages_max() {
            return Ok(());
        }
        drop(state);
        self.checkpoint_held()
    }

    /// Whether the disk can be used.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.lock().condition.clone()
    }

    /// What of a volume takes space: bytes of the units that its own map names, not those of snapshots under it.
    ///
    /// # Errors
    /// The volume is not there.
    pub fn used(&self, volume: VolumeId) -> Result<u64> {
        let state = self.lock();
        let layer = state.volume(volume)?.layer;
        Ok(state.maps.units(layer) * UNIT)
    }

    /// What the pool takes.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let state = self.lock();
        let frozen = state.journal.frozen.as_ref().map_or(0, |half| half.index.len());
        let journal = (state.journal.active.index.len() + frozen) as u64 * crate::BLOCK;
        Usage { data: state.units.used() * UNIT, to_give_back: state.units.to_punch() * UNIT, journal }
    }

    /// Punches what is to be given back.
    pub(super) fn give_back(&self) -> Result<()> {
        loop {
            let mut state = self.lock();
            let Some(run) = state.units.take_to_punch() else { return Ok(()) };
            drop(state);
            let punched = self.medium.punch(Name::Data, (run.first.0 - 1) * UNIT, run.count * UNIT);
            let mut state = self.lock();
            state.units.punched(run);
            match punched {
                Ok(()) => {}
                // The disk needs space to give space back. It is tried again when the pool is opened.
                Err(Fault::Full) => return Ok(()),
                Err(Fault::Failed(text)) => return Err(state.fail(text)),
            }
        }
    }

    pub(super) fn lock(&self) -> Guard<'_> {
        // A panic elsewhere while it was held is an error of ours; what is on the disk is whole in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, if nobody has it.
    pub(super) fn try_lock(&self) -> Option<Guard<'_>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(super) fn wait<'a>(&'a self, state: Guard<'a>) -> Guard<'a> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn upkeep_lock(&self) -> MutexGuard<'_, ()> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, with room in the journal for a record, and in memory for the pages that it changes.
    pub(super) fn room(&self, body: u64, data: u64, purpose: Purpose) -> Result<Guard<'_>> {
        for _ in 0..TRIES_MAX {
            let mut state = self.lock();
            while state.quiet {
                state = self.wait(state);
            }
            state.usable()?;
            if purpose == Purpose::Data && !state.refill(&self.medium)? {
                return Err(state.blame(Fault::Full, "write: what is left is kept for giving space back"));
            }
            let pages = state.maps.dirty() + 2 <= state.journal.pages_max();
            if pages && state.journal.fits(body, data, purpose) {
                return Ok(state);
            }
            if pages && state.journal.frozen.is_none() {
                state.journal.swap(&self.medium).map_err(|fault| state.blame(fault, "seal a half of the journal"))?;
                self.changed.notify_all();
                continue;
            }
            drop(state);
            self.carry_for_room()?;
        }
        Err(DiskError::Full("find room in the journal: others use it up"))
    }
}
