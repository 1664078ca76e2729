//! What can go wrong, one enum per attempted operation.

use crate::txn::Revision;

/// An implementation's own error; its type differs from store to store.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A listing failed; nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot list keys under {prefix:?} in the store")]
    Io { prefix: String, source: BoxError },
}

/// A transaction did not come through, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A comparison failed: somebody else wrote in between. Nothing was written.
    #[error("{key:?} changed meanwhile: expected {}, found {}", words(*.expected), words(*.found))]
    Conflict { key: String, expected: Option<Revision>, found: Option<Revision> },
    /// The transaction itself is at fault, at any time. Nothing was written.
    #[error("the store refuses this transaction")]
    Refused(#[from] Refusal),
    /// The answer is lost, or says too little: the writes are there entirely or not at all. Read again before going on.
    /// When it is `settled`, nothing is on its way any more and what is read stays true.
    #[error("it is not known whether the transaction was committed; read again before acting on it")]
    InDoubt { source: BoxError, settled: bool },
    /// The store failed before it could commit. Nothing was written.
    #[error("the store failed; nothing was written")]
    Io { source: BoxError },
}

/// Why a transaction can never be accepted as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{found} {what}; at most {max} fit into one transaction")]
    TooLarge { what: &'static str, found: usize, max: usize },
    #[error("key {key:?} is written twice in one transaction")]
    WrittenTwice { key: String },
    #[error("a key must not be empty")]
    EmptyKey,
}

/// A watch ended. List again, then watch from that listing's revision.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The changes asked for are no longer kept.
    #[error("changes after revision {after} are no longer kept; the oldest known point is {oldest}")]
    Compacted { after: Revision, oldest: Revision },
    /// The store cannot tell of changes, and trying again would not help.
    #[error("the store cannot be followed")]
    Failed { source: BoxError },
    /// The store was closed.
    #[error("the store was closed")]
    Closed,
}

fn words(revision: Option<Revision>) -> String {
    match revision {
        Some(revision) => format!("revision {revision}"),
        None => "no such key".to_owned(),
    }
}
