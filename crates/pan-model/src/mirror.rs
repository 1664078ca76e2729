//! What is recorded of a volume's copies: who writes it, and which replicas hold all of it. The functions that change such a
//! record are the arbiter's (`pan-replica`), the protocol is told in docs/volumes.md.

use crate::{Lineage, Session, VolumeEpoch};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The number of a replica within its volume; never given twice, also when the same host keeps another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Member(pub u32);

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The change with which a member was evicted. What survivors write down about the writes it misses carries the same number:
/// notes about another absence are not taken for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Since(pub u64);

impl Since {
    /// It was never in: nobody has notes.
    pub const NEVER: Self = Self(0);
}

/// How much a replica has of its lineage; on its disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fill {
    /// It was new, or of another lineage, and has not been given everything yet.
    Partial,
    /// It was out and is being given what it missed: some of it is of one moment, some of another.
    CatchingUp,
    /// All, as of the moment at which it was in sync last.
    #[default]
    Whole,
}

/// A flush that a replica has done and noted on its disk: everything that was done on it before is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// Of which head.
    pub epoch: VolumeEpoch,
    /// The number of the request.
    pub flush: u64,
}

/// What the store keeps of a volume's protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// What the members have in common.
    pub lineage: Lineage,
    /// The lineage that its members may still have on their disks: the one before, where a loss was accepted.
    pub adopts: Option<Lineage>,
    /// Grows with each claim: the fencing token.
    pub epoch: VolumeEpoch,
    /// Who claimed it last.
    pub session: Session,
    /// The members that hold everything that was acknowledged.
    pub in_sync: BTreeSet<Member>,
    /// The others, and since when they are out.
    pub out: BTreeMap<Member, Since>,
    /// What those that are out were sure to have when they left. Of whom it is not known nothing is taken for granted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub had: BTreeMap<Member, Mark>,
    /// Grows with each change of this record.
    pub changes: u64,
}

impl Record {
    /// Who may write.
    #[must_use]
    pub const fn writer(&self) -> Writer {
        Writer { epoch: self.epoch, session: self.session }
    }

    /// All replicas there are, whatever they hold.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.in_sync.iter().chain(self.out.keys()).copied()
    }
}

/// A change that a head asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// A member does not answer, or is not what it was.
    Evict(Member),
    /// A member answers, but so slowly that it holds up all others: it is evicted as well.
    Slow(Member),
    /// A member has everything.
    Add(Member),
}

/// Who asks, and what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Writer {
    /// Its epoch.
    pub epoch: VolumeEpoch,
    /// Its session.
    pub session: Session,
}
