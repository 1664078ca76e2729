//! What head and replica say to each other.

use crate::geometry::{Extent, Span};
use crate::runs::Runs;
use pan_model::mirror::{Member, Since, Writer};
use pan_model::{Lineage, SnapshotId, VolumeEpoch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Numbers a head's requests, over all replicas and connections of its session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A head asks a replica.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request<D> {
    /// As whom.
    pub writer: Writer,
    /// Of which lineage.
    pub lineage: Lineage,
    /// The number of this request.
    pub sequence: Sequence,
    /// All writes up to this one are on the disk of every replica in sync: no head need ever make them equal again.
    pub settled: Sequence,
    /// What earlier heads left unequal has been made equal.
    pub reconciled: bool,
    /// What is asked.
    pub ask: Ask<D>,
}

/// What is asked of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ask<D> {
    /// Rule 2. Obey nobody older from now on. The first request on a connection; it ends all others.
    Fence {
        /// As what the replica is wanted.
        part: Part,
        /// What the head understands beside what every head does.
        dialect: Dialect,
        /// Who is out, and since when, by the record. Whatever is noted of others, or of other absences, is of no use any more: a word
        /// that it is to be forgotten may have been lost with a connection, or with a head. `None`: the head does not say.
        out: Option<BTreeMap<Member, Since>>,
    },
    /// Read.
    Read {
        /// Where.
        span: Span,
        /// To make another one equal.
        copy: bool,
    },
    /// Write.
    Write {
        /// Where.
        span: Span,
        /// What.
        content: Content<D>,
        /// On the disk before it is answered.
        durable: bool,
        /// To make it equal to another one.
        copy: bool,
    },
    /// Rule 5. Put everything on the disk that was answered before.
    Flush {
        /// Rule 7. One that was blank has everything then, and notes that too.
        whole: bool,
    },
    /// Rule 7. From now on, note what is written, for a replica that is out; and note these extents, which it may lack.
    Miss {
        /// Who is out.
        member: Member,
        /// Since when.
        since: Since,
        /// What was under way when it left.
        extents: Runs,
    },
    /// Keep the volume as it is now, on the disk, under this number. Nothing is under way meanwhile; one of that number is replaced.
    Snapshot {
        /// The number.
        snapshot: SnapshotId,
    },
    /// It is in again, or gone for good: its notes are not needed any more.
    Forget {
        /// Who.
        member: Member,
    },
    /// Rule 7. What did it miss?
    Missed {
        /// Who.
        member: Member,
        /// Since when it is out; notes about another absence do not count.
        since: Since,
    },
}

impl<D> Ask<D> {
    /// Where it reads or writes.
    #[must_use]
    pub const fn span(&self) -> Option<Span> {
        match self {
            Self::Read { span, .. } | Self::Write { span, .. } => Some(*span),
            Self::Fence { .. }
            | Self::Flush { .. }
            | Self::Snapshot { .. }
            | Self::Miss { .. }
            | Self::Forget { .. }
            | Self::Missed { .. } => None,
        }
    }
}

/// What a head understands. Replicas say nothing that it does not, so that heads and storage hosts of different releases go together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// What every head does.
    #[default]
    First,
    /// Also [`Answer::Rotten`] and [`Answer::Hole`].
    Second,
}

/// As what a replica is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// It is in sync: its lineage must be the head's, or the one that was adopted.
    Member {
        /// The lineage before a loss was accepted.
        adopts: Option<Lineage>,
    },
    /// It is out and is made equal: whatever it has, it takes on the head's lineage.
    Joiner,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content<D> {
    /// These bytes.
    Data(D),
    /// Zeros, with space kept for them.
    Zeros,
    /// Nothing: it reads as zeros, and its space is free.
    Hole,
}

/// Extents that a replica knows to be rotten: 512 MiB, beyond which it is not a block that rots but a disk that goes. What is found beyond
/// them is found again by the next scrub.
pub const ROTTEN_MAX: usize = 4096;

/// Extents that a replica holds to be dirty: its log on the disk has 256, and a head has 200 more under way, or twice that while it makes
/// equal what others left. Whoever wants more does not speak this protocol, and is told that there is no room.
pub const DIRTY_MAX: usize = 4096;

/// Members of which a replica knows what they missed: a volume has three copies at most, and whoever is out for good is forgotten. More, for
/// those whose being forgotten was not heard. It is what a pool has room for, too. Of one more the oldest absence is forgotten, and
/// whoever comes back from that is given everything.
pub const ABSENT_MAX: usize = 8;

/// A replica answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reply<D> {
    /// What it answers.
    pub sequence: Sequence,
    /// The answer.
    pub answer: Answer<D>,
}

/// What a replica answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer<D> {
    /// It obeys nobody older, and its disk knows.
    Fenced(Fenced),
    /// What was read.
    Read(D),
    /// What was to be copied is nothing: it reads as zeros and takes no space.
    Hole,
    /// Unasked, with sequence 0, which no request has: something in each of these extents is not what was written. At most [`ROTTEN_MAX`].
    Rotten(Vec<Extent>),
    /// It is done.
    Done,
    /// What a member missed, or more; `None`: it has no notes about that absence.
    Missed(Option<Runs>),
    /// It obeys somebody else.
    Refused {
        /// The epoch it obeys.
        epoch: VolumeEpoch,
    },
    /// It is of another lineage, or none.
    Strange,
    /// It cannot.
    Failed(Fault),
}

/// What a replica says when it is fenced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fenced {
    /// The epoch and sequence of its last flush.
    pub flushed: (VolumeEpoch, Sequence),
    /// Extents that may differ from those of other replicas. At most [`DIRTY_MAX`].
    pub dirty: Vec<Extent>,
    /// Its machine was restarted, and what was not flushed may be lost.
    pub lossy: bool,
    /// It was of another lineage, or new: nothing it has is worth anything.
    pub blank: bool,
}

/// Why a replica cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Its disk is full.
    NoSpace,
    /// Its disk fails.
    Io,
    /// What it has is not what was written.
    Rotten,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "its disk is full",
            Self::Io => "its disk fails",
            Self::Rotten => "what it has is not what was written",
        })
    }
}
