//! Snapshots and clones. A snapshot takes over the volume's layer, and the volume goes on in a new one above it; a clone is a
//! volume whose layer is above a snapshot's.

use crate::format::root::SnapshotEntry;
use crate::{DiskError, Layer, Medium, Result, SnapshotId, Source};

use super::catalog::NewVolume;
use super::maps::Link;
use super::pool::{Guard, Pool};

use pan_model::VolumeId;

impl<M: Medium> Pool<M> {
    /// Keeps a volume as it is now, all acknowledged writes included; durable when the call returns. Writers wait meanwhile,
    /// for as long as it takes to carry home what the journal holds.
    ///
    /// # Errors
    /// The volume is not there, the snapshot is, or the disk.
    pub fn snapshot(&self, volume: VolumeId, snapshot: SnapshotId) -> Result<()> {
        let _upkeep = self.upkeep_lock();
        {
            let state = self.lock();
            state.usable()?;
            state.volume(volume)?;
            if state.snapshots.contains_key(&snapshot) {
                return Err(DiskError::Exists(Source::Snapshot(snapshot)));
            }
            if state.snapshots.len() >= Self::kept_max() {
                return Err(DiskError::TooMany("a pool keeps 1024 snapshots at most"));
            }
        }
        // First without making anybody wait, so that what is left is little.
        self.checkpoint_held()?;
        let mut state = self.quiet()?;
        let made = self.take(&mut state, volume, snapshot);
        state.quiet = false;
        self.changed.notify_all();
        made
    }

    fn take(&self, state: &mut Guard<'_>, volume: VolumeId, snapshot: SnapshotId) -> Result<()> {
        let (below, size) = state.source(Source::Volume(volume))?;
        let above = Layer(state.layer_next);
        state.layer_next += 1;
        state.snapshots.insert(snapshot, SnapshotEntry { volume, layer: below, size });
        state.maps.add(above, Link { under: Some(below), owner: Source::Volume(volume) });
        state.volume_mut(volume)?.layer = above;
        let written = state.write_root(&self.medium);
        if written.is_ok() {
            if let Some(link) = state.maps.layers.get_mut(&below) {
                link.owner = Source::Snapshot(snapshot);
            }
        } else {
            state.volume_mut(volume)?.layer = below;
            state.maps.layers.remove(&above);
            state.snapshots.remove(&snapshot);
        }
        written
    }

    /// Makes a volume that begins as a snapshot and lives on its own, at least as large as the snapshot.
    ///
    /// # Errors
    /// The snapshot is not there, the volume is, its size, or the disk.
    pub fn clone_snapshot(&self, snapshot: SnapshotId, new: NewVolume) -> Result<()> {
        let _upkeep = self.upkeep_lock();
        let state = self.lock();
        let (layer, size) = state.source(Source::Snapshot(snapshot))?;
        if new.size < size {
            return Err(DiskError::Shrink { volume: new.volume, held: size, asked: new.size });
        }
        self.add(state, new, Some(layer))
    }

    /// Removes a snapshot. What only it used is given back; clones and later snapshots keep what they share with it.
    ///
    /// # Errors
    /// It is not there, a part of its map cannot be read that others need, or the disk.
    pub fn delete_snapshot(&self, snapshot: SnapshotId) -> Result<()> {
        let _upkeep = self.upkeep_lock();
        let state = self.lock();
        state.usable()?;
        let (layer, _) = state.source(Source::Snapshot(snapshot))?;
        let above = state.maps.above(layer);
        drop(state);
        self.hand_up(layer, &above)?;
        let mut state = self.lock();
        let under = state.maps.layers.get(&layer).and_then(|link| link.under);
        let (entry, link) = (state.snapshots.remove(&snapshot), state.maps.layers.remove(&layer));
        relink(&mut state, &above, under);
        if let Err(error) = state.write_root(&self.medium) {
            state.snapshots.extend(entry.map(|entry| (snapshot, entry)));
            state.maps.layers.extend(link.map(|link| (layer, link)));
            relink(&mut state, &above, Some(layer));
            return Err(error);
        }
        drop(state);
        self.release_layer(layer)
    }

    /// Gives the layers above one a page of their own wherever they use its, and makes that durable.
    fn hand_up(&self, layer: Layer, above: &[Layer]) -> Result<()> {
        if above.is_empty() {
            return Ok(());
        }
        let pages = self.lock().maps.pages(&self.medium, layer)?;
        for number in 0..pages {
            let mut state = self.lock();
            if state.maps.own(&self.medium, layer, number)?.is_none() {
                continue;
            }
            for upper in above {
                let inner = &mut *state;
                inner.maps.get(&self.medium, *upper, number)?;
                if !inner.maps.is_own(*upper, number) {
                    inner.maps.change(&self.medium, &mut inner.units, *upper, number)?;
                }
            }
            let full = state.maps.dirty() + above.len() > state.journal.pages_max();
            drop(state);
            if full {
                self.checkpoint_held()?;
            }
        }
        self.checkpoint_held()
    }
}

fn relink(state: &mut Guard<'_>, above: &[Layer], under: Option<Layer>) {
    for upper in above {
        if let Some(link) = state.maps.layers.get_mut(upper) {
            link.under = under;
        }
    }
}
