//! Everything a pool knows in memory, behind one lock. No method here waits for anything but the disk.

use std::collections::{BTreeMap, BTreeSet};

use pan_model::VolumeId;

use crate::format::root::{Root, SnapshotEntry, Start, VolumeEntry};
use crate::format::superblock::{self, Superblock};
use crate::span::UNIT_BLOCKS;
use crate::{DiskError, Fault, FlushMark, Layer, Medium, Name, Result, Seq, Side, SnapshotId, Source, Span};

use super::journal::Journal;
use super::maps::Maps;
use super::marks::Marks;
use super::units::{Then, Units, Until};

/// Whether a disk can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It does all it is asked to.
    Good,
    /// It was full when something was last written: reading goes on, and writing is tried anew each time.
    Full,
    /// It failed, in these words. Nothing is served until the pool was opened anew.
    Failed(String),
}

/// A volume in memory.
#[derive(Debug)]
pub struct Volume {
    pub layer: Layer,
    pub superblock: Superblock,
    /// Of the superblock's slots.
    pub revision: u64,
    pub marks: Marks,
}

/// Everything a pool knows.
#[derive(Debug)]
pub struct State {
    pub revision: u64,
    /// Where the journal begins as the root on the disk says.
    pub start: Start,
    pub layer_next: u32,
    pub journal: Journal,
    pub maps: Maps,
    pub units: Units,
    pub volumes: BTreeMap<VolumeId, Volume>,
    /// Volumes whose superblocks both rotted.
    pub damaged: BTreeMap<VolumeId, VolumeEntry>,
    pub snapshots: BTreeMap<SnapshotId, SnapshotEntry>,
    pub condition: Condition,
    /// The data file has writes that may not be durable, of so many units.
    pub unsynced: u64,
    pub data_dirty: bool,
    /// One thread makes everything durable, on behalf of all that wait for it.
    pub syncing: bool,
    pub checkpointing: bool,
    /// Slots of pages that the journal says the next checkpoint writes.
    pub announced: BTreeSet<(Layer, u32, Side)>,
    /// Whoever needs the journal empty makes all others wait.
    pub quiet: bool,
    /// The reserve has its space.
    pub reserve: bool,
    /// Nobody waits for work any more.
    pub closing: bool,
}

impl State {
    /// Refuses everything once the disk failed.
    pub fn usable(&self) -> Result<()> {
        match &self.condition {
            Condition::Good | Condition::Full => Ok(()),
            Condition::Failed(text) => Err(DiskError::Failed(text.clone())),
        }
    }

    /// The error for something that could not be written, and what follows from it for all that comes.
    pub fn blame(&mut self, fault: Fault, doing: &'static str) -> DiskError {
        match fault {
            Fault::Full => {
                if self.condition == Condition::Good {
                    self.condition = Condition::Full;
                }
                DiskError::Full(doing)
            }
            Fault::Failed(text) => self.fail(text),
        }
    }

    /// The disk failed.
    pub fn fail(&mut self, text: String) -> DiskError {
        if let Condition::Failed(first) = &self.condition {
            return DiskError::Failed(first.clone());
        }
        self.condition = Condition::Failed(text.clone());
        DiskError::Failed(text)
    }

    /// Something was written that needed space.
    pub fn had_space(&mut self) {
        if self.condition == Condition::Full {
            self.condition = Condition::Good;
        }
    }

    /// Takes space for the reserve again, if there is any: says whether there is.
    pub fn refill(&mut self, medium: &impl Medium) -> Result<bool> {
        if !self.reserve {
            match medium.write_at(Name::Reserve, 0, &vec![0; self.journal.reserve_bytes() as usize]) {
                Ok(()) => self.reserve = true,
                Err(Fault::Full) => {}
                Err(Fault::Failed(text)) => return Err(self.fail(text)),
            }
        }
        Ok(self.reserve)
    }

    /// Gives up the space of the reserve: says whether there was any.
    pub fn spend(&mut self, medium: &impl Medium) -> bool {
        let spent = self.reserve && medium.punch(Name::Reserve, 0, self.journal.reserve_bytes()).is_ok();
        self.reserve = false;
        spent
    }

    /// A volume.
    pub fn volume(&self, volume: VolumeId) -> Result<&Volume> {
        self.volumes.get(&volume).ok_or_else(|| self.missing(volume))
    }

    /// A volume, to be changed.
    pub fn volume_mut(&mut self, volume: VolumeId) -> Result<&mut Volume> {
        if !self.volumes.contains_key(&volume) {
            return Err(self.missing(volume));
        }
        Ok(self.volumes.get_mut(&volume).expect("it was just found"))
    }

    fn missing(&self, volume: VolumeId) -> DiskError {
        if self.damaged.contains_key(&volume) {
            return DiskError::Damaged { name: Name::Super(volume), what: "both superblocks".into() };
        }
        DiskError::NotFound(Source::Volume(volume))
    }

    /// The layer and the size of what can be read.
    pub fn source(&self, source: Source) -> Result<(Layer, u64)> {
        match source {
            Source::Volume(volume) => self.volume(volume).map(|volume| (volume.layer, volume.superblock.size)),
            Source::Snapshot(snapshot) => {
                let entry = self.snapshots.get(&snapshot).ok_or(DiskError::NotFound(source))?;
                Ok((entry.layer, entry.size))
            }
        }
    }

    /// The layer of a source that has all of a range.
    pub fn within(&self, source: Source, span: Span) -> Result<Layer> {
        self.usable()?;
        let (layer, size) = self.source(source)?;
        if !span.aligned() {
            return Err(DiskError::Unaligned(span));
        }
        if span.end() > size {
            return Err(DiskError::OutOfRange { from: source, span, size });
        }
        Ok(layer)
    }

    /// The root as it would be written now, for a journal that begins at `start` and pages of `generation`.
    pub fn root(&self, generation: u64, start: Start, applied: Seq) -> Root {
        let volumes = self.volumes.iter().map(|(id, volume)| {
            let entry = VolumeEntry { layer: volume.layer, marks: volume.marks.clone() };
            (*id, entry)
        });
        Root {
            revision: self.revision + 1,
            salt: self.journal.salt,
            half_bytes: self.journal.half_bytes,
            boot: self.journal.boot,
            clean: false,
            generation,
            start,
            applied,
            layer_next: self.layer_next,
            layers: self.maps.layers.iter().map(|(layer, link)| (*layer, link.under)).collect(),
            volumes: volumes.chain(self.damaged.iter().map(|(id, entry)| (*id, entry.clone()))).collect(),
            snapshots: self.snapshots.clone(),
        }
    }

    /// Writes the root for something that was made or removed, with nothing carried home.
    pub fn write_root(&mut self, medium: &impl Medium) -> Result<()> {
        let root = self.root(self.maps.generation, self.start, self.journal.last);
        store_root(medium, &root).map_err(|fault| self.blame(fault, "write the root"))?;
        self.revision = root.revision;
        Ok(())
    }

    /// A write of whole units has them at new places. Their pages were made ready.
    pub fn place(&mut self, layer: Layer, unit: u64, place: crate::Place, sums: &[u32], seq: Seq) {
        for (at, sums) in (0..).zip(sums.chunks_exact(UNIT_BLOCKS as usize)) {
            let (number, index) = super::maps::page_of(unit + at);
            let entry = &mut self.maps.changed(layer, number).0[index];
            let before = entry.place.replace(crate::Place(place.0 + at));
            entry.present = u16::MAX;
            entry.sums.copy_from_slice(sums);
            match before {
                Some(before) => self.units.release(before, Until::Marked(seq), Then::Reuse),
                None => self.maps.gained(layer),
            }
        }
        let blocks = unit * UNIT_BLOCKS..unit * UNIT_BLOCKS + sums.len() as u64;
        self.journal.forget(layer, blocks);
    }

    /// Blocks read as zeros from now on. Their pages were made ready.
    pub fn zero(&mut self, layer: Layer, blocks: std::ops::Range<u64>, seq: Seq) {
        self.journal.forget(layer, blocks.clone());
        for unit in blocks.start / UNIT_BLOCKS..blocks.end.div_ceil(UNIT_BLOCKS) {
            let (number, index) = super::maps::page_of(unit);
            let entry = &mut self.maps.changed(layer, number).0[index];
            entry.present &= !super::maps::bits(unit, &blocks);
            // A unit with blocks in the journal keeps its place: a checkpoint may be carrying them there.
            if entry.present == 0
                && !self.journal.holds(layer, unit * UNIT_BLOCKS..(unit + 1) * UNIT_BLOCKS)
                && let Some(before) = entry.place.take()
            {
                self.units.release(before, Until::Marked(seq), Then::Punch);
                self.maps.lost(layer);
            }
        }
    }

    /// Ends the waiting of units, unless a checkpoint may still write to them.
    pub fn settle_units(&mut self) {
        if !self.checkpointing {
            self.units.settle(self.journal.marked, self.maps.generation);
        }
    }

    /// Makes a volume's superblock durable, in one slot and then in the other.
    pub fn write_superblock(&mut self, medium: &impl Medium, id: VolumeId, superblock: Superblock) -> Result<()> {
        let volume = self.volume(id)?;
        let revision = volume.revision + 1;
        store_superblock(medium, superblock, revision).map_err(|fault| self.blame(fault, "write a superblock"))?;
        let volume = self.volume_mut(id)?;
        (volume.superblock, volume.revision) = (superblock, revision);
        Ok(())
    }

    /// The superblock of a volume with the newest flush.
    pub fn superblock(&self, volume: VolumeId) -> Result<Superblock> {
        let volume = self.volume(volume)?;
        Ok(Superblock { last_flush: volume.marks.last_flush.max(volume.superblock.last_flush), ..volume.superblock })
    }

    /// A flush of a volume is durable.
    pub fn flushed(&mut self, volume: VolumeId, mark: FlushMark) {
        if let Some(volume) = self.volumes.get_mut(&volume) {
            volume.marks.last_flush = volume.marks.last_flush.max(mark);
        }
    }
}

/// Makes a root durable, in one file and then in the other.
pub fn store_root(medium: &impl Medium, root: &Root) -> Result<(), Fault> {
    let bytes = root.encode();
    // Both files get their space first: a disk that is full between the two would leave a root that counts, and was refused.
    for side in Side::BOTH {
        let length = medium.length(Name::Root(side))?;
        if length < bytes.len() as u64 {
            let zeros = vec![0; bytes.len() - length as usize];
            medium.write_at(Name::Root(side), length, &zeros)?;
        }
    }
    for side in Side::BOTH {
        let failed = |fault: Fault| Fault::Failed(format!("the root could not be replaced: {fault}"));
        medium.write_at(Name::Root(side), 0, &bytes).map_err(failed)?;
        medium.sync(Name::Root(side)).map_err(failed)?;
    }
    Ok(())
}

/// Makes a superblock durable, in one slot and then in the other.
pub fn store_superblock(medium: &impl Medium, superblock: Superblock, revision: u64) -> Result<(), Fault> {
    let name = Name::Super(superblock.volume);
    let bytes = superblock.encode(revision);
    for side in Side::BOTH {
        medium.write_at(name, superblock::offset(side), &bytes)?;
        medium.sync(name)?;
    }
    Ok(())
}
