//! The mirror protocol of volumes: every acknowledged write is on all replicas in sync, one head writes at a time, and a head
//! that lost its volume changes nothing any more.
//!
//! Three parts, all without I/O: [`arbiter`] says who writes and who is in sync (in the controllers' store), [`head`] serves one
//! volume to one server and keeps its replicas equal, [`replica`] obeys one head and remembers what its disk must not forget.
//! `tests/model.rs` runs all three against each other through every order of events, and shows for each rule what happens without
//! it. The rules are numbered as in docs/volumes.md.

pub mod arbiter;
pub mod geometry;
pub mod head;
mod locks;
pub mod message;
pub mod replica;
pub mod rules;
mod runs;
pub mod wire;

pub use arbiter::Refusal;
pub use geometry::{EXTENT, Extent, Geometry, Span};
pub use head::{Clients, Effect, End, Env, Event, Head, MemberState, Mended, Op, OpId, Settings, Trouble};
pub use message::{ABSENT_MAX, Answer, Ask, Content, DIRTY_MAX, Dialect, Fault, Fenced, Part, ROTTEN_MAX, Reply, Request, Sequence};
pub use pan_model::mirror::{Change, Mark, Member, Record, Since, Writer};
pub use replica::{Conn, Flush, Hole, Job, Notes, Replica, Standing, Verdict};
pub use rules::{Mutant, Rules};
pub use runs::Runs;
