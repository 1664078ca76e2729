//! One replica: requests are admitted in the order of arrival, and what follows from them is begun when nothing stands in its
//! way any more.
//!
//! What that is: a fence waits for everything that was begun before it, and what was not is never done; everything of a session
//! waits for its fence; whatever follows a note waits until the note is on the disk; a write waits while its extents are being struck
//! from the log of dirty ones.

use super::logged::Logged;
use pan_model::VolumeId;
use pan_replica::{Answer, Conn, Extent, Fault, Flush, Geometry, Job, Replica, Request, Span, Standing, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Extents of one request: no more could ever be dirty at once. Heads cut longer ones.
const EXTENTS_MAX: u64 = pan_disk::INTENTS_MAX as u64 / 2;

/// A replica that obeys.
#[derive(Debug)]
pub struct Kept {
    volume: VolumeId,
    gate: Mutex<Gate>,
    changed: Condvar,
    /// Connections that may have to be told of rot.
    rotted: Notify,
}

#[derive(Debug)]
pub(super) struct Gate {
    pub replica: Replica,
    geometry: Geometry,
    /// How many fences were admitted.
    pub generation: u64,
    /// The last of them that is on the disk.
    pub fenced: u64,
    /// Jobs that were begun, by generation.
    running: BTreeMap<u64, usize>,
    /// Notes of this generation that were admitted, and that are on the disk.
    notes: (u64, u64),
    /// Extents that are being struck from the log.
    pub settling: BTreeSet<Extent>,
    /// How many wait for a change: to wake nobody costs a system call too.
    waiting: usize,
    /// What the log on the disk names.
    pub logged: Logged,
    /// It was removed.
    gone: bool,
    rotten: u64,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Admitted<D> {
    /// This is the answer.
    Answer(Answer<D>),
    /// The answer is the outcome of this.
    Work(Work<D>),
}

/// What follows from a request.
#[derive(Debug)]
pub struct Work<D> {
    pub(super) conn: Conn,
    pub(super) generation: u64,
    /// So many notes have to be on the disk before.
    notes: u64,
    pub(super) job: Job<D>,
}

impl<D> Work<D> {
    /// Whether all other connections of the replica end with it.
    #[must_use]
    pub const fn is_fence(&self) -> bool {
        matches!(self.job, Job::Fence { .. })
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome<D> {
    /// The answer.
    Answer(Answer<Vec<u8>>),
    /// Somebody else is obeyed meanwhile: nothing was done, and nobody is to be answered.
    Dropped,
    /// The log of dirty extents is full, and nothing in it is known to be settled: to be performed again after another
    /// request was admitted.
    Later(Work<D>),
}

impl Kept {
    pub(super) fn new(volume: VolumeId, geometry: Geometry, replica: Replica) -> Self {
        let logged = Logged::new(replica.dirty());
        let gate = Gate {
            replica,
            geometry,
            generation: 0,
            fenced: 0,
            running: BTreeMap::new(),
            notes: (0, 0),
            settling: BTreeSet::new(),
            waiting: 0,
            logged,
            gone: false,
            rotten: 0,
        };
        Self { volume, gate: Mutex::new(gate), changed: Condvar::new(), rotted: Notify::new() }
    }

    /// Of which volume.
    #[must_use]
    pub const fn volume(&self) -> VolumeId {
        self.volume
    }

    /// Whom it obeys.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.lock().replica.standing()
    }

    /// How many extents it has.
    #[must_use]
    pub fn extents(&self) -> u64 {
        let geometry = self.lock().geometry;
        geometry.size.div_ceil(geometry.extent)
    }

    /// The extents that may differ from other replicas'.
    #[must_use]
    pub fn dirty(&self) -> Vec<Extent> {
        self.lock().replica.dirty().collect()
    }

    /// Whether something may be lost that was promised, and no head has made it equal since.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.lock().replica.is_lossy()
    }

    /// Blocks that heads asked for and that were not what had been written, since it was opened.
    #[must_use]
    pub fn rotten(&self) -> u64 {
        self.lock().rotten
    }

    /// A scrub found these bytes not to be what was written.
    pub(super) fn found_rotten(&self, span: pan_disk::Span) {
        let extents = span.offset / pan_replica::EXTENT..span.end().div_ceil(pan_replica::EXTENT);
        self.lock().replica.found_rotten(extents.map(Extent));
        self.rotted.notify_waiters();
    }

    /// What a connection is to be told of that, now; at most once of each.
    pub fn tell_rotten(&self, conn: Conn) -> Vec<Extent> {
        self.lock().replica.tell_rotten(conn)
    }

    /// What a connection is to be told of that, as soon as there is something.
    pub async fn rotten_of(&self, conn: Conn) -> Vec<Extent> {
        loop {
            let mut news = std::pin::pin!(self.rotted.notified());
            // Before it is looked, so that nothing is missed in between.
            news.as_mut().enable();
            let extents = self.tell_rotten(conn);
            if !extents.is_empty() {
                return extents;
            }
            news.await;
        }
    }

    pub(super) fn rot(&self, blocks: u64) {
        self.lock().rotten += blocks;
    }

    /// What becomes of a request that came on a connection. Quick: it waits for no disk.
    pub fn admit<D>(&self, conn: Conn, request: Request<D>) -> Admitted<D> {
        let mut gate = self.lock();
        if request.ask.span().is_some_and(|span| !gate.fits(span)) {
            return Admitted::Answer(Answer::Failed(Fault::Io));
        }
        let job = match gate.replica.admit(conn, request) {
            Verdict::Answer(answer) => return Admitted::Answer(answer),
            Verdict::Do(job) => job,
        };
        if let Job::Fence { .. } = &job {
            gate.generation += 1;
            gate.notes = (0, 0);
            self.wake(&gate);
        }
        let notes = gate.notes.0;
        gate.notes.0 += u64::from(matches!(job, Job::Note { .. }));
        Admitted::Work(Work { conn, generation: gate.generation, notes, job })
    }

    /// A connection ended.
    pub fn closed(&self, conn: Conn) {
        self.lock().replica.closed(conn);
    }

    pub(super) fn grow(&self, size: u64) {
        let mut gate = self.lock();
        gate.replica.grow(size);
        gate.geometry.size = gate.geometry.size.max(size);
    }

    /// Nothing more is done; waits for what was begun.
    pub(super) fn end(&self) {
        let mut gate = self.lock();
        gate.gone = true;
        self.wake(&gate);
        while !gate.running.is_empty() {
            gate = self.wait(gate);
        }
    }

    /// Parts of a write are in the journal, and with them that their extents are dirty; on the disk if `synced` says when that began.
    /// Whether it needs nothing more: the disk knows of a dirty extent, or nothing was written.
    pub(super) fn written(&self, parts: &[Span], synced: Option<u64>) -> bool {
        let mut gate = self.lock();
        for part in parts {
            let extents = gate.geometry.extents(*part);
            gate.logged.written(extents, synced);
        }
        parts.is_empty() || gate.logged.is_anchored()
    }

    /// Waits until a job may be done. `None`: never.
    pub(super) fn begin<D>(&self, work: &Work<D>) -> Option<Running<'_>> {
        let mut gate = self.lock();
        loop {
            if gate.gone || gate.generation != work.generation {
                return None;
            }
            if gate.may_begin(work) {
                return Some(self.run(&mut gate, work));
            }
            gate = self.wait(gate);
        }
    }

    /// Begins a job if it may be done now.
    pub(super) fn begin_at_once<D>(&self, work: &Work<D>) -> Option<Running<'_>> {
        let mut gate = self.lock();
        let may = !gate.gone && gate.generation == work.generation && gate.may_begin(work);
        may.then(|| self.run(&mut gate, work))
    }

    fn run<D>(&self, gate: &mut Gate, work: &Work<D>) -> Running<'_> {
        *gate.running.entry(work.generation).or_default() += 1;
        Running { kept: self, generation: work.generation, note: matches!(work.job, Job::Note { .. }) }
    }

    /// A flush is on the disk: the extents to be struck from the log, and the standing to keep; `None` if another one is
    /// obeyed meanwhile. Writes to those extents wait until [`struck`](Self::struck).
    pub(super) fn strike(&self, flush: Flush, generation: u64) -> Option<(Vec<Extent>, Standing)> {
        let mut gate = self.lock();
        if gate.generation != generation {
            return None;
        }
        let (clean, standing) = gate.replica.flushed(flush);
        gate.settling.extend(&clean);
        gate.logged.struck(&clean);
        Some((clean, standing))
    }

    /// Which of what the log names is not dirty any more, and being struck by nobody else. Writes to it wait until
    /// [`struck`](Self::struck).
    pub(super) fn settle_forgotten(&self, logged: impl Iterator<Item = Extent>) -> Vec<Extent> {
        let mut gate = self.lock();
        let dirty: BTreeSet<Extent> = gate.replica.dirty().collect();
        let forgotten: Vec<Extent> = logged.filter(|extent| !dirty.contains(extent) && !gate.settling.contains(extent)).collect();
        gate.settling.extend(&forgotten);
        gate.logged.struck(&forgotten);
        forgotten
    }

    pub(super) fn struck(&self, extents: &[Extent]) {
        let mut gate = self.lock();
        extents.iter().for_each(|extent| _ = gate.settling.remove(extent));
        self.wake(&gate);
    }

    /// Whether nobody was fenced since.
    pub(super) fn obeys(&self, generation: u64) -> bool {
        let gate = self.lock();
        gate.generation == generation && !gate.gone
    }

    /// Waits until extents that others are striking are struck; whether there were any. Not for a session that is over.
    pub(super) fn wait_struck(&self, generation: u64) -> bool {
        let mut gate = self.lock();
        let there_were = !gate.settling.is_empty();
        while !gate.settling.is_empty() && gate.generation == generation && !gate.gone {
            gate = self.wait(gate);
        }
        there_were
    }

    /// A fence is on the disk, or is not: then nobody is obeyed.
    pub(super) fn fenced(&self, conn: Conn, generation: u64, done: bool) {
        let mut gate = self.lock();
        if gate.generation == generation {
            if !done {
                gate.replica.closed(conn);
                gate.generation += 1;
            }
            gate.fenced = gate.generation;
        }
        self.wake(&gate);
        // Whoever is obeyed now is told what is known.
        self.rotted.notify_waiters();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, mut gate: MutexGuard<'a, Gate>) -> MutexGuard<'a, Gate> {
        gate.waiting += 1;
        let mut gate = self.changed.wait(gate).unwrap_or_else(PoisonError::into_inner);
        gate.waiting -= 1;
        gate
    }

    /// Something changed that others may wait for.
    fn wake(&self, gate: &Gate) {
        if gate.waiting > 0 {
            self.changed.notify_all();
        }
    }
}

impl Gate {
    /// Whether the log of dirty extents could ever hold those of a request.
    fn fits(&self, span: Span) -> bool {
        !self.geometry.holds(span) || self.geometry.touched(span).count() as u64 <= EXTENTS_MAX
    }

    fn may_begin<D>(&self, work: &Work<D>) -> bool {
        let fenced = self.fenced == self.generation;
        match &work.job {
            Job::Fence { .. } => self.running.range(..work.generation).next().is_none(),
            Job::Write { span, .. } => {
                fenced && self.notes.1 >= work.notes && !self.geometry.extents(*span).any(|extent| self.settling.contains(&extent))
            }
            Job::Read { .. } | Job::Flush(_) | Job::Snapshot(_) | Job::Note { .. } => fenced && self.notes.1 >= work.notes,
        }
    }
}

/// A job that was begun; it ends when this is dropped, however that comes about.
pub(super) struct Running<'a> {
    kept: &'a Kept,
    generation: u64,
    note: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut gate = self.kept.lock();
        if let Some(count) = gate.running.get_mut(&self.generation) {
            *count -= 1;
        }
        gate.running.retain(|_, count| *count > 0);
        if self.note && gate.generation == self.generation {
            gate.notes.1 += 1;
        }
        self.kept.wake(&gate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_model::mirror::{Fill, Writer};
    use pan_model::{Lineage, Session, VolumeEpoch};
    use pan_replica::{Ask, Dialect, Part, Rules, Sequence};

    /// One that is given everything forgets what was dirty, and the log on the disk does not. Once that is struck, the log names nothing.
    #[test]
    fn what_was_forgotten_and_is_struck_anchors_nothing() {
        let geometry = Geometry { size: 8 * pan_replica::EXTENT, extent: pan_replica::EXTENT };
        let standing = Standing { fill: Fill::Partial, ..Standing::default() };
        let dirty = BTreeSet::from([Extent(1), Extent(2)]);
        let replica = Replica::new(geometry, standing, (dirty, BTreeMap::new()), false, Rules::default());
        let kept = Kept::new(VolumeId(1), geometry, replica);
        let (writer, lineage) = (Writer { epoch: VolumeEpoch(1), session: Session(1) }, Lineage(1));
        let ask = Ask::Fence { part: Part::Joiner, dialect: Dialect::Second, out: None };
        let request = Request { writer, lineage, sequence: Sequence(1), settled: Sequence(0), reconciled: false, ask };
        assert!(matches!(kept.admit::<Vec<u8>>(Conn(1), request), Admitted::Work(_)));
        assert!(kept.dirty().is_empty() && kept.lock().logged.is_anchored());
        assert_eq!(kept.settle_forgotten([Extent(1), Extent(2)].into_iter()), [Extent(1), Extent(2)]);
        assert!(!kept.lock().logged.is_anchored(), "the next write has to be synced");
    }
}
