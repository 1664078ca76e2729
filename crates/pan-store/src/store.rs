//! The trait every store implements.

use std::future::Future;

use crate::error::{CommitError, ReadError};
use crate::txn::{Entry, Revision, Txn};
use crate::watch::Watch;

/// All entries under a prefix, in key order, as they stood at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The store's revision the listing shows; a watch from here misses nothing.
    pub revision: Revision,
    pub entries: Vec<Entry>,
}

/// A linearizable key-value store.
///
/// Once a call returned, every later call of anybody sees its effect. Once [`Store::commit`] returned a
/// revision, its writes survive a crash of every process (except for [`Memory`](crate::Memory)).
pub trait Store: Send + Sync + 'static {
    /// Lists the entries whose key starts with `prefix`; an empty prefix lists all.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Listing, ReadError>> + Send;

    /// Commits `txn` as a whole and returns its revision, once durable.
    ///
    /// A transaction that changes nothing (no writes, or only deletions of missing keys) still has its
    /// comparisons checked and returns a revision at which they held.
    ///
    /// Dropping the future does not take the transaction back: it then may or may not be committed.
    fn commit(&self, txn: &Txn) -> impl Future<Output = Result<Revision, CommitError>> + Send;

    /// Follows the changes under `prefix` made after `after`, usually the revision of a listing.
    ///
    /// Changes come in commit order, those of one transaction together, none left out, none twice.
    fn watch(&self, prefix: &str, after: Revision) -> Watch;
}
