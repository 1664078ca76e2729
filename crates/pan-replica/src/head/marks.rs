//! What a member that is evicted is sure to have, so that it can be told from one whose disk went back: an older copy of it was put there, or
//! the disk lost what it said was on it. What others note of an absence is what may be missing beyond that, and nothing of what was on its
//! disk before; of whoever has less everything is copied (rule 7).
//!
//! A replica notes a flush on its disk when it has done it, and that note is on the disk with its next flush. So all members are sure to have
//! the note of a flush once all have done a later one, that was sent when the first was done. What flushes after that one settled is
//! remembered here until then, and noted for whoever is evicted, as if it were not settled.

use super::Head;
use crate::geometry::Extent;
use crate::message::Sequence;
use pan_model::VolumeEpoch;
use pan_model::mirror::{Change, Mark, Member};
use std::collections::{BTreeMap, BTreeSet};

/// Whether all members that do a flush note it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Noting {
    /// One that lost something notes none before it was made equal.
    Unsure,
    /// They do, and have done this one before.
    After(Option<Sequence>),
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Marks {
    /// What a member said when it was fenced, or the flush with which it came back.
    said: BTreeMap<Member, Mark>,
    /// The last flush that all have done.
    done: Option<Sequence>,
    /// The last one of which all are sure to have the note.
    noted: Option<Sequence>,
    /// What flushes after that one settled. At most what is settled while one flush is under way.
    recent: BTreeMap<Sequence, BTreeSet<Extent>>,
}

impl Marks {
    /// A member has this on its disk. `None`: nobody knows what it has.
    pub fn said(&mut self, member: Member, mark: Option<Mark>) {
        match mark {
            Some(mark) => drop(self.said.insert(member, mark)),
            None => drop(self.said.remove(&member)),
        }
    }

    /// For a flush that is sent now; `equal`: all members were made equal.
    pub const fn noting(&self, equal: bool) -> Noting {
        if equal { Noting::After(self.done) } else { Noting::Unsure }
    }

    /// All members have done a flush, and so these extents are settled.
    pub fn flushed(&mut self, flush: Sequence, noting: Noting, settled: Vec<Extent>) {
        if !settled.is_empty() {
            self.recent.entry(flush).or_default().extend(settled);
        }
        let Noting::After(before) = noting else { return };
        (self.done, self.noted) = (self.done.max(Some(flush)), self.noted.max(before));
        if let Some(noted) = self.noted {
            self.recent = self.recent.split_off(&noted.next());
        }
    }

    /// What is settled, and may not be on a member's disk as far as its last note says.
    pub fn recent(&self) -> impl Iterator<Item = Extent> {
        self.recent.values().flatten().copied()
    }

    /// What a member is sure to have noted.
    fn of(&self, member: Member, epoch: VolumeEpoch) -> Option<Mark> {
        let noted = self.noted.map(|flush| Mark { epoch, flush: flush.0 });
        noted.max(self.said.get(&member).copied())
    }
}

/// How a replica says it.
pub(super) const fn mark((epoch, flush): (VolumeEpoch, Sequence)) -> Mark {
    Mark { epoch, flush: flush.0 }
}

impl<D: Clone> Head<D> {
    /// What the arbiter is to know of whom a change is about.
    pub(super) fn sure_of(&self, change: Change) -> Option<Mark> {
        match change {
            Change::Evict(member) | Change::Slow(member) => self.marks.of(member, self.writer.epoch),
            Change::Add(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: VolumeEpoch = VolumeEpoch(4);
    const MEMBER: Member = Member(1);

    fn recent(marks: &Marks) -> Vec<u64> {
        marks.recent().map(|extent| extent.0).collect()
    }

    #[test]
    fn a_flush_is_sure_to_be_noted_when_a_later_one_is_done() {
        let mut marks = Marks::default();
        assert_eq!(marks.of(MEMBER, EPOCH), None);
        let said = Mark { epoch: VolumeEpoch(3), flush: 90 };
        marks.said(MEMBER, Some(said));
        let (first, beside) = (marks.noting(true), marks.noting(true));
        marks.flushed(Sequence(5), first, vec![Extent(1)]);
        // It was sent before that one was done.
        marks.flushed(Sequence(6), beside, vec![Extent(2)]);
        assert_eq!((marks.of(MEMBER, EPOCH), recent(&marks)), (Some(said), vec![1, 2]));
        let third = marks.noting(true);
        marks.flushed(Sequence(9), third, vec![Extent(3)]);
        assert_eq!((marks.of(MEMBER, EPOCH), recent(&marks)), (Some(Mark { epoch: EPOCH, flush: 6 }), vec![3]));
        let fourth = marks.noting(true);
        marks.flushed(Sequence(12), fourth, Vec::new());
        assert_eq!((marks.of(Member(7), EPOCH), recent(&marks)), (Some(Mark { epoch: EPOCH, flush: 9 }), vec![]));
    }

    #[test]
    fn nothing_is_sure_before_all_were_made_equal() {
        let mut marks = Marks::default();
        for flush in [5, 6, 7] {
            let noting = marks.noting(false);
            marks.flushed(Sequence(flush), noting, vec![Extent(flush)]);
        }
        assert_eq!((marks.of(MEMBER, EPOCH), recent(&marks)), (None, vec![5, 6, 7]));
    }
}
