//! A FUSE server for exactly one file of a fixed size, the bytes of which are somebody else's: what stands behind the block
//! device of an attached volume where the kernel has no nbd.
//!
//! `abi`, `request`, `reply`, `terms` and `file` are the protocol, without I/O. `session` is the kernel's end: the mount, and the
//! descriptor that requests come from. `inbox` takes requests without waiting; they are answered through [`Answer`] when whoever has them likes. `handover` passes a session to another process, `connection` ends one that hangs.
//!
//! It must not know what a volume is. Why it is not the crate `fuser`: docs/decisions/0018.

mod abi;
mod answer;
mod buffer;
mod connection;
mod error;
mod file;
mod handover;
mod inbox;
mod operation;
mod reply;
mod request;
mod session;
mod terms;
#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use buffer::Payload;
pub use connection::{Connection, ConnectionEnd, InTime};
pub use error::FuseError;
pub use file::{Extent, Step, TheFile};
pub use handover::{give, take};
pub use inbox::{Counts, Inbox, InboxSpec, Next, Standing};
pub use operation::Operation;
pub use reply::Reply;
pub use request::{BadRequest, Call, Offer, Request};
pub use session::{FSTYPE, Session, SessionSpec};
pub use terms::{NoTerms, PENDING_MAX, Terms};
