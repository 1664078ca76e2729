//! Rule 7: a replica that is out is fenced, gets what it missed while it gets what is written, and is in once the arbiter says so.
//! From asking for that until the answer is known it is waited for, and not read from.

use super::marks::mark;
use super::task::{Copying, Task, Waiting, What};
use super::{Head, Role};
use crate::geometry::Extent;
use crate::locks::{Ticket, Use};
use crate::message::{Answer, Ask, Dialect, Part, Sequence};
use crate::rules::Mutant;
use crate::runs::Runs;
use pan_model::mirror::{Change, Mark, Member, Since};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How far a replica is on its way back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Joining {
    stage: Stage,
    /// Since when it is in this stage.
    since: Duration,
    /// What it had dirty when it was fenced, and what of that is still to be copied: before all else, for it takes no room in its log that it does
    /// not have, and gives that up once it is settled.
    dirty: Runs,
    first: Runs,
    /// Extents that are to be copied after that; some of them were already.
    todo: Runs,
    /// Extents that are being copied.
    copies: BTreeSet<Extent>,
    /// Writes it was sent and has not answered, and when.
    fed: BTreeMap<Sequence, Duration>,
    /// Its connection ended while nobody knows whether it is in.
    lost: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Stage {
    /// It is to obey.
    Fencing(Sequence),
    /// The others are asked what it missed.
    Asking { sent: Sequence, waiting: BTreeSet<Member>, known: bool },
    /// It gets that.
    Copying,
    /// It puts everything on its disk.
    Flushing(Sequence),
    /// The arbiter is asked.
    Adding,
}

impl Joining {
    /// Whether every change needs its answer.
    pub const fn is_required(&self) -> bool {
        matches!(self.stage, Stage::Flushing(_) | Stage::Adding)
    }

    /// Whether it gets what is written.
    pub const fn is_fed(&self) -> bool {
        !matches!(self.stage, Stage::Fencing(_))
    }

    pub const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Extents to go.
    pub fn left(&self) -> u64 {
        self.first.extents() + self.todo.extents() + self.copies.len() as u64
    }

    /// It says that these are dirty.
    fn begin_with(&mut self, dirty: Vec<Extent>) {
        self.dirty.extend(dirty);
        self.first = self.dirty.clone();
    }

    /// What is to be copied next.
    fn next(&mut self) -> Option<Extent> {
        self.first.pop_first().or_else(|| std::iter::from_fn(|| self.todo.pop_first()).find(|extent| !self.dirty.contains(*extent)))
    }

    fn enter(&mut self, stage: Stage, now: Duration) {
        (self.stage, self.since) = (stage, now);
    }
}

impl<D: Clone> Head<D> {
    fn joiner(&self) -> Option<(Member, &Joining)> {
        self.peers.iter().find_map(|(member, peer)| match &peer.role {
            Role::Joining(joining) => Some((*member, joining)),
            Role::Apart | Role::Fencing(_) | Role::InSync | Role::Failing => None,
        })
    }

    fn joining(&mut self, member: Member) -> Option<&mut Joining> {
        match &mut self.peers.get_mut(&member)?.role {
            Role::Joining(joining) => Some(joining),
            Role::Apart | Role::Fencing(_) | Role::InSync | Role::Failing => None,
        }
    }

    /// Takes the next step with the one that joins, or begins with one.
    pub(super) fn grow(&mut self) {
        if !self.open || !self.unequal.is_empty() {
            return;
        }
        let Some((member, joining)) = self.joiner() else { return self.begin_joining() };
        let (stage, connected) = (joining.stage.clone(), self.peers[&member].connected);
        match stage {
            Stage::Fencing(Sequence(0)) if connected => self.fence_joiner(member),
            Stage::Fencing(_) | Stage::Flushing(_) => {}
            Stage::Asking { waiting, known, .. } if waiting.is_empty() => self.all_told(member, known),
            Stage::Asking { .. } => {}
            Stage::Copying => self.copy_more(member),
            Stage::Adding if self.asking.is_none() && joining.lost => self.drop_joiner(member),
            Stage::Adding if self.asking.is_none() => self.ask(Change::Add(member)),
            Stage::Adding => {}
        }
    }

    fn begin_joining(&mut self) {
        let told = |member: &Member| !self.missing.iter().any(|missing| missing.member == *member);
        let ready = |member: &Member| self.peers.get(member).is_some_and(|peer| peer.connected && peer.role == Role::Apart);
        let held_off = |member: &Member| self.pace.holds_off(*member, self.now);
        let found = self.record.out.keys().copied().find(|member| ready(member) && told(member) && !held_off(member));
        let Some(member) = found else { return };
        let joining = Joining {
            stage: Stage::Fencing(Sequence(0)),
            since: self.now,
            dirty: Runs::default(),
            first: Runs::default(),
            todo: Runs::default(),
            copies: BTreeSet::new(),
            fed: BTreeMap::new(),
            lost: false,
        };
        self.set_role(member, Role::Joining(joining));
        self.fence_joiner(member);
    }

    fn fence_joiner(&mut self, member: Member) {
        let sequence = self.next_sequence();
        let now = self.now;
        if let Some(joining) = self.joining(member) {
            joining.enter(Stage::Fencing(sequence), now);
        }
        self.send(member, sequence, Ask::Fence { part: Part::Joiner, dialect: Dialect::Second, out: None });
    }

    /// A write was sent to it that does not wait for its answer.
    pub(super) fn forwarded(&mut self, member: Member, sequence: Sequence) {
        let now = self.now;
        if let Some(joining) = self.joining(member) {
            joining.fed.insert(sequence, now);
        }
    }

    /// A write failed where it counts, and the joiner has it, or will have: it begins anew, and its own log of what is dirty says where it
    /// differs.
    pub(super) fn drop_fed(&mut self) {
        if let Some((member, joining)) = self.joiner()
            && joining.is_fed()
        {
            self.fail(member);
        }
    }

    /// Whether an answer belongs to somebody's way back.
    pub(super) fn is_joinings(&self, member: Member, sequence: Sequence) -> bool {
        let Some((joiner, joining)) = self.joiner() else { return false };
        match &joining.stage {
            Stage::Fencing(sent) | Stage::Flushing(sent) if joiner == member => *sent == sequence || joining.fed.contains_key(&sequence),
            Stage::Asking { sent, .. } if *sent == sequence => true,
            _ => joiner == member && joining.fed.contains_key(&sequence),
        }
    }

    pub(super) fn joining_answered(&mut self, member: Member, sequence: Sequence, answer: Answer<D>) {
        let Some((joiner, _)) = self.joiner() else { return };
        let now = self.now;
        let Some(joining) = self.joining(joiner) else { return };
        if joiner == member && joining.fed.remove(&sequence).is_some() {
            // Whatever it could not write it lacks.
            if !matches!(answer, Answer::Done) {
                self.pace.refused(member, now);
                self.fail(member);
            }
            return;
        }
        match (joining.stage.clone(), answer) {
            (Stage::Fencing(_), Answer::Fenced(fenced)) => self.joiner_obeys(member, fenced),
            (Stage::Asking { sent, mut waiting, known }, Answer::Missed(missed)) => {
                waiting.remove(&member);
                let known = known || missed.is_some();
                missed.iter().for_each(|missed| joining.todo.add(missed));
                joining.stage = Stage::Asking { sent, waiting, known };
            }
            (Stage::Flushing(flush), Answer::Done) => {
                joining.enter(Stage::Adding, now);
                self.marks.said(member, Some(mark((self.writer.epoch, flush))));
            }
            _ => self.fail(member),
        }
    }

    fn joiner_obeys(&mut self, member: Member, fenced: crate::message::Fenced) {
        let (now, since, good, lacks) = (self.now, self.since(member), self.good(), self.went_back(member, mark(fenced.flushed)));
        let geometry = self.settings.geometry;
        let again = self.rules.breaks(Mutant::NoRecopy);
        let sequence = self.sequence.next();
        let Some(joining) = self.joining(member) else { return };
        if again && !joining.todo.is_empty() {
            joining.enter(Stage::Copying, now);
        } else if fenced.blank {
            joining.todo.insert(geometry.all());
            joining.enter(Stage::Copying, now);
        } else if lacks {
            joining.begin_with(fenced.dirty);
            joining.todo.insert(geometry.all());
            joining.enter(Stage::Copying, now);
        } else {
            joining.begin_with(fenced.dirty);
            joining.enter(Stage::Asking { sent: sequence, waiting: good.iter().copied().collect(), known: false }, now);
            self.sequence = sequence;
            for other in good {
                self.send(other, sequence, Ask::Missed { member, since });
            }
        }
    }

    /// Whether a member that comes back has less than it was sure to have when it left, or nobody knows what that was: its disk may have gone
    /// back, and then what others noted of its absence is not all that it lacks.
    fn went_back(&self, member: Member, has: Mark) -> bool {
        let left = self.since(member) != Since::NEVER;
        left && self.record.had.get(&member).is_none_or(|had| has < *had) && !self.rules.breaks(Mutant::OldCopyTrusted)
    }

    /// What it missed is known, or nobody knows: then it is everything.
    fn all_told(&mut self, member: Member, known: bool) {
        let now = self.now;
        let geometry = self.settings.geometry;
        if let Some(joining) = self.joining(member) {
            if !known {
                joining.todo.insert(geometry.all());
            }
            joining.enter(Stage::Copying, now);
        }
        self.grow();
    }

    /// Somebody who was asked is gone.
    pub(super) fn not_asked_any_more(&mut self, other: Member) {
        let Some((member, _)) = self.joiner() else { return };
        if let Some(Joining { stage: Stage::Asking { waiting, .. }, .. }) = self.joining(member) {
            waiting.remove(&other);
        }
    }

    fn copy_more(&mut self, member: Member) {
        // What is copied takes room in its log like what is written, also of holes, which are copied faster than a disk flushes.
        let most = if self.is_crowded() { 0 } else { self.settings.copies_max };
        let (geometry, now) = (self.settings.geometry, self.now);
        let mut begun = Vec::new();
        let Some(joining) = self.joining(member) else { return };
        while joining.copies.len() < most
            && let Some(extent) = joining.next()
        {
            joining.copies.insert(extent);
            begun.push(extent);
        }
        if joining.left() == 0 && joining.fed.is_empty() {
            joining.enter(Stage::Flushing(Sequence(0)), now);
            let sequence = self.next_sequence();
            if let Some(joining) = self.joining(member) {
                joining.stage = Stage::Flushing(sequence);
            }
            self.send(member, sequence, Ask::Flush { whole: true });
        }
        for extent in begun {
            let ticket = self.next_ticket();
            self.waiting.insert(ticket, Waiting::Copy(extent, member));
            match self.rules.breaks(Mutant::CopyUnlocked) {
                true => self.begin(ticket),
                false => self.locks.ask(ticket, geometry.span_of(extent), Use::Alone),
            }
        }
    }

    /// The place of an extent to be copied is free.
    pub(super) fn copy(&mut self, ticket: Ticket, extent: Extent, member: Member) {
        let span = self.settings.geometry.span_of(extent);
        let what = What::CopyRead { extent, span, to: Copying::Join(member), tried: BTreeSet::new() };
        self.read(Task { since: self.now, ticket: Some(ticket), waiting: BTreeSet::new(), what }, None);
    }

    /// It has an extent more.
    pub(super) fn joined(&mut self, member: Member, extent: Extent) {
        if let Some(joining) = self.joining(member) {
            joining.copies.remove(&extent);
        }
    }

    /// The connection to it ended, or is to end.
    pub(super) fn lose_joiner(&mut self, member: Member) {
        let again = self.rules.breaks(Mutant::NoRecopy);
        let now = self.now;
        let Some(joining) = self.joining(member) else { return };
        match joining.stage {
            // It may be in, so it is waited for until that is known.
            Stage::Adding => joining.lost = true,
            Stage::Copying if again => {
                let copies = std::mem::take(&mut joining.copies);
                joining.todo.extend(copies);
                joining.fed.clear();
                joining.enter(Stage::Fencing(Sequence(0)), now);
                self.stop_copying(member);
            }
            Stage::Fencing(_) | Stage::Asking { .. } | Stage::Copying | Stage::Flushing(_) => self.drop_joiner(member),
        }
    }

    /// It is out: nobody waits for it, and it begins anew.
    pub(super) fn drop_joiner(&mut self, member: Member) {
        if self.joining(member).is_none() {
            return;
        }
        self.set_role(member, Role::Apart);
        self.stop_copying(member);
        self.excuse(member);
    }

    fn stop_copying(&mut self, member: Member) {
        let queued: Vec<Ticket> =
            self.waiting.iter().filter(|(_, one)| matches!(one, Waiting::Copy(_, to) if *to == member)).map(|(t, _)| *t).collect();
        for ticket in queued {
            self.waiting.remove(&ticket);
            self.locks.release(ticket);
        }
        let running: Vec<Sequence> = self.tasks.iter().filter(|(_, task)| is_copy_to(task, member)).map(|(s, _)| *s).collect();
        for sequence in running {
            if let Some(task) = self.tasks.remove(&sequence) {
                self.release(task.ticket);
            }
        }
    }

    /// The one that joins, if it takes too long with anything.
    pub(super) fn joiner_is_late(&self, now: Duration) -> Option<Member> {
        let late = |since: Duration| now.saturating_sub(since) >= self.settings.patience;
        let (member, joining) = self.joiner()?;
        let fed = joining.fed.values().next().is_some_and(|since| late(*since));
        let stage = match joining.stage {
            Stage::Fencing(_) | Stage::Asking { .. } | Stage::Flushing(_) => late(joining.since),
            Stage::Copying | Stage::Adding => false,
        };
        (fed || stage).then_some(member)
    }
}

/// Whether it copies an extent to somebody on the way back.
fn is_copy_to<D>(task: &Task<D>, member: Member) -> bool {
    match &task.what {
        What::CopyRead { to, .. } | What::CopyWrite { to, .. } => *to == Copying::Join(member),
        What::Read { .. } | What::Write { .. } | What::Flush { .. } | What::Snapshot { .. } => false,
    }
}
