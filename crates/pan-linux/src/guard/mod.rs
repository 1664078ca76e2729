//! Source guard: what a server's port may claim to be. From a guarded port only frames with its own Ethernet address and
//! its own IP addresses pass, and none of them to the host; anything else (other protocols, VLAN tags, what routers say,
//! answers in the name of others) is dropped before the bridge sees it, and counted by port and reason.
//!
//! Ports are told by what their names begin with: one that nobody has spoken for yet may send nothing at all.
//!
//! It must not know what a server is, or whose.

mod keeper;
mod refusal;
mod rules;

pub use keeper::{Guard, GuardError, GuardedPort};
pub use refusal::{Refusal, Refused};
