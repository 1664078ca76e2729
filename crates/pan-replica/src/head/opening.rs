//! Rules 2 and 3: before anything is served, every member that is kept obeys this head, and whoever cannot be reached is evicted.

use super::marks::mark;
use super::task::Task;
use super::{End, Head, Missing, Role};
use crate::message::{Answer, Ask, Dialect, Fenced, Part, Sequence};
use crate::rules::Mutant;
use pan_model::mirror::Member;
use std::time::Duration;

/// Whom a head serves: what they know of earlier heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clients {
    /// They begin with it. To them the end of the one before was a loss of power: what nobody flushed may be gone.
    New,
    /// An earlier head served them, and they do not know that it ended: what was acknowledged to them has to be there.
    Served,
}

impl<D: Clone> Head<D> {
    pub(super) fn connected(&mut self, member: Member) {
        if let Some(peer) = self.peers.get_mut(&member) {
            peer.connected = true;
        }
    }

    /// Fences whoever is in sync and there. One that failed comes back this way only if there is no other: else it is evicted,
    /// and made equal before it is in again.
    pub(super) fn fence_connected(&mut self) {
        let alone = self.good().is_empty() && self.asking.is_none();
        let wanted = |member: &Member| match self.peers.get(member) {
            Some(peer) if peer.connected => match peer.role {
                Role::Apart => true,
                Role::Failing => alone,
                Role::Fencing(_) | Role::InSync | Role::Joining(_) => false,
            },
            Some(_) | None => false,
        };
        let wanted: Vec<Member> = self.record.in_sync.iter().copied().filter(wanted).collect();
        for member in wanted {
            if self.rules.breaks(Mutant::NoFence) {
                self.set_role(member, Role::InSync);
                continue;
            }
            let sequence = self.next_sequence();
            self.set_role(member, Role::Fencing(sequence));
            let (part, out) = (Part::Member { adopts: self.record.adopts }, Some(self.record.out.clone()));
            self.send(member, sequence, Ask::Fence { part, dialect: Dialect::Second, out });
        }
    }

    pub(super) fn fence_answered(&mut self, member: Member, answer: Answer<D>) {
        let Answer::Fenced(fenced) = answer else {
            let strange = matches!(answer, Answer::Strange);
            self.fail(member);
            if strange && self.record.in_sync.len() == 1 {
                self.finish(End::Strange { member });
            }
            return;
        };
        // Rule 8. Clients were told that it has what it may have lost.
        if self.open && fenced.lossy && self.acknowledged > self.flushed {
            self.finish(End::Lost { member });
            return;
        }
        if self.open && fenced.lossy {
            // It may also have lost what it had done for those that are not acknowledged yet.
            for task in self.tasks.values_mut().filter(|task| task.span_read().is_none() && !task.is_for_joiner()) {
                task.waiting.insert(member);
            }
        }
        if self.open {
            // It does not know of them any more when they were written.
            self.window.hold(&fenced.dirty, &[]);
        }
        // One that lost something may have lost its last notes.
        self.marks.said(member, (!fenced.lossy).then(|| mark(fenced.flushed)));
        self.fenced.insert(member, fenced);
        self.set_role(member, Role::InSync);
        self.send_again(member);
    }

    /// One that is back gets again whatever it has not answered.
    fn send_again(&mut self, member: Member) {
        let waiting = |task: &Task<D>| task.waiting.contains(&member);
        let now = self.now;
        for task in self.tasks.values_mut().filter(|task| waiting(task)) {
            // It was not asked before: its patience begins.
            task.since = now;
        }
        let tasks = self.tasks.iter().filter(|(_, task)| waiting(task)).map(|(sequence, task)| (*sequence, task.ask()));
        let mut all: Vec<(Sequence, Ask<D>)> = tasks.collect();
        let notes = self.missing.iter().filter(|missing| missing.waiting.contains(&member));
        let ask = |missing: &Missing| Ask::Miss {
            member: missing.member,
            since: missing.since,
            extents: missing.extents.iter().copied().collect(),
        };
        all.extend(notes.filter_map(|missing| Some((missing.sent?, ask(missing)))));
        all.sort_by_key(|(sequence, _)| *sequence);
        for (sequence, ask) in all {
            self.send(member, sequence, ask);
        }
    }

    /// Opens the volume once all that are kept obey.
    pub(super) fn try_open(&mut self, now: Duration) {
        if self.open {
            return;
        }
        let good = self.good();
        let kept = self.record.in_sync.iter().all(|member| good.contains(member));
        if let Some(member) = good.first().copied() {
            self.opening.get_or_insert(now);
            if (kept || self.opening_over) && self.would_lose(&good) {
                return self.finish(End::Lost { member });
            }
            if self.opening_over {
                let late = |member: &Member| matches!(self.role(*member), Some(Role::Apart | Role::Fencing(_)));
                let late: Vec<Member> = self.record.in_sync.iter().copied().filter(late).collect();
                late.into_iter().for_each(|member| self.fail(member));
            }
        }
        if kept || (self.rules.breaks(Mutant::OneFenced) && !good.is_empty()) {
            self.open = true;
            self.find_unequal();
            for (op, what) in std::mem::take(&mut self.early) {
                self.enqueue(op, what);
            }
        }
    }

    /// Rule 8. Whether clients who were served before would miss what was acknowledged to them: everybody left was restarted.
    fn would_lose(&self, good: &[Member]) -> bool {
        let lossy = |member: &Member| self.said(*member).is_some_and(|fenced| fenced.lossy);
        self.settings.clients == Clients::Served && good.iter().all(lossy) && !self.rules.breaks(Mutant::LossUnderServed)
    }

    /// What a member said when it was fenced.
    pub(super) fn said(&self, member: Member) -> Option<&Fenced> {
        self.fenced.get(&member)
    }
}
