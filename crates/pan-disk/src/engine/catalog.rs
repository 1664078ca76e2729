//! Volumes: made, fenced, grown, removed. Everything here is durable when the call returns.

use pan_model::mirror::Fill;
use pan_model::{Lineage, Session, VolumeEpoch, VolumeId};

use crate::format::root::SnapshotEntry;
use crate::format::superblock::{Standing, Superblock};
use crate::span::VOLUME_BYTES_MAX;
use crate::{BLOCK, DiskError, FlushMark, Layer, Medium, Name, Result, SnapshotId, Source};

use super::maps::Link;
use super::marks::Marks;
use super::pool::{Guard, Pool};
use super::state::{Volume, store_superblock};
use super::units::{Then, Until};

/// Volumes, and snapshots, that a pool keeps: what the root lists is read and written whole.
const KEPT_MAX: usize = 1024;

/// A volume to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewVolume {
    /// Which.
    pub volume: VolumeId,
    /// What it has in common with the other replicas.
    pub lineage: Lineage,
    /// The epoch it begins with.
    pub epoch: VolumeEpoch,
    /// The writer of that epoch.
    pub session: Session,
    /// Bytes, a multiple of [`BLOCK`].
    pub size: u64,
}

/// What a replica is fenced with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// What it has in common with the other replicas from now on.
    pub lineage: Lineage,
    /// The epoch.
    pub epoch: VolumeEpoch,
    /// Its writer.
    pub session: Session,
    /// How much it has of what its lineage has.
    pub fill: Fill,
}

/// A volume that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Which.
    pub volume: VolumeId,
    /// Its superblock, unless both copies of it are damaged.
    pub superblock: Option<Superblock>,
}

/// A snapshot that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Which.
    pub snapshot: SnapshotId,
    /// Of which volume.
    pub volume: VolumeId,
    /// Bytes.
    pub size: u64,
}

impl<M: Medium> Pool<M> {
    /// Makes an empty volume.
    ///
    /// # Errors
    /// There is one already, its size, or the disk.
    pub fn create(&self, new: NewVolume) -> Result<()> {
        let _upkeep = self.upkeep_lock();
        self.add(self.lock(), new, None)
    }

    /// Makes a volume over a layer. The upkeep is held.
    pub(super) fn add(&self, mut state: Guard<'_>, new: NewVolume, under: Option<Layer>) -> Result<()> {
        state.usable()?;
        size(new.size)?;
        let NewVolume { volume, lineage, epoch, session, size } = new;
        if state.volumes.contains_key(&volume) || state.damaged.contains_key(&volume) {
            return Err(DiskError::Exists(Source::Volume(volume)));
        }
        if state.volumes.len() >= KEPT_MAX {
            return Err(DiskError::TooMany("a pool keeps 1024 volumes at most"));
        }
        let (incarnation, last_flush) = (state.journal.boot, FlushMark::default());
        let superblock =
            Superblock { volume, lineage, epoch, session, size, incarnation, last_flush, standing: Standing::Open, fill: Fill::Whole };
        let stored = self.medium.remove(Name::Super(volume)).and_then(|()| store_superblock(&self.medium, superblock, 1));
        let stored = stored.and_then(|()| self.medium.sync_names());
        stored.map_err(|fault| state.blame(fault, "write a superblock"))?;
        let layer = Layer(state.layer_next);
        state.layer_next += 1;
        state.maps.add(layer, Link { under, owner: Source::Volume(volume) });
        state.volumes.insert(volume, Volume { layer, superblock, revision: 1, marks: Marks::default() });
        state.write_root(&self.medium).inspect_err(|_| {
            state.volumes.remove(&volume);
            state.maps.layers.remove(&layer);
        })
    }

    /// All volumes.
    #[must_use]
    pub fn volumes(&self) -> Vec<VolumeInfo> {
        let state = self.lock();
        let good = state.volumes.keys().map(|volume| VolumeInfo { volume: *volume, superblock: state.superblock(*volume).ok() });
        good.chain(state.damaged.keys().map(|volume| VolumeInfo { volume: *volume, superblock: None })).collect()
    }

    /// The superblock of a volume, with the newest flush that is durable.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn superblock(&self, volume: VolumeId) -> Result<Superblock> {
        self.lock().superblock(volume)
    }

    /// Keeps an epoch and its writer. An equal epoch may come again.
    ///
    /// # Errors
    /// A greater epoch was seen; or the disk, and then the epoch may have been kept or not.
    pub fn fence(&self, volume: VolumeId, fence: Fence) -> Result<()> {
        let mut state = self.lock();
        state.usable()?;
        let held = state.superblock(volume)?;
        if fence.epoch < held.epoch {
            return Err(DiskError::Past { volume, held: held.epoch, offered: fence.epoch });
        }
        let superblock = Superblock { lineage: fence.lineage, epoch: fence.epoch, session: fence.session, fill: fence.fill, ..held };
        if superblock == held {
            return Ok(());
        }
        state.write_superblock(&self.medium, volume, superblock)
    }

    /// Makes a volume larger. What it gets reads as zeros.
    ///
    /// # Errors
    /// It would become smaller, the size cannot be, or the disk.
    pub fn resize(&self, volume: VolumeId, bytes: u64) -> Result<()> {
        let mut state = self.lock();
        state.usable()?;
        size(bytes)?;
        let held = state.superblock(volume)?;
        if bytes < held.size {
            return Err(DiskError::Shrink { volume, held: held.size, asked: bytes });
        }
        state.write_superblock(&self.medium, volume, Superblock { size: bytes, ..held })
    }

    /// Removes a volume; its snapshots stay, and so do its clones. Its space is given back.
    ///
    /// # Errors
    /// There is none, or the disk.
    pub fn delete(&self, volume: VolumeId) -> Result<()> {
        let _upkeep = self.upkeep_lock();
        let mut state = self.lock();
        state.usable()?;
        let (whole, damaged) = (state.volumes.remove(&volume), state.damaged.remove(&volume));
        let layer = whole.as_ref().map(|volume| volume.layer).or_else(|| damaged.as_ref().map(|volume| volume.layer));
        let layer = layer.ok_or(DiskError::NotFound(Source::Volume(volume)))?;
        let link = state.maps.layers.remove(&layer);
        if let Err(error) = state.write_root(&self.medium) {
            state.volumes.extend(whole.map(|whole| (volume, whole)));
            state.damaged.extend(damaged.map(|damaged| (volume, damaged)));
            state.maps.layers.extend(link.map(|link| (layer, link)));
            return Err(error);
        }
        drop(state);
        self.release_layer(layer)?;
        let removed = self.medium.remove(Name::Super(volume)).and_then(|()| self.medium.sync_names());
        removed.map_err(|fault| self.lock().blame(fault, "remove a superblock"))
    }

    /// Gives back what only a layer used that no root names any more. If it does not get to the end, opening does it.
    pub(super) fn release_layer(&self, layer: Layer) -> Result<()> {
        let pages = {
            let mut state = self.lock();
            state.journal.forget(layer, 0..u64::MAX);
            state.maps.pages(&self.medium, layer)?
        };
        for number in 0..pages {
            let mut state = self.lock();
            match state.maps.own(&self.medium, layer, number) {
                Ok(Some(page)) => {
                    // Until nothing in the journal speaks of those places any more.
                    let until = Until::Marked(state.journal.last);
                    let places = page.0.iter().filter_map(|entry| entry.place);
                    places.for_each(|place| state.units.release(place, until, Then::Punch));
                }
                Ok(None) | Err(DiskError::MapRotten { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.lock().maps.drop_layer(layer);
        let removed = self.medium.remove(Name::Map(layer)).and_then(|()| self.medium.sync_names());
        removed.map_err(|fault| self.lock().blame(fault, "remove a map"))?;
        match self.checkpoint_held() {
            // A full disk has tried to give back what it could; the rest follows when there is room.
            Err(DiskError::Full(_)) => {}
            outcome => outcome?,
        }
        self.give_back()
    }

    /// Whether something of a volume cannot be found any more, and writing it does not help: its superblocks make no sense, or pages of its map
    /// are damaged, as far as anybody looked: opening, scrubbing and whoever read or wrote there. Asks nothing of the disk.
    #[must_use]
    pub fn is_damaged(&self, volume: VolumeId) -> bool {
        let state = self.lock();
        match state.volumes.get(&volume) {
            Some(whole) => state.maps.lacks(whole.layer),
            None => state.damaged.contains_key(&volume),
        }
    }

    /// All snapshots.
    #[must_use]
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        let info =
            |(snapshot, entry): (&SnapshotId, &SnapshotEntry)| SnapshotInfo { snapshot: *snapshot, volume: entry.volume, size: entry.size };
        self.lock().snapshots.iter().map(info).collect()
    }

    pub(super) const fn kept_max() -> usize {
        KEPT_MAX
    }
}

fn size(bytes: u64) -> Result<()> {
    if bytes == 0 || !bytes.is_multiple_of(BLOCK) || bytes > VOLUME_BYTES_MAX {
        return Err(DiskError::Size(bytes));
    }
    Ok(())
}
