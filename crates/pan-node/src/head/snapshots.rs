//! Which snapshots this life of a head takes: one at a time, each once, the smallest number first.

use pan_model::SnapshotId;
use pan_model::mirror::Member;
use pan_replica::{OpId, Trouble};
use std::collections::BTreeSet;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    wanted: BTreeSet<SnapshotId>,
    taking: Option<(OpId, SnapshotId)>,
    /// Who has that one, once it is there.
    by: Option<BTreeSet<Member>>,
    /// How the last one ended, until the leader knows.
    telling: Option<Ended>,
    /// Up to here the leader knows. Who orders something takes a larger number each time, so an order that is late wants nothing again.
    told: SnapshotId,
}

/// How one ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub snapshot: SnapshotId,
    /// Who has it.
    pub members: Option<BTreeSet<Member>>,
    /// Why there is none.
    pub trouble: Option<String>,
}

impl Snapshots {
    /// What the controller wants, by the newest word of it.
    pub fn want(&mut self, all: &[SnapshotId]) {
        self.wanted = all.iter().copied().filter(|snapshot| *snapshot > self.told).collect();
    }

    /// The one to take now, if there is one.
    pub fn next(&self) -> Option<SnapshotId> {
        let idle = self.taking.is_none() && self.telling.is_none();
        self.wanted.first().copied().filter(|_| idle)
    }

    /// It was asked for, as this operation.
    pub fn begin(&mut self, op: OpId, snapshot: SnapshotId) {
        (self.taking, self.by) = (Some((op, snapshot)), None);
    }

    /// It is there, and these have it.
    pub fn taken(&mut self, op: OpId, by: BTreeSet<Member>) {
        if self.taking.is_some_and(|(taking, _)| taking == op) {
            self.by = Some(by);
        }
    }

    /// An operation ended; what the leader is to be told, if it was one of these.
    pub fn done(&mut self, op: OpId, trouble: Option<String>) -> Option<Ended> {
        let (_, snapshot) = self.taking.take_if(|(taking, _)| *taking == op)?;
        let members = self.by.take().filter(|_| trouble.is_none());
        self.telling = Some(Ended { snapshot, members, trouble });
        self.telling.clone()
    }

    /// The leader knows, or the head is over; what is still to be told otherwise.
    pub fn told(&mut self, knows: bool) -> Option<Ended> {
        if knows && let Some(ended) = self.telling.take() {
            self.told = self.told.max(ended.snapshot);
            self.wanted.remove(&ended.snapshot);
        }
        self.telling.clone()
    }
}

/// Why a snapshot could not be taken.
pub(super) fn why(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Failed(fault) => format!("of a storage host that has a copy, {fault}"),
        Trouble::Outside | Trouble::Over => trouble.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once_whatever_late_orders_say() {
        let id = SnapshotId;
        let mut all = Snapshots::default();
        assert_eq!(all.next(), None);
        all.want(&[id(4), id(9)]);
        assert_eq!(all.next(), Some(id(4)));
        all.begin(OpId(1), id(4));
        assert_eq!(all.next(), None);
        assert_eq!(all.done(OpId(2), None), None);
        let ended = Ended { snapshot: id(4), members: None, trouble: Some("full".into()) };
        assert_eq!(all.done(OpId(1), Some("full".into())), Some(ended.clone()));
        assert_eq!((all.next(), all.told(false)), (None, Some(ended)));
        assert_eq!((all.told(true), all.next()), (None, Some(id(9))));
        all.want(&[id(4), id(9), id(12)]);
        assert_eq!(all.next(), Some(id(9)), "4 is over");
        all.begin(OpId(3), id(9));
        let by = BTreeSet::from([Member(1), Member(3)]);
        all.taken(OpId(2), BTreeSet::from([Member(2)]));
        all.taken(OpId(3), by.clone());
        assert_eq!(all.done(OpId(3), None), Some(Ended { snapshot: id(9), members: Some(by), trouble: None }));
    }
}
