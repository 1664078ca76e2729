//! Random operations on a pool and on its model.

use std::collections::BTreeMap;

use pan_disk::faulty::{Dice, Faults, FaultyDisk};
use pan_disk::{BLOCK, DiskError, Durability, Fence, FlushMark, Layout, NewVolume, Pool, Result, SnapshotId, Source, Span, Write};
use pan_model::mirror::{Fill, Since};
use pan_model::{Lineage, Session, VolumeEpoch, VolumeId};

use crate::model::{MEMBER, Model, block};

pub const BLOCKS: u64 = 16 * 40 + 3;
const HALF: u64 = 512 << 10;

/// A pool, what it should hold, and what it was told.
pub struct World {
    pub disk: FaultyDisk,
    pub pool: Option<Pool<FaultyDisk>>,
    pub dice: Dice,
    pub volumes: BTreeMap<VolumeId, Model>,
    pub snapshots: BTreeMap<SnapshotId, Model>,
    /// A snapshot or volume that was being made or removed when the power went, or never.
    unsure: Option<Unsure>,
    content: u64,
    /// The last flush that was acknowledged, and the last that was asked for.
    mark: (u64, u64),
    epoch: (u64, u64),
    last_id: u64,
}

enum Unsure {
    Snapshot(SnapshotId, Model),
    NoSnapshot(SnapshotId, Model),
    Volume(VolumeId, Model),
    NoVolume(VolumeId, Model),
    Absence(VolumeId, Option<u64>),
}

pub const FIRST: VolumeId = VolumeId(1);

pub fn new_volume(volume: VolumeId, blocks: u64) -> NewVolume {
    NewVolume { volume, lineage: Lineage(1), epoch: VolumeEpoch(1), session: Session(1), size: blocks * BLOCK }
}

/// An epoch that goes with the count, so that both are seen to come back.
const fn flush_mark(count: u64) -> FlushMark {
    FlushMark { epoch: VolumeEpoch(count / 4), count }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let disk = FaultyDisk::default();
        let pool = Pool::format(disk.clone(), Layout { salt: seed ^ 0x5a17, half_bytes: HALF }).unwrap();
        pool.create(new_volume(FIRST, BLOCKS)).unwrap();
        let volumes = BTreeMap::from([(FIRST, Model::new(BLOCKS))]);
        let dice = Dice::new(seed);
        Self {
            disk,
            pool: Some(pool),
            dice,
            volumes,
            snapshots: BTreeMap::new(),
            unsure: None,
            content: 0,
            mark: (0, 0),
            epoch: (1, 1),
            last_id: 1,
        }
    }

    pub fn pool(&self) -> &Pool<FaultyDisk> {
        self.pool.as_ref().unwrap()
    }

    fn range(&mut self, most: u64) -> Span {
        let count = 1 + self.dice.below(most);
        // Half of the time where everybody writes.
        let room = if self.dice.once_in(2) { (BLOCKS / 8).max(count + 1) } else { BLOCKS };
        let mut first = self.dice.below(room - count.min(room - 1));
        if self.dice.once_in(3) {
            first = first / 16 * 16;
        }
        Span { offset: first * BLOCK, length: count.min(BLOCKS - first) * BLOCK }
    }

    /// Writes a range of a volume with new content, block by block.
    pub fn write(&mut self, volume: VolumeId, span: Span, durability: Durability) -> Result<()> {
        let first = span.offset / BLOCK;
        let mut data = Vec::with_capacity(span.length as usize);
        for at in first..first + span.length / BLOCK {
            self.content += 1;
            data.extend(block(self.content));
            self.volumes.get_mut(&volume).unwrap().write(at, self.content);
        }
        self.pool().write(volume, Write { offset: span.offset, data: &data }, durability)
    }

    pub fn zero(&mut self, volume: VolumeId, span: Span) -> Result<()> {
        let first = span.offset / BLOCK;
        (first..first + span.length / BLOCK).for_each(|at| self.volumes.get_mut(&volume).unwrap().write(at, 0));
        self.pool().zero(volume, span, Durability::Flushed).map(drop)
    }

    /// A flush of one volume makes all of them durable.
    pub fn flush(&mut self, volume: VolumeId) -> Result<()> {
        self.mark.1 += u64::from(volume == FIRST);
        self.pool().flush(volume, flush_mark(self.mark.1))?;
        self.mark.0 = if volume == FIRST { self.mark.1 } else { self.mark.0 };
        self.volumes.values_mut().for_each(Model::flushed);
        Ok(())
    }

    fn any_volume(&mut self) -> VolumeId {
        let which = self.dice.below(self.volumes.len() as u64) as usize;
        *self.volumes.keys().nth(which).unwrap()
    }

    /// Anything.
    pub fn step(&mut self) -> Result<()> {
        let volume = self.any_volume();
        match self.dice.below(40) {
            0..=13 => {
                let span = self.range(8);
                self.write(volume, span, Durability::Flushed)
            }
            14..=16 => {
                let span = self.range(200);
                self.write(volume, span, Durability::Flushed)
            }
            17 => {
                let span = self.range(40);
                self.write(volume, span, Durability::Now)?;
                self.volumes.values_mut().for_each(Model::flushed);
                Ok(())
            }
            18..=20 => {
                let span = self.range(100);
                self.zero(volume, span)
            }
            21..=26 => self.flush(volume),
            27..=30 => {
                let span = self.range(100);
                let first = span.offset / BLOCK;
                self.volumes[&volume].try_now(self.pool(), Source::Volume(volume), first..first + span.length / BLOCK)
            }
            31 => self.settle(volume),
            32 => self.pool().checkpoint(),
            33 => self.pool().tidy(),
            34 => self.absence(volume),
            35 => self.fence(),
            36 => self.snapshot(volume),
            37 => self.clone_or_delete(),
            38 => self.delete_snapshot(),
            _ => self.scrub(),
        }
    }

    pub fn settle(&mut self, volume: VolumeId) -> Result<()> {
        let intents = self.pool().intents(volume)?;
        let before = self.volumes[&volume].settled;
        // Whether it comes through or not: from now on these need not be there.
        self.volumes.get_mut(&volume).unwrap().settled = self.content;
        let expected = self.volumes[&volume].may.iter().any(|may| may.last().is_some_and(|now| *now > before));
        assert!(!expected || !intents.is_empty(), "something was written, and there is no intent");
        self.pool().settle(volume, &intents)
    }

    pub fn absence(&mut self, volume: VolumeId) -> Result<()> {
        let before = self.volumes[&volume].away;
        self.unsure = Some(Unsure::Absence(volume, before));
        if before.is_some() {
            self.volumes.get_mut(&volume).unwrap().away = None;
            self.pool().end_absence(volume, MEMBER)?;
        } else {
            self.pool().begin_absence(volume, MEMBER, Since(self.content), &[])?;
            self.volumes.get_mut(&volume).unwrap().away = Some(self.content);
        }
        self.unsure = None;
        Ok(())
    }

    pub fn fence(&mut self) -> Result<()> {
        self.epoch.1 += 1;
        let epoch = VolumeEpoch(self.epoch.1);
        let fill = [Fill::Whole, Fill::Partial, Fill::CatchingUp][(epoch.0 % 3) as usize];
        self.pool().fence(FIRST, Fence { lineage: Lineage(1), epoch, session: Session(epoch.0), fill })?;
        self.epoch.0 = self.epoch.1;
        let past = self
            .pool()
            .fence(FIRST, Fence { lineage: Lineage(1), epoch: VolumeEpoch(epoch.0 - 1), session: Session(1), fill: Fill::Whole });
        assert!(matches!(past, Err(DiskError::Past { .. })), "{past:?}");
        Ok(())
    }

    pub fn snapshot(&mut self, volume: VolumeId) -> Result<()> {
        if self.snapshots.len() >= 3 {
            return Ok(());
        }
        self.last_id += 1;
        let snapshot = SnapshotId(self.last_id);
        let mut model = self.volumes[&volume].clone();
        model.flushed();
        self.unsure = Some(Unsure::Snapshot(snapshot, model.clone()));
        self.pool().snapshot(volume, snapshot)?;
        self.unsure = None;
        self.snapshots.insert(snapshot, model);
        self.volumes.values_mut().for_each(Model::flushed);
        Ok(())
    }

    fn clone_or_delete(&mut self) -> Result<()> {
        if self.volumes.len() >= 3 {
            let volume = *self.volumes.keys().last().unwrap();
            let model = self.volumes.remove(&volume).unwrap();
            self.unsure = Some(Unsure::NoVolume(volume, model));
            self.pool().delete(volume)?;
        } else if let Some(snapshot) = self.snapshots.keys().next().copied() {
            self.last_id += 1;
            let volume = VolumeId(self.last_id);
            let model = Model { settled: self.content, away: None, ..self.snapshots[&snapshot].clone() };
            self.unsure = Some(Unsure::Volume(volume, model.clone()));
            self.pool().clone_snapshot(snapshot, new_volume(volume, BLOCKS))?;
            self.volumes.insert(volume, model);
        }
        self.unsure = None;
        Ok(())
    }

    pub fn delete_snapshot(&mut self) -> Result<()> {
        let which = self.dice.below(3) as usize;
        let Some(snapshot) = self.snapshots.keys().nth(which).copied() else { return Ok(()) };
        let model = self.snapshots.remove(&snapshot).unwrap();
        self.unsure = Some(Unsure::NoSnapshot(snapshot, model));
        self.pool().delete_snapshot(snapshot)?;
        self.unsure = None;
        Ok(())
    }

    fn scrub(&mut self) -> Result<()> {
        let mut next = Some(pan_disk::ScrubAt::default());
        while let Some(at) = next {
            let done = self.pool().scrub(at, 1 << 20)?;
            assert!(done.rot.is_empty() || self.disk.is_dark(), "nothing was damaged: {:?}", done.rot);
            next = done.next;
        }
        Ok(())
    }

    /// Whatever was under way when the disk went: it happened, or it did not.
    pub fn decide(&mut self) {
        let pool = self.pool.as_ref().unwrap();
        let has_snapshot = |id: SnapshotId| pool.snapshots().iter().any(|info| info.snapshot == id);
        let has_volume = |id: VolumeId| pool.volumes().iter().any(|info| info.volume == id);
        match self.unsure.take() {
            Some(Unsure::Snapshot(id, model)) if has_snapshot(id) => _ = self.snapshots.insert(id, model),
            Some(Unsure::Volume(id, model)) if has_volume(id) => _ = self.volumes.insert(id, model),
            Some(Unsure::NoSnapshot(id, model)) if has_snapshot(id) => _ = self.snapshots.insert(id, model),
            Some(Unsure::NoVolume(id, model)) if has_volume(id) => _ = self.volumes.insert(id, model),
            Some(Unsure::Absence(volume, before)) => {
                let there = pool.absent(volume).unwrap().iter().any(|(member, _)| *member == MEMBER);
                let content = self.content;
                self.volumes.get_mut(&volume).unwrap().away = there.then_some(before.unwrap_or(content));
            }
            _ => {}
        }
    }

    /// Opens the pool anew, and checks that everything is as it may be.
    pub fn reopen(&mut self) {
        let incarnation = self.pool().superblock(FIRST).unwrap().incarnation;
        self.pool = None;
        self.pool = Some(Pool::open(self.disk.clone()).unwrap());
        self.decide();
        let pool = self.pool.as_ref().unwrap();
        let superblock = pool.superblock(FIRST).unwrap();
        assert!(superblock.incarnation > incarnation, "a new life has a new incarnation");
        assert!((self.mark.0..=self.mark.1).contains(&superblock.last_flush.count), "{superblock:?}, flushes {:?}", self.mark);
        assert!((self.epoch.0..=self.epoch.1).contains(&superblock.epoch.0), "{superblock:?}, epochs {:?}", self.epoch);
        let flushed = superblock.last_flush;
        assert_eq!(flushed, flush_mark(flushed.count));
        self.mark = (flushed.count, flushed.count.max(self.mark.1));
        self.epoch = (superblock.epoch.0, superblock.epoch.0.max(self.epoch.1));
        for (volume, model) in &mut self.volumes {
            model.check_crashed(pool, *volume);
        }
        for (snapshot, model) in &self.snapshots {
            model.check_now(pool, Source::Snapshot(*snapshot), 0..model.blocks());
        }
    }

    /// Steps until the disk fails, at most so many.
    pub fn run(&mut self, steps: u64) -> Result<()> {
        (0..steps).try_for_each(|_| self.step())
    }

    /// The power goes at some moment of what is being done, and comes back.
    pub fn crash(&mut self) {
        let changes = self.dice.below(300);
        self.disk.set(Faults { power_for: Some(changes), ..Faults::NONE });
        match self.run(300) {
            Ok(()) | Err(DiskError::Failed(_) | DiskError::Read { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        self.disk.lose_power(&mut self.dice);
        self.reopen();
    }
}
