//! What replicas may have dirty and cannot strike from their logs: every change that is not on all disks, as far as this head knows; and
//! what earlier heads left, until all of it is equal and on all disks. The head flushes by itself when that becomes much, and writes wait
//! while it is too much, so that no replica's log is ever full of what cannot go (docs/volumes.md has the argument). The same extents
//! are what a member that is evicted may lack.

use super::marks::Noting;
use super::task::{Task, What};
use super::{Head, OpId, Trouble};
use crate::geometry::{Extent, Geometry, Span};
use crate::message::Sequence;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The part of the patience with a replica after which nobody writes any more: half a second where it is five.
const RESTS: u32 = 10;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Window {
    changes: BTreeMap<Sequence, Span>,
    /// What earlier heads left, or this one before a replica was started again, and what of it was not made equal yet.
    held: BTreeSet<Extent>,
    unequal: BTreeSet<Extent>,
    /// Once what is held was equal all members were told so up to this request: when it is settled, so is what is held.
    told: Option<Sequence>,
    /// How many of the changes touch an extent, and one more where it is held.
    extents: BTreeMap<Extent, u32>,
    /// Up to here something was settled, and no flush has told replicas yet, so that they did not strike it.
    unstruck: Option<Sequence>,
    /// When the last change began.
    changed: Duration,
}

impl Window {
    /// A change is sent.
    pub fn begin(&mut self, geometry: &Geometry, (sequence, now): (Sequence, Duration), span: Span) {
        self.changed = now;
        for extent in geometry.extents(span) {
            *self.extents.entry(extent).or_default() += 1;
        }
        self.changes.insert(sequence, span);
    }

    /// All changes up to this one are on all disks. Extents that could be struck with that.
    pub fn settle(&mut self, geometry: &Geometry, upto: Sequence) -> Vec<Extent> {
        let before = (self.changes.len(), self.held.len());
        let mut gone = Vec::new();
        while let Some(first) = self.changes.first_entry().filter(|first| *first.key() <= upto) {
            gone.extend(geometry.extents(first.remove()).filter(|extent| self.discount(*extent)));
        }
        if self.unequal.is_empty() && self.told.is_some_and(|told| told <= upto) {
            self.told = None;
            gone.extend(std::mem::take(&mut self.held).into_iter().filter(|extent| self.discount(*extent)));
        }
        if (self.changes.len(), self.held.len()) != before {
            self.unstruck = Some(upto);
        }
        gone
    }

    /// A flush is done that told all members what was settled up to this one.
    pub fn struck(&mut self, told: Sequence) {
        self.unstruck.take_if(|upto| *upto <= told);
    }

    /// What replicas have dirty and do not know since when; all of it counts until none of it is unequal, and it is settled.
    pub fn hold(&mut self, extents: &[Extent], unequal: &[Extent]) {
        for extent in extents {
            if self.held.insert(*extent) {
                *self.extents.entry(*extent).or_default() += 1;
            }
        }
        self.unequal.extend(unequal);
        self.told = None;
    }

    /// An extent was made equal. If it has to be once more, because a copy of it rotted, that may have to wait for writes that wait for
    /// room, and so they do not wait for it.
    pub fn equal(&mut self, extent: Extent) {
        self.unequal.remove(&extent);
    }

    /// Whether nothing counts it any more.
    fn discount(&mut self, extent: Extent) -> bool {
        let Entry::Occupied(mut count) = self.extents.entry(extent) else { return false };
        *count.get_mut() -= 1;
        let gone = *count.get() == 0;
        if gone {
            count.remove();
        }
        gone
    }

    /// Extents that cannot be struck.
    pub fn extents(&self) -> u64 {
        self.extents.len() as u64
    }

    /// The same one by one.
    pub fn all(&self) -> impl Iterator<Item = Extent> {
        self.extents.keys().copied()
    }

    /// Whether something could be struck after a flush that covers all changes up to this one: of what is held, or, `if_much` is
    /// there, of the changes.
    fn gains(&self, covers: Sequence, if_much: u64) -> bool {
        let changes = self.extents() >= if_much && self.changes.keys().next().is_some_and(|first| *first <= covers);
        let held = !self.held.is_empty() && self.unequal.is_empty() && self.told.is_none_or(|told| told <= covers);
        changes || held
    }

    /// Whether nothing has changed for so long.
    fn rests(&self, now: Duration, long: Duration) -> bool {
        now.saturating_sub(self.changed) >= long
    }

    /// All members are sent a request.
    fn tell(&mut self, sequence: Sequence) {
        if !self.held.is_empty() && self.unequal.is_empty() {
            self.told.get_or_insert(sequence);
        }
    }
}

impl<D: Clone> Head<D> {
    /// All changes up to this one are done, as seen from a request that is sent now.
    pub(super) fn done(&self) -> Sequence {
        let first = self.tasks.iter().find(|(_, task)| task.changes()).map(|(sequence, _)| *sequence);
        first.map_or(self.sequence.next(), |first| Sequence(first.0 - 1))
    }

    /// Whether replicas might have no room for one write more. Never unless something is under way that makes room when it is done;
    /// where a flush fails, writes had better fail, too.
    pub(super) fn is_crowded(&self) -> bool {
        self.window.extents() >= self.settings.extents_max && !self.unswept
    }

    /// Begins the writes that there is room for now.
    pub(super) fn begin_crowded(&mut self) {
        while !self.is_crowded()
            && let Some(ticket) = self.crowded.pop_front()
        {
            self.begin_now(ticket);
        }
    }

    /// Flushes, so that there is room before it is needed; and once nobody writes, so that whoever follows, or takes a snapshot without a
    /// head, finds nothing dirty: first so that all is settled, then so that replicas strike it.
    pub(super) fn sweep(&mut self) {
        let rests = self.window.rests(self.now, self.settings.patience / RESTS);
        let much = if rests { 1 } else { self.settings.extents_max / 2 };
        let gains = |covers| self.window.gains(covers, much) || (rests && self.window.unstruck.is_some());
        // A client's does as well.
        let under_way = |task: &Task<D>| matches!(task.what, What::Flush { op, covers, .. } if gains(covers) && (op.is_none() || !rests));
        if self.open && !self.unswept && gains(self.done()) && !self.tasks.values().any(under_way) {
            self.flush(None);
        }
    }

    /// What was acknowledged before counts as flushed afterwards, if all members had it then.
    pub(super) fn flush(&mut self, op: Option<OpId>) {
        self.window.tell(self.sequence.next());
        let acknowledged = if self.unequal.is_empty() { self.acknowledged } else { 0 };
        let noting = self.marks.noting(self.open && self.unequal.is_empty());
        let what = What::Flush { op, acknowledged, covers: self.done(), tells: self.settled, noting, fault: None };
        self.change(None, what, self.required());
    }

    /// A flush of its own is done, or could not be.
    pub(super) fn swept(&mut self, outcome: Result<(), Trouble>) {
        self.unswept = outcome.is_err();
    }

    /// All members have done this flush: all changes up to this one are on all disks.
    pub(super) fn settle(&mut self, upto: Sequence, (flush, noting): (Sequence, Noting)) {
        self.settled = self.settled.max(upto);
        let gone = self.window.settle(&self.settings.geometry, self.settled);
        self.marks.flushed(flush, noting, gone);
    }
}

impl<D: Clone> Head<D> {
    /// Nobody will write any more.
    pub fn rest(&mut self) {
        self.window.changed = Duration::ZERO;
    }

    /// Whether no replica in sync has anything dirty that could be clean, and nothing is under way.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let nothing = self.tasks.is_empty() && self.waiting.is_empty() && self.early.is_empty();
        nothing && self.window.extents() == 0 && self.window.unstruck.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const GEOMETRY: Geometry = Geometry { size: 1000, extent: 10 };

    proptest! {
        /// What counts is the distinct extents of the changes that are not settled.
        #[test]
        fn it_counts_what_a_list_of_all_changes_says(steps in prop::collection::vec((0u64..900, 1u64..60, any::<prop::sample::Index>()), 1..60)) {
            let mut window = Window::default();
            let (mut all, mut settled): (Vec<Span>, usize) = (Vec::new(), 0);
            for (at, length, upto) in steps {
                let span = Span { at, length };
                window.begin(&GEOMETRY, (Sequence(all.len() as u64 + 1), Duration::ZERO), span);
                all.push(span);
                settled = settled.max(upto.index(all.len() + 1));
                window.settle(&GEOMETRY, Sequence(settled as u64));
                let wanted: BTreeSet<Extent> = all[settled..].iter().flat_map(|span| GEOMETRY.extents(*span)).collect();
                prop_assert_eq!(window.all().collect::<BTreeSet<_>>(), wanted);
            }
        }
    }

    #[test]
    fn what_was_left_counts_until_it_is_equal_and_all_were_told_and_have_flushed() {
        let mut window = Window::default();
        window.hold(&[Extent(1), Extent(2)], &[Extent(2)]);
        assert!(!window.gains(Sequence(9), 100), "it is not equal");
        window.tell(Sequence(3));
        window.equal(Extent(2));
        window.settle(&GEOMETRY, Sequence(9));
        assert_eq!(window.extents(), 2, "nobody was told");
        assert!(window.gains(Sequence(9), 100));
        window.tell(Sequence(10));
        window.settle(&GEOMETRY, Sequence(9));
        assert_eq!((window.extents(), window.gains(Sequence(9), 100)), (2, false), "something before it is not done");
        window.settle(&GEOMETRY, Sequence(10));
        assert_eq!((window.extents(), window.gains(Sequence(11), 100)), (0, false));
    }
}
