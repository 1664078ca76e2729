//! What follows from requests, as operations on the pool.

use super::Vault;
use super::kept::{Kept, Outcome, Work};
use pan_disk::{BLOCK, DiskError, Durability, EXTENT, Fence, FlushMark, Medium, Source, Write};
use pan_model::{SnapshotId, VolumeId};
use pan_replica::{Answer, Content, DIRTY_MAX, Extent, Fault, Flush, Hole, Job, Member, Notes, Span, Standing};
use std::collections::BTreeSet;
use std::ops::Range;

impl<M: Medium> Vault<M> {
    /// Does what follows from a request. Waits for whatever has to be done before it; nothing that was admitted later is waited
    /// for, so it gets on if jobs are begun in the order in which they were admitted.
    pub fn perform<D: AsRef<[u8]>>(&self, kept: &Kept, work: Work<D>) -> Outcome<D> {
        let Some(_running) = kept.begin(&work) else { return Outcome::Dropped };
        let (volume, generation) = (kept.volume(), work.generation);
        let done = match &work.job {
            Job::Fence { standing, answer, .. } => {
                let fenced = self.fence(kept, *standing);
                kept.fenced(work.conn, generation, fenced.is_ok());
                fenced.map(|()| Answer::Fenced(answer.clone()))
            }
            Job::Read { span, hole } => self.read(volume, *span, *hole),
            Job::Write { span, content, durable, .. } => {
                let durable_since = durable.then(|| kept.lock().logged.now());
                match self.write(kept, generation, *span, content, *durable) {
                    Err(DiskError::IntentsFull(_)) => return Outcome::Later(work),
                    written => {
                        let anchored = written.and_then(|parts| self.anchor(kept, &parts, durable_since));
                        anchored.map(|()| self.strike_settled(kept, generation)).map(|()| Answer::Done)
                    }
                }
            }
            Job::Flush(flush) => self.flush(kept, generation, *flush).map(|()| Answer::Done),
            Job::Snapshot(snapshot) => self.snapshot(volume, *snapshot).map(|()| Answer::Done),
            Job::Note { forget, all } => self.note(volume, *forget, all.as_ref()).map(|()| Answer::Done),
        };
        Outcome::Answer(done.unwrap_or_else(|error| Answer::Failed(blame(kept, &error))))
    }

    /// Does what can be done without waiting: a read of what is in memory, with nothing before it that has to be done. `None`: it is to
    /// be performed.
    pub fn at_once<D>(&self, kept: &Kept, work: &Work<D>) -> Option<Answer<Vec<u8>>> {
        let Job::Read { span, hole: Hole::Zeros } = &work.job else { return None };
        let _running = kept.begin_at_once(work)?;
        let mut data = vec![0; length(*span)];
        let read = self.pool.read_at_once(Source::Volume(kept.volume()), span.at, &mut data);
        read.is_ok_and(|read| read).then_some(Answer::Read(data))
    }

    fn fence(&self, kept: &Kept, standing: Standing) -> Result<(), DiskError> {
        let volume = kept.volume();
        self.pool.fence(volume, to_fence(standing))?;
        // What was noted since it was fenced waits for the fence, and is not on the disk yet.
        let noted: BTreeSet<_> = kept.lock().replica.noted().map(|(member, since)| (member_on_disk(member), since)).collect();
        for (member, since) in self.pool.absent(volume)? {
            if !noted.contains(&(member, since)) {
                self.pool.end_absence(volume, member)?;
            }
        }
        Ok(())
    }

    fn read(&self, volume: VolumeId, span: Span, hole: Hole) -> Result<Answer<Vec<u8>>, DiskError> {
        if hole == Hole::Word && self.pool.stretches(Source::Volume(volume), disk_span(span))?.iter().all(|stretch| !stretch.data) {
            return Ok(Answer::Hole);
        }
        let mut data = vec![0; length(span)];
        self.pool.read(Source::Volume(volume), span.at, &mut data).map(|()| Answer::Read(data))
    }

    /// Where the log of dirty extents has no room, what is settled is struck from it first.
    fn write<D: AsRef<[u8]>>(
        &self,
        kept: &Kept,
        generation: u64,
        span: Span,
        content: &Content<D>,
        durable: bool,
    ) -> Result<Vec<Span>, DiskError> {
        loop {
            match self.write_once(kept.volume(), span, content, durable) {
                // Whoever is fenced waits for nothing any more: the fence waits for it.
                Err(DiskError::IntentsFull(_)) if kept.obeys(generation) => {}
                done => return done,
            }
            let settled = kept.lock().replica.wants_flush(0);
            if let Some(flush) = settled {
                self.flush(kept, generation, flush)?;
            } else if !kept.wait_struck(generation) && !self.strike_forgotten(kept)? {
                // Nothing is settled that could go: somebody has to say that more is.
                return Err(DiskError::IntentsFull(kept.volume()));
            }
        }
    }

    /// Says which parts have come into the log of dirty extents.
    fn write_once<D: AsRef<[u8]>>(
        &self,
        volume: VolumeId,
        span: Span,
        content: &Content<D>,
        durable: bool,
    ) -> Result<Vec<Span>, DiskError> {
        let durability = if durable { Durability::Now } else { Durability::Flushed };
        match content {
            Content::Data(data) => {
                self.pool.write(volume, Write { offset: span.at, data: data.as_ref() }, durability)?;
                Ok(vec![span])
            }
            // Space is given back either way: a disk that is full says so to whoever writes there next.
            Content::Zeros | Content::Hole => {
                let changed = self.pool.zero(volume, disk_span(span), durability)?;
                Ok(changed.iter().map(|part| Span { at: part.offset, length: part.length }).collect())
            }
        }
    }

    /// That an extent is dirty, and who misses it, is said by a write's own record, and lost with it at most. But one that lost something
    /// has to know that it did. So before a write is answered the disk has to know of some dirty extent: this write's, if it knows of no
    /// other. Only now that it is in the journal that can be told: whoever strikes the others meanwhile strikes them behind it.
    fn anchor(&self, kept: &Kept, parts: &[Span], durable_since: Option<u64>) -> Result<(), DiskError> {
        if kept.written(parts, durable_since) {
            return Ok(());
        }
        let since = kept.lock().logged.now();
        self.pool.sync()?;
        kept.lock().logged.synced(since);
        Ok(())
    }

    fn flush(&self, kept: &Kept, generation: u64, flush: Flush) -> Result<(), DiskError> {
        let since = kept.lock().logged.now();
        self.pool.sync()?;
        kept.lock().logged.synced(since);
        let Some((clean, standing)) = kept.strike(flush, generation) else { return Ok(()) };
        let struck = self.pool.settle(kept.volume(), &on_disk(&clean));
        kept.struck(&clean);
        struck?;
        let (epoch, sequence) = standing.flushed;
        self.pool.flushed(kept.volume(), FlushMark { epoch, count: sequence.0 })?;
        if flush.is_whole() { self.pool.fence(kept.volume(), to_fence(standing)) } else { Ok(()) }
    }

    /// Nobody flushes what joins while everything is copied to it, and holes take no room in the disk's log that would be missed. So it has to make room
    /// by itself, before it has to refuse something. The write that it follows worked, whatever comes of this: the next one tries again.
    fn strike_settled(&self, kept: &Kept, generation: u64) {
        let settled = kept.lock().replica.wants_flush(DIRTY_MAX / 2);
        if let Some(flush) = settled
            && let Err(error) = self.flush(kept, generation, flush)
        {
            // Of the disk itself its pool tells.
            tracing::debug!(volume = %kept.volume(), %error, "what is settled cannot be struck yet");
        }
    }

    /// Strikes extents that are not dirty any more, but could not be struck when they ceased to be: the disk was full.
    /// Whether there were any.
    fn strike_forgotten(&self, kept: &Kept) -> Result<bool, DiskError> {
        // Not with the gate held: the pool may be waiting for its disk, and connections are admitted through the gate. What the log names is
        // old by then, and does no harm: what was written since is dirty, what somebody strikes is being settled, and what was struck is
        // struck once more.
        let logged = self.pool.intents(kept.volume())?;
        let forgotten = kept.settle_forgotten(logged.into_iter().map(|extent| Extent(extent.0)));
        let struck = self.pool.settle(kept.volume(), &on_disk(&forgotten));
        kept.struck(&forgotten);
        struck.map(|()| !forgotten.is_empty())
    }

    fn snapshot(&self, volume: VolumeId, snapshot: SnapshotId) -> Result<(), DiskError> {
        match self.pool.snapshots().iter().find(|info| info.snapshot == snapshot) {
            // An earlier attempt, which nobody was told of.
            Some(former) if former.volume == volume => self.pool.delete_snapshot(snapshot)?,
            Some(_) => return Err(DiskError::Exists(Source::Snapshot(snapshot))),
            None => {}
        }
        self.pool.snapshot(volume, snapshot)
    }

    fn note(&self, volume: VolumeId, forget: Option<Member>, all: Option<&(Member, Notes)>) -> Result<(), DiskError> {
        if let Some(member) = forget {
            match self.pool.end_absence(volume, member_on_disk(member)) {
                Err(DiskError::NotAbsent { .. }) => {}
                ended => ended?,
            }
        }
        let Some((member, notes)) = all else { return Ok(()) };
        let size = self.pool.superblock(volume)?.size;
        let bytes = |run: Range<u64>| (run.start * EXTENT, run.end.saturating_mul(EXTENT).min(size));
        let span = |(offset, end): (u64, u64)| (offset < end).then(|| pan_disk::Span { offset, length: end - offset });
        let missed: Vec<_> = notes.extents.ranges().map(bytes).filter_map(span).collect();
        self.pool.begin_absence(volume, member_on_disk(*member), notes.since, &missed)
    }
}

/// What is sent in a frame is bounded, and so is what is read for it.
fn length(span: Span) -> usize {
    usize::try_from(span.length).unwrap_or(usize::MAX).min(pan_replica::wire::PAYLOAD_MAX)
}

const fn to_fence(standing: Standing) -> Fence {
    Fence { lineage: standing.lineage, epoch: standing.epoch, session: standing.session, fill: standing.fill }
}

fn member_on_disk(member: Member) -> pan_disk::Member {
    pan_disk::Member(u64::from(member.0))
}

const fn disk_span(span: Span) -> pan_disk::Span {
    pan_disk::Span { offset: span.at, length: span.length }
}

fn on_disk(extents: &[Extent]) -> Vec<pan_disk::Extent> {
    extents.iter().map(|extent| pan_disk::Extent(extent.0)).collect()
}

/// What a head is told.
fn blame(kept: &Kept, error: &DiskError) -> Fault {
    match error {
        DiskError::Full(_) | DiskError::TooMany(_) => Fault::NoSpace,
        DiskError::Rotten { span, .. } | DiskError::MapRotten { span, .. } => {
            kept.rot(span.length / BLOCK);
            Fault::Rotten
        }
        // Everything else, one by one, so that a new one is thought about.
        DiskError::NoPool
        | DiskError::PoolExists(_)
        | DiskError::Layout(_)
        | DiskError::Version { .. }
        | DiskError::Damaged { .. }
        | DiskError::NotFound(_)
        | DiskError::Exists(_)
        | DiskError::Unaligned(_)
        | DiskError::OutOfRange { .. }
        | DiskError::Size(_)
        | DiskError::Shrink { .. }
        | DiskError::Past { .. }
        | DiskError::IntentsFull(_)
        | DiskError::NotAbsent { .. }
        | DiskError::Read { .. }
        | DiskError::Failed(_) => Fault::Io,
    }
}
