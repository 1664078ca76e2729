//! The arbiter: who may write a volume, and which replicas hold all of it. Its record lies in the controllers' store; every
//! change of it is one transaction there, and the only way in which either changes.
//!
//! Pure functions of the record. A head says with each change which record it knows (`expect`), so that an answer that was lost
//! and a question that was late are both found out: nothing is ever applied on top of what its author did not know.

use crate::rules::{Mutant, Rules};
use pan_model::mirror::{Change, Mark, Member, Record, Since, Writer};
use pan_model::{Lineage, Session, VolumeEpoch};
use std::collections::{BTreeMap, BTreeSet};

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody else writes it now.
    #[error("epoch {found} was claimed by somebody else; the one who asked has epoch {asked}")]
    Deposed {
        /// The present one.
        found: VolumeEpoch,
        /// The asker's.
        asked: VolumeEpoch,
    },
    /// The record changed meanwhile.
    #[error("the record was changed {found} times; the one who asked knows of {known}")]
    Stale {
        /// Changes so far.
        found: u64,
        /// Changes the asker knows of.
        known: u64,
    },
    /// It is the last that has everything.
    #[error("replica {0} is the last that is in sync: without it nothing would be left")]
    Last(Member),
    /// There is no such member.
    #[error("there is no replica {0}")]
    Unknown(Member),
    /// It is used at this moment.
    #[error("the volume has replicas in sync: nothing was lost")]
    NotLost,
}

/// A new volume: its members are empty, and that is all there is.
#[must_use]
pub fn found(members: impl IntoIterator<Item = Member>) -> Record {
    Record {
        lineage: Lineage(1),
        adopts: None,
        epoch: VolumeEpoch(0),
        session: Session(0),
        in_sync: members.into_iter().collect(),
        out: BTreeMap::new(),
        had: BTreeMap::new(),
        changes: 1,
    }
}

/// Rule 1. A new writer: this is the moment at which ownership changes.
#[must_use]
pub fn claim(record: &Record, session: Session) -> Record {
    Record { epoch: record.epoch.next(), session, changes: record.changes + 1, ..record.clone() }
}

/// Rules 6 and 7. A change that the present writer asks for, knowing of `expect` changes. `had`: what a member that is evicted is sure to have on
/// its disk.
///
/// # Errors
/// [`Refusal`]; the asker is deposed, or has to look at the record again.
pub fn change(
    record: &Record,
    writer: Writer,
    expect: u64,
    (change, had): (Change, Option<Mark>),
    rules: Rules,
) -> Result<Record, Refusal> {
    if !rules.breaks(Mutant::NoCompareAndSwap) {
        if (record.epoch, record.session) != (writer.epoch, writer.session) {
            return Err(Refusal::Deposed { found: record.epoch, asked: writer.epoch });
        }
        if record.changes != expect {
            return Err(Refusal::Stale { found: record.changes, known: expect });
        }
    }
    let mut next = Record { changes: record.changes + 1, ..record.clone() };
    match change {
        Change::Evict(member) | Change::Slow(member) => {
            if !next.in_sync.remove(&member) {
                return Err(Refusal::Unknown(member));
            }
            if next.in_sync.is_empty() {
                return Err(Refusal::Last(member));
            }
            next.out.insert(member, Since(next.changes));
            next.had.extend(had.map(|had| (member, had)));
        }
        Change::Add(member) => {
            next.out.remove(&member).ok_or(Refusal::Unknown(member))?;
            next.had.remove(&member);
            next.in_sync.insert(member);
        }
    }
    Ok(next)
}

/// A member that the volume was to begin with and that was never made is another one. Only for a volume that nobody may write yet:
/// all its members are empty, and this one will be as well.
#[must_use]
pub fn refound(record: &Record, unmade: Member, instead: Member) -> Record {
    let mut next = Record { changes: record.changes + 1, ..record.clone() };
    if next.in_sync.remove(&unmade) {
        next.in_sync.insert(instead);
    }
    next
}

/// A further replica, which has nothing yet.
#[must_use]
pub fn with(record: &Record, member: Member) -> Record {
    let mut next = Record { changes: record.changes + 1, ..record.clone() };
    next.out.insert(member, Since::NEVER);
    next
}

/// A replica is given up for good.
///
/// # Errors
/// [`Refusal::Last`], [`Refusal::Unknown`].
pub fn without(record: &Record, member: Member) -> Result<Record, Refusal> {
    let mut next = Record { changes: record.changes + 1, ..record.clone() };
    next.had.remove(&member);
    if next.in_sync.remove(&member) {
        return if next.in_sync.is_empty() { Err(Refusal::Last(member)) } else { Ok(next) };
    }
    next.out.remove(&member).map(|_| next).ok_or(Refusal::Unknown(member))
}

/// Rule 9. All that were in sync are lost: what `survivor` has is the volume from now on, under another lineage, so that the
/// copies that were lost are never taken for it should they come back.
///
/// # Errors
/// [`Refusal::Unknown`], or [`Refusal::NotLost`] when it is in sync itself.
pub fn accept_loss(record: &Record, survivor: Member) -> Result<Record, Refusal> {
    if record.in_sync.contains(&survivor) {
        return Err(Refusal::NotLost);
    }
    let mut out: BTreeMap<Member, Since> = record.out.keys().chain(&record.in_sync).map(|member| (*member, Since::NEVER)).collect();
    out.remove(&survivor).ok_or(Refusal::Unknown(survivor))?;
    Ok(Record {
        lineage: record.lineage.next(),
        adopts: Some(record.lineage),
        epoch: record.epoch.next(),
        session: Session(0),
        in_sync: BTreeSet::from([survivor]),
        out,
        had: BTreeMap::new(),
        changes: record.changes + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Member = Member(1);
    const B: Member = Member(2);

    fn claimed() -> (Record, Writer) {
        let record = claim(&found([A, B]), Session(7));
        let writer = Writer { epoch: record.epoch, session: record.session };
        (record, writer)
    }

    fn ask(record: &Record, writer: Writer, change: Change) -> Result<Record, Refusal> {
        super::change(record, writer, record.changes, (change, None), Rules::default())
    }

    #[test]
    fn only_the_writer_changes_it() {
        let (record, writer) = claimed();
        let later = claim(&record, Session(8));
        assert_eq!(ask(&later, writer, Change::Evict(A)), Err(Refusal::Deposed { found: VolumeEpoch(2), asked: VolumeEpoch(1) }));
        let evicted = ask(&record, writer, Change::Evict(A)).unwrap();
        assert_eq!((evicted.in_sync.len(), evicted.out[&A]), (1, Since(3)));
        assert_eq!(ask(&evicted, writer, Change::Evict(B)), Err(Refusal::Last(B)));
        assert_eq!(ask(&evicted, writer, Change::Add(A)).unwrap().in_sync, record.in_sync);
    }

    #[test]
    fn what_a_member_had_is_remembered_while_it_is_out() {
        let (record, writer) = claimed();
        let had = Mark { epoch: VolumeEpoch(1), flush: 7 };
        let evicted = change(&record, writer, record.changes, (Change::Evict(A), Some(had)), Rules::default()).unwrap();
        assert_eq!(claim(&evicted, Session(8)).had, BTreeMap::from([(A, had)]));
        assert!(ask(&evicted, writer, Change::Add(A)).unwrap().had.is_empty());
        assert!(without(&evicted, A).unwrap().had.is_empty());
    }

    #[test]
    fn what_is_late_changes_nothing() {
        let (record, writer) = claimed();
        let evicted = ask(&record, writer, Change::Evict(A)).unwrap();
        let added = ask(&evicted, writer, Change::Add(A)).unwrap();
        let again = ask(&added, writer, Change::Evict(A)).unwrap();
        // The question that `added` answered comes once more.
        let late = change(&again, writer, evicted.changes, (Change::Add(A), None), Rules::default());
        assert_eq!(late, Err(Refusal::Stale { found: again.changes, known: evicted.changes }));
    }

    #[test]
    fn an_accepted_loss_begins_another_lineage() {
        let (record, writer) = claimed();
        let alone = ask(&record, writer, Change::Evict(A)).unwrap();
        assert_eq!(accept_loss(&alone, B), Err(Refusal::NotLost));
        let kept = accept_loss(&alone, A).unwrap();
        assert_eq!((kept.lineage, kept.adopts, kept.in_sync), (Lineage(2), Some(Lineage(1)), BTreeSet::from([A])));
        assert_eq!(kept.out, BTreeMap::from([(B, Since::NEVER)]));
        assert!(matches!(ask(&accept_loss(&alone, A).unwrap(), writer, Change::Add(B)), Err(Refusal::Deposed { .. })));
    }

    #[test]
    fn replicas_come_and_go() {
        let (record, _) = claimed();
        let more = with(&record, Member(3));
        assert_eq!(more.out, BTreeMap::from([(Member(3), Since::NEVER)]));
        assert!(without(&more, Member(3)).unwrap().out.is_empty());
        assert_eq!(without(&without(&more, A).unwrap(), B), Err(Refusal::Last(B)));
        assert_eq!(without(&more, Member(9)), Err(Refusal::Unknown(Member(9))));
    }
}
