//! Where frames of partition networks may come from: a second line behind the gate.
//!
//! The network map says on which host a server is, and everybody sends there and nowhere else. This is the other
//! direction: a frame that comes in by a fabric under a server's Ethernet address passes only if the outer packet comes
//! from the host that has the server by the newest map. A host that lost the server, whose gate is stuck, whose clock
//! stood still or whose network card held a frame back, is not heard by those who know of the move.
//!
//! It tells hosts of the PAN apart, which are trusted to use their own addresses; it is no defence against somebody on
//! a fabric who forges outer addresses. Needs BPF, for which there is no substitute here.
//!
//! It must not know what a server is, or why it moved.

mod code;
mod handle;
mod keeper;
mod table;

pub use handle::{Dropped, OriginError, Origins};
pub(crate) use keeper::Keeper;
