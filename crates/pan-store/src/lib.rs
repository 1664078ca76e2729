//! The controller's store: a small linearizable key-value map with compare-and-write transactions.
//!
//! Keys are UTF-8 paths (`p/acme/cluster/web`), values are bytes that this crate never reads. Every
//! effective transaction gets the next [`Revision`]; each entry remembers the one that last wrote it,
//! and a transaction may demand that entries still carry the revisions the writer looked at.
//!
//! [`Embedded`] keeps everything in one file, [`Etcd`] in a cluster of etcd, [`Memory`] in a map for tests; [`Faulty`] is one with faults.
//! All pass [`conformance::run`], and so must any later one. The trait asks for nothing that etcd 3.4 cannot
//! do: equality of `mod_revision`, one write per key and transaction, watches from a revision that may have
//! been compacted away. [`commit_guarded`] is for a leader, whose every transaction compares and writes its
//! own record.
//!
//! This crate must not know what the values mean, and no other crate of the workspace may be imported here.

mod any;
pub mod conformance;
mod embedded;
mod error;
mod etcd;
mod faulty;
mod guarded;
mod memory;
mod store;
mod txn;
mod watch;

pub use any::AnyStore;
pub use embedded::{BackupError, Embedded, FORMAT, OpenError};
pub use error::{BoxError, CommitError, ReadError, Refusal, WatchError};
pub use etcd::{
    ClusterState, ConnectError, Endpoint, EndpointError, Etcd, EtcdOptions, Member, MemberTls, PREFIX_BYTES_MAX, Pace, Pulse,
    REQUEST_BYTES_MAX, ReplaceError, Replacement, Sign, Timing, replace,
};
pub use faulty::{Fault, Faulty};
pub use guarded::commit_guarded;
pub use memory::Memory;
pub use store::{Listing, Store};
pub use txn::{BYTES_MAX, Compare, Entry, KEY_BYTES_MAX, OPERATIONS_MAX, Revision, Txn, Write};
pub use watch::{Batch, Change, Watch};
