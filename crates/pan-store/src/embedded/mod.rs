//! The embedded store: one redb file, one writer thread.
//!
//! `open` takes the lock and brings the file to the current format, `writer` owns all commits, `store`
//! is the handle, `backup` copies, `table` names what is in the file.

mod backup;
mod open;
mod store;
mod table;
mod writer;

pub use backup::BackupError;
pub use open::OpenError;
pub use store::Embedded;
pub use table::FORMAT;
