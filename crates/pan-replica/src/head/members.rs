//! Rule 6: a member that does not answer is evicted by the arbiter before anything is acknowledged without it; and those that
//! stay take notes of what it misses.

use super::task::{Copying, Task, What};
use super::{Effect, End, Head, Peer, Role};
use crate::geometry::Extent;
use crate::message::{Answer, Ask, Sequence};
use crate::rules::Mutant;
use pan_model::mirror::{Change, Mark, Member, Record, Since};
use std::collections::BTreeSet;
use std::time::Duration;

/// A change asked for; there is one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asking {
    pub change: Change,
    pub expect: u64,
    /// What whoever is evicted is sure to have.
    pub had: Option<Mark>,
    /// Nothing is known of what became of it: it is asked again.
    pub doubtful: bool,
}

/// Before a member is evicted, those who stay put on their disks what was acknowledged with its help.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Shrink {
    pub sequence: Sequence,
    pub waiting: BTreeSet<Member>,
}

/// A member that was evicted, and those who do not know yet that they are to take notes for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Missing {
    pub member: Member,
    pub since: Since,
    /// It was evicted before the volume was opened.
    pub early: bool,
    /// What it may lack.
    pub extents: BTreeSet<Extent>,
    /// The request, once it was sent.
    pub sent: Option<Sequence>,
    pub waiting: BTreeSet<Member>,
}

impl<D: Clone> Head<D> {
    /// A member is not to be relied on: its connection is given up.
    pub(super) fn fail(&mut self, member: Member) {
        if self.peers.get(&member).is_some_and(|peer| peer.connected) {
            self.effects.push(Effect::Disconnect(member));
        }
        self.disconnected(member);
    }

    pub(super) fn disconnected(&mut self, member: Member) {
        let Some(peer) = self.peers.get_mut(&member) else { return };
        peer.connected = false;
        self.mending.gone(member);
        match peer.role {
            Role::Apart if self.record.in_sync.contains(&member) && (self.open || self.opening_over) => peer.role = Role::Failing,
            Role::Apart | Role::Failing => {}
            Role::Fencing(_) if !self.open && !self.opening_over => peer.role = Role::Apart,
            Role::Fencing(_) | Role::InSync => {
                peer.role = Role::Failing;
                self.hold(member);
                self.read_elsewhere(member);
                self.not_asked_any_more(member);
                if self.rules.breaks(Mutant::AckBeforeShrink) {
                    self.excuse(member);
                }
            }
            Role::Joining(_) => self.lose_joiner(member),
        }
    }

    /// Nothing is acknowledged until it is known to be out, also what it has done itself: it may have been the only one that
    /// would have kept it.
    fn hold(&mut self, member: Member) {
        for task in self.tasks.values_mut().filter(|task| task.span_read().is_none() && !task.is_for_joiner()) {
            task.waiting.insert(member);
        }
        if let Some(shrink) = &mut self.shrink {
            shrink.waiting.remove(&member);
        }
    }

    fn read_elsewhere(&mut self, member: Member) {
        let reads = |task: &Task<D>| task.span_read().is_some() && task.waiting.contains(&member);
        let all: Vec<Sequence> = self.tasks.iter().filter(|(_, task)| reads(task)).map(|(sequence, _)| *sequence).collect();
        for sequence in all {
            let Some(mut task) = self.tasks.remove(&sequence) else { continue };
            match (&task.what, task.ticket) {
                (What::CopyRead { extent, to: Copying::Reconcile, .. }, Some(ticket)) => self.stalled.push((ticket, *extent)),
                _ => {
                    task.waiting.clear();
                    self.read(task, None);
                }
            }
        }
    }

    pub(super) fn evict(&mut self) {
        let some_good = !self.good().is_empty();
        let failing = |member: &Member| self.role(*member) == Some(&Role::Failing);
        let found = self.record.in_sync.iter().copied().find(failing);
        let Some(member) = found.filter(|_| some_good && self.asking.is_none()) else {
            if self.asking.is_none() {
                self.shrink = None;
            }
            return;
        };
        match &self.shrink {
            Some(shrink) if shrink.waiting.is_empty() => {
                self.shrink = None;
                let slow = self.pace.is_slow(member, self.now);
                self.ask(if slow { Change::Slow(member) } else { Change::Evict(member) });
            }
            Some(_) => {}
            None => {
                let (sequence, waiting) = (self.next_sequence(), self.good());
                self.shrink = Some(Shrink { sequence, waiting: waiting.iter().copied().collect() });
                for to in waiting {
                    self.send(to, sequence, Ask::Flush { whole: false });
                }
            }
        }
    }

    /// Whether an answer is about the flush before an eviction; then it is taken.
    pub(super) fn shrink_answered(&mut self, member: Member, sequence: Sequence, answer: &Answer<D>) -> bool {
        let Some(shrink) = self.shrink.as_mut().filter(|shrink| shrink.sequence == sequence) else { return false };
        match answer {
            Answer::Done => drop(shrink.waiting.remove(&member)),
            _ => self.fail(member),
        }
        true
    }

    pub(super) fn ask(&mut self, change: Change) {
        let (expect, had) = (self.record.changes, self.sure_of(change));
        self.asking = Some(Asking { change, expect, had, doubtful: false });
        self.effects.push(Effect::Ask { change, expect, had });
    }

    /// Nobody knows whether the change was made. It is asked for again until that is known: made twice it cannot be.
    pub(super) fn unanswered(&mut self) {
        let Some(asking) = &mut self.asking else { return };
        asking.doubtful = true;
        if let (Change::Add(member), true) = (asking.change, self.rules.breaks(Mutant::InDoubtAddIgnored)) {
            self.asking = None;
            self.drop_joiner(member);
        }
    }

    pub(super) fn ask_again(&mut self) {
        if let Some(asking) = self.asking.as_mut().filter(|asking| asking.doubtful) {
            asking.doubtful = false;
            let Asking { change, expect, had, .. } = *asking;
            self.effects.push(Effect::Ask { change, expect, had });
        }
    }

    /// The record as it is now.
    pub(super) fn adopt(&mut self, record: Record) {
        if record.changes < self.record.changes {
            return;
        }
        if (record.epoch, record.session) != (self.writer.epoch, self.writer.session) {
            self.finish(End::Deposed { found: record.epoch });
            return;
        }
        let before = std::mem::replace(&mut self.record, record);
        let now_in: Vec<Member> = self.record.in_sync.difference(&before.in_sync).copied().collect();
        let gone: Vec<Member> = before.in_sync.difference(&self.record.in_sync).copied().collect();
        for member in gone {
            self.evicted(member);
        }
        for member in now_in {
            self.is_in(member);
        }
        for member in before.out.keys() {
            if !self.record.out.contains_key(member) && !self.record.in_sync.contains(member) {
                self.given_up(*member);
            }
        }
        for member in self.record.out.keys() {
            self.peers.entry(*member).or_insert(Peer { connected: false, role: Role::Apart });
        }
    }

    fn evicted(&mut self, member: Member) {
        for missing in &mut self.missing {
            missing.waiting.remove(&member);
        }
        match self.record.out.get(&member).copied() {
            Some(since) => {
                self.set_role(member, Role::Apart);
                let early = !self.open;
                let extents = self.may_differ();
                self.missing.push(Missing { member, since, early, extents, sent: None, waiting: BTreeSet::new() });
            }
            None => self.given_up(member),
        }
        self.all_noted();
    }

    /// A replica is no member any more: nobody waits for it, and nobody takes notes for it.
    fn given_up(&mut self, member: Member) {
        if self.peers.get(&member).is_some_and(|peer| peer.connected) {
            self.effects.push(Effect::Disconnect(member));
        }
        self.drop_joiner(member);
        self.peers.remove(&member);
        self.mending.gone(member);
        self.missing.retain(|missing| missing.member != member);
        self.forget_notes(member);
        self.excuse(member);
    }

    /// Its addition is known: it is read from now.
    fn is_in(&mut self, member: Member) {
        let lost = matches!(self.role(member), Some(Role::Joining(joining)) if joining.is_lost());
        self.set_role(member, if lost { Role::Failing } else { Role::InSync });
        self.forget_notes(member);
    }

    fn forget_notes(&mut self, of: Member) {
        for member in self.good() {
            if member != of {
                let sequence = self.next_sequence();
                self.send(member, sequence, Ask::Forget { member: of });
            }
        }
    }

    /// Extents in which members differ at this moment, or will if one loses its power: whatever is not on all disks, or is not sure to be on one
    /// that has no more than what it is sure to have noted.
    fn may_differ(&self) -> BTreeSet<Extent> {
        let geometry = self.settings.geometry;
        let mut all: BTreeSet<Extent> = if self.rules.breaks(Mutant::NotedUnderWay) {
            let changing = self.tasks.values().filter(|task| task.changes()).filter_map(Task::span);
            changing.flat_map(|span| geometry.extents(span)).collect()
        } else {
            self.window.all().collect()
        };
        all.extend(self.unequal.keys());
        all.extend(self.marks.recent());
        all
    }

    /// What an evicted member may lack. One that was evicted before the volume was opened may lack whatever the others are not sure
    /// of.
    fn may_lack(&self, missing: &Missing) -> BTreeSet<Extent> {
        let mut all = self.may_differ();
        all.extend(&missing.extents);
        if missing.early {
            let said = self.record.in_sync.iter().filter_map(|member| self.said(*member));
            all.extend(said.flat_map(|fenced| fenced.dirty.iter().copied()));
        }
        all
    }

    /// Tells those who stay to take notes; not before each of them said what is dirty.
    pub(super) fn tell_missing(&mut self) {
        let fencing = |member: &Member| matches!(self.role(*member), Some(Role::Fencing(_) | Role::Apart));
        if self.missing.iter().all(|missing| missing.sent.is_some()) || self.record.in_sync.iter().any(fencing) {
            return;
        }
        for at in 0..self.missing.len() {
            let Missing { member, since, sent: None, .. } = self.missing[at] else { continue };
            let (sequence, extents) = (self.next_sequence(), self.may_lack(&self.missing[at]));
            self.missing[at].sent = Some(sequence);
            self.missing[at].waiting = self.record.in_sync.clone();
            for to in self.good() {
                self.send(to, sequence, Ask::Miss { member, since, extents: extents.iter().copied().collect() });
            }
            self.missing[at].extents = extents;
        }
    }

    /// A member takes notes.
    pub(super) fn noted(&mut self, member: Member, sequence: Sequence) {
        if let Some(missing) = self.missing.iter_mut().find(|missing| missing.sent == Some(sequence)) {
            missing.waiting.remove(&member);
        }
        self.all_noted();
    }

    /// What was held up by those of whom everybody takes notes is acknowledged.
    fn all_noted(&mut self) {
        let noted = |missing: &Missing| missing.sent.is_some() && missing.waiting.is_empty();
        let done: Vec<Member> = self.missing.iter().filter(|missing| noted(missing)).map(|missing| missing.member).collect();
        self.missing.retain(|missing| !noted(missing));
        done.into_iter().for_each(|member| self.excuse(member));
    }

    /// Gives up whoever takes too long.
    pub(super) fn tick(&mut self, now: Duration) {
        self.opening_over |= self.opening.is_some_and(|since| now.saturating_sub(since) >= self.settings.opening);
        self.unswept = false;
        let patience = self.settings.patience;
        let late = |task: &Task<D>| now.saturating_sub(task.since) >= patience;
        let waited: BTreeSet<Member> =
            self.tasks.values().filter(|task| late(task)).flat_map(|task| task.waiting.iter().copied()).collect();
        let joiner = self.joiner_is_late(now);
        for member in waited.into_iter().chain(joiner).collect::<BTreeSet<_>>() {
            // What waits for one that failed waits for its eviction; one that is to obey again can be done without if there is another.
            let late = match self.role(member) {
                Some(Role::InSync | Role::Joining(_)) => true,
                Some(Role::Fencing(_)) => self.open && !self.good().is_empty(),
                Some(Role::Apart | Role::Failing) | None => false,
            };
            if late {
                self.fail(member);
            }
        }
        self.judge_pace(now);
    }

    /// Since when a member is out.
    pub(super) fn since(&self, member: Member) -> Since {
        self.record.out.get(&member).copied().unwrap_or(Since::NEVER)
    }
}
