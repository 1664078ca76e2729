//! What these datagrams say.

use std::time::Duration;

use pan_model::host::Fabric;
use pan_model::{Admission, Epoch, HostName};

use crate::frame::BootId;
use crate::term::Term;

/// Ties an answer to its question. Counts up from a random number that each process draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub u64);

impl Nonce {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// What a lessor makes of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts towards the lease.
    Granted,
    /// Its admission was revoked, and will never be granted again.
    Revoked,
    /// The lessor has not read yet whom it revoked.
    NotReady,
}

/// Lessor to host: your heartbeat came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    pub lessor: HostName,
    /// The highest term the lessor has on disk.
    pub term: Term,
    pub boot: BootId,
    pub sequence: u64,
    pub fabric: Fabric,
    pub admission: Admission,
    pub verdict: Verdict,
}

/// Leader to lessor: acknowledge no admission of `host` up to `through` any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoke {
    pub leader: HostName,
    pub term: Term,
    pub nonce: Nonce,
    pub host: HostName,
    pub through: Admission,
}

/// Lessor to leader: done, and on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    pub lessor: HostName,
    pub term: Term,
    pub nonce: Nonce,
    pub host: HostName,
    pub through: Admission,
    /// How long, at most, the host's gate may be open yet by acknowledgements of admissions up to `through`.
    pub open: Duration,
    /// How long the host has been silent, at least.
    pub heard: Duration,
}

/// Lessor to leader: there is a later term than yours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub lessor: HostName,
    /// The lessor's term.
    pub term: Term,
    pub nonce: Nonce,
    /// The term that was asked with.
    pub asked: Term,
}

/// Leader to lessor: how long have these hosts been silent? With none, it only makes the term known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub leader: HostName,
    pub term: Term,
    pub nonce: Nonce,
    /// At most [`super::ASKED_MAX`].
    pub hosts: Vec<HostName>,
}

/// Lessor to leader: so long, at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub lessor: HostName,
    pub term: Term,
    pub nonce: Nonce,
    /// In the order of the question.
    pub ages: Vec<Duration>,
}

/// Leader to the other controllers: still here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderBeat {
    pub leader: HostName,
    pub term: Term,
    /// Grows with every beat of a term.
    pub sequence: u64,
}

/// Controller to the others: may I stand for `term`?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreVoteAsk {
    pub candidate: HostName,
    pub term: Term,
    pub nonce: Nonce,
}

/// Whether a controller is for a change of leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vote {
    /// It has not heard the leader for long enough.
    Yes,
    No,
}

/// Controller to a candidate: this I know of the leader. Binds nobody: the leader record decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreVoteSay {
    pub voter: HostName,
    /// The term that was asked for.
    pub term: Term,
    pub nonce: Nonce,
    /// How long ago a leader was heard, as far as the voter knows.
    pub silent_for: Duration,
    pub vote: Vote,
}

/// Director to host: for these units I answer while their owner is silent, or no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandIn {
    pub director: HostName,
    /// Drawn by each process, so that a later one is told from an earlier one.
    pub boot: BootId,
    /// Grows with every datagram of a boot.
    pub sequence: u64,
    /// At most [`super::STOOD_MAX`].
    pub units: Vec<Stood>,
}

/// What a director says of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stood {
    /// The identifier of its partition's network.
    pub vni: u32,
    /// Under which its owner, who is silent, has it.
    pub epoch: Epoch,
    /// Whether the director answers for it.
    pub here: bool,
}

/// A datagram under the key between controllers and lessors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Revoke(Revoke),
    Revoked(Revoked),
    Refused(Refused),
    Ask(Ask),
    Heard(Heard),
    LeaderBeat(LeaderBeat),
    PreVoteAsk(PreVoteAsk),
    PreVoteSay(PreVoteSay),
}

impl Message {
    /// Who sent it.
    #[must_use]
    pub const fn sender(&self) -> &HostName {
        match self {
            Self::Revoke(Revoke { leader: sender, .. })
            | Self::Revoked(Revoked { lessor: sender, .. })
            | Self::Refused(Refused { lessor: sender, .. })
            | Self::Ask(Ask { leader: sender, .. })
            | Self::Heard(Heard { lessor: sender, .. })
            | Self::LeaderBeat(LeaderBeat { leader: sender, .. })
            | Self::PreVoteAsk(PreVoteAsk { candidate: sender, .. })
            | Self::PreVoteSay(PreVoteSay { voter: sender, .. }) => sender,
        }
    }
}
