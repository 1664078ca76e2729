//! All replicas of a storage host on one pool: `pan_replica` decides for each, `pan_disk` keeps them.
//!
//! It must not know sockets, clocks and threads: calls block until the disk has done its part, and may come from several
//! threads at once. A request is *admitted* in the order of its arrival, which is quick, and what follows from it is *performed*
//! whenever its caller likes; [`Kept`] sees to the order that remains.

mod job;
mod kept;
mod logged;
mod open;
mod snapshot;

pub use kept::{Admitted, Kept, Outcome, Work};
pub use open::Loss;
pub use snapshot::Untaken;

use pan_disk::{BLOCK, DiskError, Medium, NewVolume, Pool, ScrubAt, Scrubbed, Source, Span};
use pan_model::{ByteSize, Lineage, Session, SnapshotId, VolumeEpoch, VolumeId};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The replicas of a pool.
#[derive(Debug)]
pub struct Vault<M> {
    pool: Pool<M>,
    kept: RwLock<BTreeMap<VolumeId, Arc<Kept>>>,
}

impl<M: Medium> Vault<M> {
    /// The replicas that a pool has. `loss`: whether the machine was restarted since it was written to.
    ///
    /// # Errors
    /// What the pool says.
    pub fn over(pool: Pool<M>, loss: Loss) -> Result<Self, DiskError> {
        let kept = open::all(&pool, loss)?;
        Ok(Self { pool, kept: RwLock::new(kept) })
    }

    /// The pool.
    #[must_use]
    pub const fn pool(&self) -> &Pool<M> {
        &self.pool
    }

    /// The replica of a volume, unless there is none that could be used.
    #[must_use]
    pub fn replica(&self, volume: VolumeId) -> Option<Arc<Kept>> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).get(&volume).cloned()
    }

    /// All replicas that can be used.
    #[must_use]
    pub fn replicas(&self) -> Vec<Arc<Kept>> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Makes a replica; with lineage zero it has nothing, and a head gives it everything.
    ///
    /// # Errors
    /// There is one, its size cannot be, or the disk.
    pub fn found(&self, volume: VolumeId, size: ByteSize, lineage: Lineage) -> Result<(), DiskError> {
        self.pool.create(unclaimed(volume, size, lineage))?;
        self.keep(volume)
    }

    /// Makes a replica that begins as a snapshot of this pool. It holds no less than that, also where the volume was growing when the
    /// snapshot was taken, so that less than its replicas held counted as its size.
    ///
    /// # Errors
    /// There is one, there is no such snapshot, its size cannot be, or the disk.
    pub fn found_from(&self, snapshot: SnapshotId, volume: VolumeId, size: ByteSize, lineage: Lineage) -> Result<(), DiskError> {
        let held = self.pool.snapshots().iter().find(|info| info.snapshot == snapshot).map_or(0, |info| info.size);
        self.pool.clone_snapshot(snapshot, unclaimed(volume, size.max(ByteSize(held)), lineage))?;
        self.keep(volume)
    }

    /// Nothing more is done for any head; waits for what was begun.
    pub fn end(&self) {
        self.replicas().iter().for_each(|kept| kept.end());
    }

    /// Puts everything where it is at rest, so that nothing has to be found out when the pool is opened again.
    ///
    /// # Errors
    /// What the pool says: nothing is lost then, as after a crash.
    pub fn close(self) -> Result<(), DiskError> {
        self.pool.close()
    }

    fn keep(&self, volume: VolumeId) -> Result<(), DiskError> {
        let kept = open::one(&self.pool, volume, Loss::None)?;
        self.kept.write().unwrap_or_else(PoisonError::into_inner).insert(volume, Arc::new(kept));
        Ok(())
    }

    /// Makes a replica as large as its volume, if it is smaller.
    ///
    /// # Errors
    /// There is none, the size cannot be, or the disk.
    pub fn grow(&self, volume: VolumeId, size: ByteSize) -> Result<(), DiskError> {
        let size = size.0.next_multiple_of(BLOCK);
        if self.pool.superblock(volume)?.size < size {
            self.pool.resize(volume, size)?;
            self.replica(volume).into_iter().for_each(|kept| kept.grow(size));
        }
        Ok(())
    }

    /// Reads on from some place in the pool, and hands what is rotten to the replicas whose it is; see [`Pool::scrub`].
    ///
    /// # Errors
    /// The disk failed.
    pub fn scrub(&self, at: ScrubAt, bytes: u64) -> Result<Scrubbed, DiskError> {
        let done = self.pool.scrub(at, bytes)?;
        for rot in &done.rot {
            match rot.from {
                Source::Volume(volume) => self.replica(volume).into_iter().for_each(|kept| kept.found_rotten(rot.span)),
                // No head can mend a snapshot, but what volumes share with it.
                Source::Snapshot(_) => {
                    self.replicas().iter().filter(|kept| self.is_rotten(kept, rot.span)).for_each(|kept| kept.found_rotten(rot.span))
                }
            }
        }
        Ok(done)
    }

    /// Whether a replica reads something rotten in a place.
    fn is_rotten(&self, kept: &Kept, span: Span) -> bool {
        let size = self.pool.superblock(kept.volume()).map_or(0, |superblock| superblock.size);
        let mut data = vec![0; span.end().min(size).saturating_sub(span.offset) as usize];
        let read = self.pool.read(Source::Volume(kept.volume()), span.offset, &mut data);
        matches!(read, Err(DiskError::Rotten { .. } | DiskError::MapRotten { .. }))
    }

    /// Removes a replica, data and all, also one that cannot be used. What was admitted for it is not done any more.
    ///
    /// # Errors
    /// There is none, or the disk.
    pub fn discard(&self, volume: VolumeId) -> Result<(), DiskError> {
        let kept = self.kept.write().unwrap_or_else(PoisonError::into_inner).remove(&volume);
        kept.into_iter().for_each(|kept| kept.end());
        self.pool.delete(volume)
    }
}

/// A volume that nobody has claimed yet.
const fn unclaimed(volume: VolumeId, size: ByteSize, lineage: Lineage) -> NewVolume {
    NewVolume { volume, lineage, epoch: VolumeEpoch(0), session: Session(0), size: size.0.next_multiple_of(BLOCK) }
}
