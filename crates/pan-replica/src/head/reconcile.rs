//! Rule 4: extents that were being written when an earlier head ended are made equal from one member before they are read.

use super::task::{Copying, Task, Waiting, What};
use super::{Head, Op, Role};
use crate::geometry::Extent;
use crate::locks::{Ticket, Use};
use crate::rules::Mutant;
use pan_model::mirror::Member;
use std::collections::BTreeSet;

impl<D: Clone> Head<D> {
    /// All that any of the members kept is not sure of.
    pub(super) fn find_unequal(&mut self) {
        let said = self.good().into_iter().filter_map(|member| self.said(member));
        let dirty: BTreeSet<Extent> = said.flat_map(|fenced| fenced.dirty.iter().copied()).collect();
        let dirty: Vec<Extent> = dirty.into_iter().collect();
        // One alone is equal to itself.
        let alone = self.record.in_sync.len() < 2 || self.rules.breaks(Mutant::NoReconcile);
        let unequal = if alone { &[][..] } else { &dirty };
        self.window.hold(&dirty, unequal);
        unequal.iter().for_each(|extent| self.make_equal(*extent, None));
    }

    /// Makes an extent equal once nobody uses it, from another member than one.
    pub(super) fn make_equal(&mut self, extent: Extent, not_from: Option<Member>) {
        if self.unequal.insert(extent, not_from).is_none() {
            let ticket = self.next_ticket();
            self.waiting.insert(ticket, Waiting::Reconcile(extent));
            if not_from.is_some() && self.rules.breaks(Mutant::MendUnlocked) {
                return self.begin(ticket);
            }
            self.locks.ask(ticket, self.settings.geometry.span_of(extent), Use::Alone);
        }
    }

    fn all_answer(&self) -> bool {
        let known =
            self.rules.breaks(Mutant::OneFenced) || self.record.in_sync.iter().all(|member| self.role(*member) == Some(&Role::InSync));
        known && self.asking.is_none()
    }

    /// Goes on with what waited for a member to answer, or to be out, or for its turn: first of all with that for which clients wait.
    pub(super) fn reconcile_stalled(&mut self) {
        while !self.stalled.is_empty() && self.all_answer() && self.has_turn() {
            let wanted = |(_, extent): &(Ticket, Extent)| self.is_wanted(*extent);
            let next = self.stalled.iter().position(wanted).unwrap_or(0);
            let (ticket, extent) = self.stalled.remove(next);
            self.reconcile(ticket, extent);
        }
    }

    /// Few at a time, so that others get a turn on the same connections.
    fn has_turn(&self) -> bool {
        let copies = self.tasks.values().filter(|task| {
            matches!(task.what, What::CopyRead { to: Copying::Reconcile, .. } | What::CopyWrite { to: Copying::Reconcile, .. })
        });
        copies.count() < self.settings.copies_max
    }

    fn is_wanted(&self, extent: Extent) -> bool {
        let place = self.settings.geometry.span_of(extent);
        self.waiting.values().any(|waiting| match waiting {
            Waiting::Client(_, Op::Read { span, .. } | Op::Write { span, .. }) => span.meets(place),
            Waiting::Client(_, Op::Flush | Op::Snapshot(_)) | Waiting::Reconcile(_) | Waiting::Copy(..) => false,
        })
    }

    pub(super) fn is_equal(&mut self, extent: Extent) {
        self.unequal.remove(&extent);
        self.window.equal(extent);
        if self.unequal.is_empty() {
            for ticket in std::mem::take(&mut self.flushes) {
                self.begin(ticket);
            }
        }
    }

    pub(super) fn reconcile(&mut self, ticket: Ticket, extent: Extent) {
        // One that does not answer at the moment may be the only one to be believed.
        if !self.all_answer() || !self.has_turn() {
            self.stalled.push((ticket, extent));
            return;
        }
        let not_from = self.unequal.get(&extent).copied().flatten();
        let source = self.source(not_from);
        let span = self.settings.geometry.span_of(extent);
        let (Some(source), true) = (source, self.record.in_sync.len() > 1) else {
            if source.is_none() {
                // Nobody else has it. Nothing is written over: what can be read of it still can be.
                self.lose(span);
            }
            self.locks.release(ticket);
            self.is_equal(extent);
            return;
        };
        let tried: BTreeSet<Member> = not_from.into_iter().collect();
        let what = What::CopyRead { extent, span, to: Copying::Reconcile, tried };
        self.read(Task { since: self.now, ticket: Some(ticket), waiting: BTreeSet::new(), what }, Some(source));
    }

    /// Rule 8. Who is believed: one whose machine was not restarted; if all were, the one with the last flush.
    fn source(&self, not_from: Option<Member>) -> Option<Member> {
        let key = |member: &Member| {
            let said = self.said(*member);
            let lossy = said.is_some_and(|fenced| fenced.lossy);
            (!lossy, said.map(|fenced| fenced.flushed), std::cmp::Reverse(*member))
        };
        if not_from.is_some() && self.rules.breaks(Mutant::MendFromJoiner) {
            let joins =
                |(member, peer): (&Member, &super::Peer)| matches!(&peer.role, Role::Joining(one) if one.is_fed()).then_some(*member);
            if let Some(joiner) = self.peers.iter().find_map(joins) {
                return Some(joiner);
            }
        }
        self.good().into_iter().filter(|member| Some(*member) != not_from).max_by_key(key)
    }
}
