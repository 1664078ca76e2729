//! A replica: whom it obeys, and what it has to remember of what it is told.
//!
//! It decides what the disk does and in which order; the shell does it ([`Job`]). The shell calls [`Replica::admit`] for each
//! request in the order of arrival, may then do jobs at the same time, and must wait for all that were begun before it does that
//! of a fence. What has to outlive a restart is in [`Standing`], the dirty extents and the notes; a job says what of them changes
//! and has it on the disk before anything else of it.

use crate::geometry::{Extent, Geometry, Span};
use crate::message::{ABSENT_MAX, Answer, Ask, Content, DIRTY_MAX, Dialect, Fault, Fenced, Part, ROTTEN_MAX, Request, Sequence};
use crate::rules::{Mutant, Rules};
use crate::runs::Runs;
use crate::wire::RUNS_MAX;
use pan_model::mirror::{Fill, Member, Since, Writer};
use pan_model::{Lineage, Session, SnapshotId, VolumeEpoch};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Whom a replica obeys; on its disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Zero: it is new and has nothing. A replica that a volume begins with is made with the first one.
    pub lineage: Lineage,
    /// The newest epoch it was fenced for.
    pub epoch: VolumeEpoch,
    /// By whom.
    pub session: Session,
    /// The epoch and sequence of the last flush.
    pub flushed: (VolumeEpoch, Sequence),
    /// How much it has of its lineage.
    pub fill: Fill,
}

/// What was written while a member was out; on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Notes {
    /// Which absence.
    pub since: Since,
    /// The extents, in at most [`RUNS_MAX`] runs, which is what an answer has room for and takes 9 MiB here: where there would be more,
    /// what lies between two counts as well, which costs copying and nothing else.
    pub extents: Runs,
}

impl Notes {
    /// Notes about an absence.
    #[must_use]
    pub fn of(since: Since, extents: Runs) -> Self {
        let mut notes = Self { since, extents };
        notes.extents.coarsen(RUNS_MAX);
        notes
    }

    /// Adds what is noted of the same absence; of another one, it takes its place.
    pub fn add(&mut self, more: &Self) {
        if self.since != more.since {
            *self = Self { since: more.since, extents: Runs::default() };
        }
        self.extents.add(&more.extents);
        self.extents.coarsen(RUNS_MAX);
    }

    /// Notes extents that are neighbours.
    pub fn missed(&mut self, run: Range<u64>) {
        self.extents.insert(run);
        self.extents.coarsen(RUNS_MAX);
    }
}

/// Runs of notes that a record of a pool has room for.
const RECORD_RUNS: usize = 1024;

/// A connection of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u64);

/// What makes an extent dirty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stamp {
    /// An earlier session.
    Earlier,
    /// The present one.
    Write(Sequence),
}

/// Whether a head knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Told {
    No,
    Yes,
}

/// A replica.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Replica {
    rules: Rules,
    geometry: Geometry,
    standing: Standing,
    /// Extents that may differ from other replicas', or may not be on the disk.
    dirty: BTreeMap<Extent, Stamp>,
    notes: BTreeMap<Member, Notes>,
    lossy: bool,
    current: Option<Conn>,
    /// What whoever is obeyed understands.
    dialect: Dialect,
    /// Extents in which something is not what was written, as far as known, and whether whoever is obeyed was told.
    rotten: BTreeMap<Extent, Told>,
    settled: Sequence,
    /// The first request that came after what earlier heads left was made equal.
    equal: Option<Sequence>,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict<D> {
    /// This is the answer.
    Answer(Answer<D>),
    /// This is to be done first.
    Do(Job<D>),
}

/// How nothing is answered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hole {
    /// As zeros.
    Zeros,
    /// With a word.
    Word,
}

/// Work for the disk, part after part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Job<D> {
    /// After all jobs that were begun before: end all other connections without doing what waits on them, put the standing on the
    /// disk, remove from it the notes that are none any more ([`Replica::noted`]), and only then answer.
    Fence {
        /// The standing.
        standing: Standing,
        /// The answer.
        answer: Fenced,
    },
    /// Read, and answer with it.
    Read {
        /// Where.
        span: Span,
        /// If all of it reads as zeros and takes no space, that may be the answer.
        hole: Hole,
    },
    /// Write, and put there with it that its extents are dirty, and that each member that is out misses them: either the disk has all of that
    /// after a loss of power, or nothing. On the disk before it is answered if `durable`, or if the disk knows of no dirty extent as yet: one
    /// that has lost something has to know that.
    Write {
        /// Where.
        span: Span,
        /// What.
        content: Content<D>,
        /// Whether it is to be on the disk before it is answered.
        durable: bool,
    },
    /// Put everything on the disk, then say so ([`Replica::flushed`]).
    Flush(Flush),
    /// Keep the volume as it is, in the place of whatever had that number.
    Snapshot(SnapshotId),
    /// Put notes on the disk.
    Note {
        /// Whose are not needed any more, which comes first.
        forget: Option<Member>,
        /// Who is out, and all that is noted, or more, in few runs. What the disk has of the same absence stays ([`Notes::add`]).
        all: Option<(Member, Notes)>,
    },
}

/// What is true once a flush is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flush {
    /// When it was asked for.
    epoch: VolumeEpoch,
    /// Up to where.
    upto: (VolumeEpoch, Sequence),
    settled: Sequence,
    /// What earlier heads left is settled, too.
    earlier: bool,
    whole: bool,
}

impl Flush {
    /// Whether the standing that [`Replica::flushed`] gives has to be on the disk before the flush is answered.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether what made an extent dirty is on the disks of all members in sync.
    fn cleans(&self, stamp: &Stamp) -> bool {
        match stamp {
            Stamp::Earlier => self.earlier,
            Stamp::Write(sequence) => *sequence <= self.settled,
        }
    }
}

impl Replica {
    /// A replica as its disk has it. `lossy`: the machine was restarted since, so that what was not flushed may be lost.
    #[must_use]
    pub fn new(
        geometry: Geometry,
        standing: Standing,
        kept: (BTreeSet<Extent>, BTreeMap<Member, Notes>),
        lossy: bool,
        rules: Rules,
    ) -> Self {
        let (dirty, notes) = kept;
        let standing = if rules.breaks(Mutant::VolatileEpoch) {
            Standing { epoch: VolumeEpoch(0), session: Session(0), ..standing }
        } else {
            standing
        };
        Self {
            rules,
            geometry,
            standing,
            lossy: lossy && !dirty.is_empty(),
            dirty: dirty.into_iter().map(|extent| (extent, Stamp::Earlier)).collect(),
            notes,
            current: None,
            dialect: Dialect::First,
            rotten: BTreeMap::new(),
            settled: Sequence(0),
            equal: None,
        }
    }

    /// Whom it obeys.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it may have lost what was not flushed, and nobody made it equal since.
    #[must_use]
    pub const fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// The connection that it obeys.
    #[must_use]
    pub const fn current(&self) -> Option<Conn> {
        self.current
    }

    /// The extents that may differ from others'.
    pub fn dirty(&self) -> impl Iterator<Item = Extent> {
        self.dirty.keys().copied()
    }

    /// Who is out as far as this replica has notes, and since when.
    pub fn noted(&self) -> impl Iterator<Item = (Member, Since)> {
        self.notes.iter().map(|(member, notes)| (*member, notes.since))
    }

    /// A connection ended.
    pub fn closed(&mut self, conn: Conn) {
        if self.current == Some(conn) {
            self.current = None;
        }
    }

    /// What becomes of a request.
    pub fn admit<D>(&mut self, conn: Conn, request: Request<D>) -> Verdict<D> {
        if let Ask::Fence { part, dialect, out } = request.ask {
            return self.fence(conn, (request.writer, dialect), request.lineage, (part, out));
        }
        if let Some(refusal) = self.refuse(conn, &request) {
            return Verdict::Answer(refusal);
        }
        self.settled = self.settled.max(request.settled);
        if request.reconciled && self.equal.is_none() {
            (self.equal, self.lossy) = (Some(request.sequence), false);
        }
        let sequence = request.sequence;
        match request.ask {
            Ask::Fence { .. } => unreachable!("fences were dealt with"),
            Ask::Read { span, .. } if !self.geometry.holds(span) => Verdict::Answer(Answer::Failed(Fault::Io)),
            Ask::Write { span, .. } if !self.geometry.holds(span) => Verdict::Answer(Answer::Failed(Fault::Io)),
            Ask::Write { span, .. } if !self.has_room(span) => Verdict::Answer(Answer::Failed(Fault::NoSpace)),
            Ask::Read { span, copy } => {
                let hole = if copy && self.dialect == Dialect::Second { Hole::Word } else { Hole::Zeros };
                Verdict::Do(Job::Read { span, hole })
            }
            Ask::Write { span, content, durable, .. } => Verdict::Do(self.write(sequence, span, content, durable)),
            Ask::Flush { whole } => {
                let upto = (self.standing.epoch, sequence);
                Verdict::Do(Job::Flush(Flush { whole, ..self.flush(upto) }))
            }
            Ask::Snapshot { snapshot } => Verdict::Do(Job::Snapshot(snapshot)),
            Ask::Miss { member, since, extents } => {
                let oldest = self.notes.iter().min_by_key(|(member, notes)| (notes.since, **member)).map(|(member, _)| *member);
                let forget = oldest.filter(|_| !self.notes.contains_key(&member) && self.notes.len() >= ABSENT_MAX);
                forget.into_iter().for_each(|oldest| _ = self.notes.remove(&oldest));
                let notes = self.notes.entry(member).or_default();
                notes.add(&Notes::of(since, extents));
                // All of them: what was noted before may not have come to the disk.
                let mut all = notes.clone();
                all.extents.coarsen(RECORD_RUNS);
                Verdict::Do(Job::Note { forget, all: Some((member, all)) })
            }
            Ask::Forget { member } => {
                self.notes.remove(&member);
                Verdict::Do(Job::Note { forget: Some(member), all: None })
            }
            Ask::Missed { member, since } => {
                let notes = self.notes.get(&member).filter(|notes| notes.since == since);
                Verdict::Answer(Answer::Missed(notes.map(|notes| notes.extents.clone())))
            }
        }
    }

    /// Rules 2 and 11. Whoever is not the one it was fenced for gets nothing, copies included.
    fn refuse<D>(&mut self, conn: Conn, request: &Request<D>) -> Option<Answer<D>> {
        let copy = matches!(request.ask, Ask::Read { copy: true, .. } | Ask::Write { copy: true, .. });
        if copy && self.rules.breaks(Mutant::CopyEpochUnchecked) {
            return None;
        }
        if self.rules.breaks(Mutant::NoFence) {
            return None;
        }
        let Standing { lineage, epoch, session, .. } = self.standing;
        let obeyed = self.current == Some(conn) && (epoch, session) == (request.writer.epoch, request.writer.session);
        match obeyed {
            false => Some(Answer::Refused { epoch }),
            true if lineage != request.lineage => Some(Answer::Strange),
            true => None,
        }
    }

    fn fence<D>(
        &mut self,
        conn: Conn,
        (writer, dialect): (Writer, Dialect),
        lineage: Lineage,
        (part, out): (Part, Option<BTreeMap<Member, Since>>),
    ) -> Verdict<D> {
        let Standing { epoch, session, .. } = self.standing;
        // Equal epochs of different sessions do not exist: a claim is made by one.
        if (writer.epoch, writer.session) != (epoch, session) && writer.epoch <= epoch && !self.rules.breaks(Mutant::NoFence) {
            return Verdict::Answer(Answer::Refused { epoch });
        }
        let (known, partial) = (self.standing.lineage, self.standing.fill == Fill::Partial);
        let (joiner, same) = match part {
            Part::Member { adopts } => (false, !partial && (known == lineage || (adopts == Some(known) && known != Lineage(0)))),
            Part::Joiner => (true, !partial && known == lineage),
        };
        if !(joiner || same || self.rules.breaks(Mutant::OldLineage)) {
            return Verdict::Answer(Answer::Strange);
        }
        if (writer.epoch, writer.session) != (epoch, session) {
            self.dirty.values_mut().for_each(|stamp| *stamp = Stamp::Earlier);
            (self.settled, self.equal) = (Sequence(0), None);
        }
        if joiner {
            // What it noted of others while it was in has a gap from then on.
            self.notes.clear();
        }
        if let Some(out) = out {
            self.notes.retain(|member, notes| out.get(member) == Some(&notes.since));
        }
        let fill = match (joiner, same) {
            (true, false) => Fill::Partial,
            (true, true) => Fill::CatchingUp,
            (false, _) => Fill::Whole,
        };
        if fill == Fill::Partial {
            // It is given everything, so what was dirty says nothing, and would take the room of what is written now.
            self.dirty.clear();
        }
        self.standing = Standing { lineage, epoch: writer.epoch, session: writer.session, flushed: self.standing.flushed, fill };
        (self.current, self.dialect) = (Some(conn), dialect);
        self.rotten.values_mut().for_each(|told| *told = Told::No);
        let answer =
            Fenced { flushed: self.standing.flushed, dirty: self.dirty.keys().copied().collect(), lossy: self.lossy, blank: !same };
        Verdict::Do(Job::Fence { standing: self.standing, answer })
    }

    fn write<D>(&mut self, sequence: Sequence, span: Span, content: Content<D>, durable: bool) -> Job<D> {
        for extent in self.geometry.extents(span) {
            if span.covers(self.geometry.span_of(extent)) {
                // Whatever it was, it is something else now. If that fails, the next scrub says so.
                self.rotten.remove(&extent);
            }
            self.dirty.insert(extent, Stamp::Write(sequence));
        }
        let touched = self.geometry.touched(span);
        self.notes.values_mut().for_each(|notes| notes.missed(*touched.start()..*touched.end() + 1));
        Job::Write { span, content, durable }
    }

    /// Whether what a write makes dirty can be kept account of.
    fn has_room(&self, span: Span) -> bool {
        let touched = self.geometry.touched(span);
        let (count, most) = (touched.end() - touched.start() + 1, DIRTY_MAX as u64);
        // The common case, and one that need not look at each extent.
        self.dirty.len() as u64 + count <= most
            || (count <= most
                && (self.dirty.len() + touched.filter(|extent| !self.dirty.contains_key(&Extent(*extent))).count()) as u64 <= most)
    }

    /// A flush is on the disk. Returns the extents that are clean now, and the standing to keep: neither need be on the disk at once, unless the flush is [`Flush::is_whole`].
    pub fn flushed(&mut self, flush: Flush) -> (Vec<Extent>, Standing) {
        let Flush { epoch, upto, whole, .. } = flush;
        // Of a session that was fenced meanwhile nothing is settled any more.
        if epoch == self.standing.epoch {
            // What it lost before is not on its disk, whatever is flushed now.
            if !self.lossy {
                self.standing.flushed = self.standing.flushed.max(upto);
            }
            if whole {
                self.standing.fill = Fill::Whole;
            }
            let gone: Vec<Extent> = self.dirty.iter().filter(|(_, stamp)| flush.cleans(stamp)).map(|(extent, _)| *extent).collect();
            self.dirty.retain(|_, stamp| !flush.cleans(stamp));
            return (gone, self.standing);
        }
        (Vec::new(), self.standing)
    }

    /// More than so many dirty extents: what a flush now would make clean. `None`: there are not, or nothing is settled, and the writer has to
    /// settle some first.
    #[must_use]
    pub fn wants_flush(&self, most: usize) -> Option<Flush> {
        let flush = self.flush(self.standing.flushed);
        let some = self.dirty.len() > most && self.dirty.values().any(|stamp| flush.cleans(stamp));
        some.then_some(flush)
    }

    fn flush(&self, upto: (VolumeEpoch, Sequence)) -> Flush {
        let earlier = self.equal.is_some_and(|since| since <= self.settled);
        Flush { epoch: self.standing.epoch, upto, settled: self.settled, earlier, whole: false }
    }

    /// Something in these extents is not what was written. What there is no room for is found again.
    pub fn found_rotten(&mut self, extents: impl Iterator<Item = Extent>) {
        let all = self.geometry.all();
        for extent in extents.filter(|extent| all.contains(&extent.0)) {
            if self.rotten.len() < ROTTEN_MAX {
                // Also if it was told before: then it could not be mended, or rotted again.
                self.rotten.insert(extent, Told::No);
            }
        }
    }

    /// Of what is rotten whatever a connection has to be told and was not: nothing, unless it is the one that is obeyed, and understands it.
    pub fn tell_rotten(&mut self, conn: Conn) -> Vec<Extent> {
        if self.current != Some(conn) || self.dialect == Dialect::First {
            return Vec::new();
        }
        let news = self.rotten.iter_mut().filter(|(_, told)| **told == Told::No);
        news.map(|(extent, told)| {
            *told = Told::Yes;
            *extent
        })
        .collect()
    }

    /// The volume was made larger.
    pub fn grow(&mut self, size: u64) {
        self.geometry.size = self.geometry.size.max(size);
    }
}
