//! Clients' operations. Rule 5: a write goes to every member in sync and is acknowledged when all have it.

use super::task::{Copying, Task, Waiting, What};
use super::{Effect, End, Env, Head, Op, OpId, Role, Trouble};
use crate::geometry::{Extent, Span};
use crate::locks::{Ticket, Use};
use crate::message::{Answer, Content, Fault, Reply, Sequence};
use crate::rules::Mutant;
use pan_model::mirror::Member;
use std::collections::BTreeSet;

impl<D: Clone> Head<D> {
    pub(super) fn submit(&mut self, op: OpId, what: Op<D>) {
        let span = match &what {
            Op::Read { span, .. } | Op::Write { span, .. } => Some(*span),
            Op::Flush | Op::Snapshot(_) => None,
        };
        if span.is_some_and(|span| !self.settings.geometry.holds(span)) {
            self.effects.push(Effect::Done(op, Err(Trouble::Outside)));
        } else if !self.open {
            // Rule 4: what is to be made equal has its places first.
            self.early.push((op, what));
        } else {
            self.enqueue(op, what);
        }
    }

    pub(super) fn enqueue(&mut self, op: OpId, what: Op<D>) {
        let ticket = self.next_ticket();
        let place = match &what {
            Op::Read { .. } if self.rules.breaks(Mutant::ReadDuringWrite) => None,
            Op::Read { span, .. } => Some((*span, Use::Shared)),
            Op::Write { span, .. } => Some((*span, Use::Alone)),
            // All of it, however large it becomes meanwhile: no operation is half done in it.
            Op::Snapshot(_) if self.rules.breaks(Mutant::SnapshotUnordered) => None,
            Op::Snapshot(_) => Some((Span { at: 0, length: u64::MAX }, Use::Alone)),
            Op::Flush => None,
        };
        self.waiting.insert(ticket, Waiting::Client(op, what));
        match place {
            Some((span, how)) => self.locks.ask(ticket, span, how),
            // What an earlier head had acknowledged may be on one member only as yet: no promise is made about it.
            None if !self.unequal.is_empty() => self.flushes.push(ticket),
            None => self.begin(ticket),
        }
    }

    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.ticket += 1;
        Ticket(self.ticket)
    }

    /// The place of something that waited is free.
    pub(super) fn begin(&mut self, ticket: Ticket) {
        if self.waiting.get(&ticket).is_some_and(Waiting::is_write) && (self.is_crowded() || !self.crowded.is_empty()) {
            self.crowded.push_back(ticket);
        } else {
            self.begin_now(ticket);
        }
    }

    /// Whether or not replicas have room for it.
    pub(super) fn begin_now(&mut self, ticket: Ticket) {
        match self.waiting.remove(&ticket) {
            None => self.locks.release(ticket),
            Some(Waiting::Client(op, Op::Read { span, prefer })) => {
                let what = What::Read { op, span, tried: BTreeSet::new() };
                self.read(Task { since: self.now, ticket: Some(ticket), waiting: BTreeSet::new(), what }, prefer);
            }
            Some(Waiting::Client(op, Op::Write { span, content, durable })) => {
                self.change(Some(ticket), What::Write { op, span, content, durable, fault: None }, self.required());
            }
            Some(Waiting::Client(op, Op::Flush)) => self.flush(Some(op)),
            Some(Waiting::Client(op, Op::Snapshot(snapshot))) => {
                let what = What::Snapshot { op, snapshot, taken: BTreeSet::new(), fault: None };
                self.change(Some(ticket), what, self.required());
            }
            Some(Waiting::Reconcile(extent)) => self.reconcile(ticket, extent),
            Some(Waiting::Copy(extent, member)) => self.copy(ticket, extent, member),
        }
    }

    /// Sends something to everybody whose answer it needs, and to those who should have it besides.
    pub(super) fn change(&mut self, ticket: Option<Ticket>, what: What<D>, needed: BTreeSet<Member>) {
        let sequence = self.next_sequence();
        let task = Task { since: self.now, ticket, waiting: needed.clone(), what };
        let ask = task.ask();
        let forward = matches!(task.what, What::Write { .. });
        if let Some(span) = task.span().filter(|_| task.changes()) {
            self.window.begin(&self.settings.geometry, (sequence, self.now), span);
        }
        self.tasks.insert(sequence, task);
        let members: Vec<Member> = self.peers.keys().copied().collect();
        for member in members {
            let answers = match self.role(member) {
                Some(Role::InSync) => needed.contains(&member),
                // Rule 7: whatever is written from now on, it gets at once.
                Some(Role::Joining(joining)) if joining.is_lost() => false,
                Some(Role::Joining(joining)) => needed.contains(&member) || (forward && joining.is_fed()),
                Some(Role::Apart | Role::Fencing(_) | Role::Failing) | None => false,
            };
            if answers {
                self.send(member, sequence, ask.clone());
                if !needed.contains(&member) {
                    self.forwarded(member, sequence);
                }
            }
        }
        self.complete_if_done(sequence);
    }

    /// Reads from one member: the preferred one, or the one that has the least to do. Without any it waits for one.
    pub(super) fn read(&mut self, mut task: Task<D>, prefer: Option<Member>) {
        let (What::Read { tried, .. } | What::CopyRead { tried, .. }) = &task.what else { return };
        let mut all = self.good();
        if self.rules.breaks(Mutant::ReadFromJoiner) && task.client().is_some() {
            all.extend(self.peers.iter().filter(|(_, peer)| matches!(&peer.role, Role::Joining(one) if one.is_fed())).map(|(m, _)| *m));
        }
        if self.rules.breaks(Mutant::MendFromJoiner) {
            all.extend(prefer);
        }
        let left: Vec<Member> = all.iter().copied().filter(|member| !tried.contains(member)).collect();
        let busy = |member: &Member| self.tasks.values().filter(|task| task.waiting.contains(member)).count();
        let chosen =
            prefer.filter(|member| left.contains(member)).or_else(|| left.iter().copied().min_by_key(|member| (busy(member), *member)));
        let sequence = self.next_sequence();
        if let Some(member) = chosen {
            task.waiting.insert(member);
            let ask = task.ask();
            self.tasks.insert(sequence, task);
            self.send(member, sequence, ask);
        } else {
            self.tasks.insert(sequence, task);
        }
    }

    /// Reads that wait for a member find one.
    pub(super) fn resume_reads(&mut self) {
        if self.good().is_empty() {
            return;
        }
        let parked = |task: &Task<D>| task.waiting.is_empty() && !task.changes() && task.span_read().is_some();
        let parked: Vec<Sequence> = self.tasks.iter().filter(|(_, task)| parked(task)).map(|(sequence, _)| *sequence).collect();
        for sequence in parked {
            if let Some(task) = self.tasks.remove(&sequence) {
                self.read(task, None);
            }
        }
    }

    pub(super) fn reply(&mut self, env: Env, member: Member, reply: Reply<D>) {
        let Reply { sequence, answer } = reply;
        if let Answer::Rotten(extents) = answer {
            return self.told_rotten(member, extents);
        }
        if let Answer::Refused { epoch } = answer {
            // Rule 6. Of our own epoch: it was restarted, and does not know this connection.
            match epoch > self.writer.epoch {
                true => self.finish(End::Deposed { found: epoch }),
                false => self.fail(member),
            }
            return;
        }
        if self.role(member) == Some(&Role::Fencing(sequence)) {
            self.fence_answered(member, answer);
        } else if self.is_joinings(member, sequence) {
            self.joining_answered(member, sequence, answer);
        } else if self.shrink_answered(member, sequence, &answer) {
        } else if self.missing.iter().any(|missing| missing.sent == Some(sequence)) {
            match answer {
                Answer::Done => self.noted(member, sequence),
                _ => self.fail(member),
            }
        } else if self.tasks.get(&sequence).is_some_and(|task| task.waiting.contains(&member)) {
            self.answered(env, member, sequence, answer);
        }
    }

    fn answered(&mut self, env: Env, member: Member, sequence: Sequence, answer: Answer<D>) {
        let reads = self.tasks.get(&sequence).is_some_and(|task| task.span_read().is_some());
        match answer {
            Answer::Done if !reads => self.had(member, sequence),
            Answer::Read(data) if reads => self.was_read(env, sequence, Content::Data(data)),
            Answer::Hole if reads => self.was_read(env, sequence, Content::Hole),
            Answer::Failed(fault) => self.refused(member, sequence, fault),
            // What was not asked for, too: the operation would wait for ever.
            Answer::Done
            | Answer::Read(_)
            | Answer::Hole
            | Answer::Strange
            | Answer::Fenced(_)
            | Answer::Missed(_)
            | Answer::Refused { .. }
            | Answer::Rotten(_) => self.fail(member),
        }
    }

    /// A member has done its part.
    fn had(&mut self, member: Member, sequence: Sequence) {
        let Some(task) = self.tasks.get_mut(&sequence) else { return };
        let (since, all) = (task.since, matches!(task.what, What::Write { .. } | What::Flush { .. }));
        task.waiting.remove(&member);
        if let What::Snapshot { taken, .. } = &mut task.what {
            taken.insert(member);
        }
        if self.rules.breaks(Mutant::FlushByOne) && matches!(task.what, What::Flush { .. }) {
            task.waiting.clear();
        }
        if all {
            self.paced(member, since);
        }
        self.complete_if_done(sequence);
    }

    /// A member cannot: the others can without it, and the last one says it to the client.
    fn refused(&mut self, member: Member, sequence: Sequence, fault: Fault) {
        let alone = self.good() == [member];
        let Some(task) = self.tasks.get_mut(&sequence) else { return };
        match &mut task.what {
            What::Read { tried, .. } | What::CopyRead { tried, .. } => {
                tried.insert(member);
                self.try_elsewhere(member, sequence, fault);
            }
            What::Write { fault: said, .. } if alone => {
                *said = Some(fault);
                self.drop_fed();
                self.had(member, sequence);
            }
            What::Flush { fault: said, .. } if alone => {
                *said = Some(fault);
                self.had(member, sequence);
            }
            // A replica that has no room for it is a good one all the same.
            What::Snapshot { fault: said, .. } => {
                *said = Some(fault);
                self.had(member, sequence);
            }
            What::Write { .. } | What::Flush { .. } | What::CopyWrite { .. } => {
                self.pace.refused(member, self.now);
                self.fail(member);
            }
        }
    }

    fn try_elsewhere(&mut self, member: Member, sequence: Sequence, fault: Fault) {
        let Some(mut task) = self.tasks.remove(&sequence) else { return };
        let (What::Read { tried, .. } | What::CopyRead { tried, .. }) = &task.what else { return };
        let others = self.good().into_iter().any(|other| !tried.contains(&other));
        if fault == Fault::Rotten && others {
            // What is wrong is made equal to what is right, and until then nobody uses it.
            self.distrust(task.place(), member);
        }
        match (others, &task.what) {
            (true, _) => {
                task.waiting.clear();
                self.read(task, None);
            }
            (false, What::Read { op, span, .. }) => {
                if fault == Fault::Rotten {
                    self.lose(*span);
                }
                self.effects.push(Effect::Done(*op, Err(Trouble::Failed(fault))));
                self.release(task.ticket);
            }
            (false, _) => self.copy_failed(&task, fault),
        }
        if fault != Fault::Rotten && self.good().len() > 1 {
            self.fail(member);
        }
    }

    fn was_read(&mut self, env: Env, sequence: Sequence, content: Content<D>) {
        let Some(task) = self.tasks.remove(&sequence) else { return };
        match (task.what, content) {
            (What::Read { op, .. }, Content::Data(data)) => {
                // Rule 10: others may have written since this node's lease ended.
                let outcome = if env.lease { Ok(Some(data)) } else { Err(Trouble::Over) };
                self.effects.push(Effect::Done(op, outcome));
                self.release(task.ticket);
            }
            (What::CopyRead { extent, span, to, .. }, content) => {
                let source = task.waiting.first().copied();
                let needed = match to {
                    Copying::Reconcile => self.required().into_iter().filter(|member| Some(*member) != source).collect(),
                    Copying::Join(member) => BTreeSet::from([member]),
                };
                self.change(task.ticket, What::CopyWrite { extent, span, to, content }, needed);
            }
            // No replica answers a client's read with a word.
            (What::Read { op, .. }, Content::Zeros | Content::Hole) => {
                self.effects.push(Effect::Done(op, Err(Trouble::Failed(Fault::Io))));
                self.release(task.ticket);
            }
            (What::Write { .. } | What::Flush { .. } | What::Snapshot { .. } | What::CopyWrite { .. }, _) => {}
        }
    }

    /// Takes a member off everything that waits for it.
    pub(super) fn excuse(&mut self, member: Member) {
        let waiting = |task: &Task<D>| task.waiting.contains(&member);
        let all: Vec<Sequence> = self.tasks.iter().filter(|(_, task)| waiting(task)).map(|(sequence, _)| *sequence).collect();
        for sequence in all {
            if let Some(task) = self.tasks.get_mut(&sequence) {
                task.waiting.remove(&member);
            }
            self.complete_if_done(sequence);
        }
    }

    /// Ends what nobody is waited for any more.
    pub(super) fn complete_if_done(&mut self, sequence: Sequence) {
        let done = self.tasks.get(&sequence).is_some_and(|task| task.waiting.is_empty() && task.span_read().is_none());
        let Some(task) = done.then(|| self.tasks.remove(&sequence)).flatten() else { return };
        let outcome = task.outcome();
        match task.what {
            What::Write { op, durable, span, .. } => {
                if outcome.is_ok() {
                    self.acknowledged += u64::from(!durable);
                    self.mending.written(&self.settings.geometry, span);
                }
                self.effects.push(Effect::Done(op, outcome.map(|()| None)));
            }
            What::Flush { op, acknowledged, covers, tells, noting, .. } => {
                if outcome.is_ok() {
                    self.window.struck(tells);
                    self.flushed = self.flushed.max(acknowledged);
                    self.settle(covers, (sequence, noting));
                }
                match op {
                    Some(op) => self.effects.push(Effect::Done(op, outcome.map(|()| None))),
                    None => self.swept(outcome),
                }
            }
            What::Snapshot { op, taken, .. } => {
                if outcome.is_ok() {
                    self.effects.push(Effect::Taken(op, taken));
                }
                self.effects.push(Effect::Done(op, outcome.map(|()| None)));
            }
            What::CopyWrite { extent, to, .. } => self.copied(extent, to),
            What::Read { .. } | What::CopyRead { .. } => {}
        }
        self.release(task.ticket);
    }

    pub(super) fn release(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.locks.release(ticket);
        }
    }

    /// An extent was copied.
    fn copied(&mut self, extent: Extent, to: Copying) {
        match to {
            Copying::Reconcile => {
                let distrusted = self.unequal.get(&extent).copied().flatten();
                if distrusted.is_some_and(|member| self.role(member) == Some(&Role::InSync)) {
                    self.mending.mended(extent);
                }
                self.is_equal(extent);
            }
            Copying::Join(member) => self.joined(member, extent),
        }
    }

    /// An extent can be copied from nobody.
    fn copy_failed(&mut self, task: &Task<D>, fault: Fault) {
        if let What::CopyRead { extent, span, to, .. } = task.what {
            if fault == Fault::Rotten {
                self.lose(span);
            }
            match to {
                // Whoever reads it is told so.
                Copying::Reconcile => self.is_equal(extent),
                Copying::Join(member) => self.fail(member),
            }
        }
        self.release(task.ticket);
    }
}

impl<D: Clone> Task<D> {
    /// The place it reads, if it reads.
    pub fn span_read(&self) -> Option<Span> {
        match self.what {
            What::Read { span, .. } | What::CopyRead { span, .. } => Some(span),
            What::Write { .. } | What::Flush { .. } | What::Snapshot { .. } | What::CopyWrite { .. } => None,
        }
    }

    fn place(&self) -> Span {
        self.span_read().expect("only what reads finds something rotten")
    }
}
