//! What a campaign is told, and what it wants done.

use pan_model::HostName;

use crate::frame::BootId;
use crate::profile::Timing;
use crate::rules::Rules;
use crate::term::Term;
use crate::wire::{LeaderBeat, Nonce, PreVoteAsk};

/// The store's revision of the leader record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// The leader record, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderRecord {
    pub leader: HostName,
    /// Which process of that controller: a former one of the same name led in another life.
    pub instance: BootId,
    pub term: Term,
    pub revision: Revision,
}

/// One process of one controller.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub me: HostName,
    /// Random, and drawn by each process.
    pub instance: BootId,
    /// All controllers, this one included.
    pub controllers: Vec<HostName>,
    pub timing: Timing,
    /// Random, and drawn by each process.
    pub nonce: Nonce,
    pub rules: Rules,
}

/// What became of [`Effect::TakeRecord`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Done {
        revision: Revision,
    },
    /// The record was not the expected one any more.
    Lost,
    /// The store did not answer: it may have been taken, or be taken yet.
    InDoubt,
}

/// Why a leader no longer leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The record names another, or is gone.
    Superseded,
    /// The store refused a commit because the record had changed.
    CommitRefused,
    /// A lessor knows of this later term.
    LaterTerm(Term),
    /// The store could not be reached for too long; others may be able to.
    StoreUnreachable,
    /// No other host has been heard for long; other controllers may hear them.
    Deaf,
    /// A lessor that knew the term does not any more, and what it revoked is to be revoked anew by a leadership that begins.
    Forgotten,
}

/// What a campaign wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Read the leader record, linearizably, and call [`super::Campaign::observed`].
    ReadRecord,
    /// Send it to every other controller.
    AskPreVotes(PreVoteAsk),
    /// Replace the record of revision `expected` (none: create it) by this controller, process and term, and call
    /// [`super::Campaign::taken`].
    TakeRecord { expected: Option<Revision>, term: Term },
    /// Send it to every other controller.
    Beat(LeaderBeat),
    /// This controller leads: load the world, then act. Every transaction compares `revision`.
    Lead { term: Term, revision: Revision },
    /// It still leads, after a pause or doubt, and may act again.
    Resume { term: Term },
    /// It leads no longer: drop what is under way.
    StepDown(Reason),
    /// Somebody else leads.
    Follow { leader: HostName, term: Term },
}
