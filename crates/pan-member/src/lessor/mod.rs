//! A lessor: acknowledges heartbeats, until it is told to stop, and never forgets that.
//!
//! What it must keep is small: the highest term of a leader that spoke to it, and for each host the admission up to
//! which everything is revoked. It acknowledges nothing before it has read that from its disk. A revocation
//! holds from the moment it comes in; it is answered when it is on the disk, so an answered one survives
//! any restart, and one that was not answered is asked for again.
//!
//! It alone knows until when a gate may be open by what it acknowledged: each heartbeat says how long its sender's leases last
//! and by which kind of gate, and that need not be what anybody else would have chosen. So that is what it answers a leader.
//! A lessor that restarts no longer knows whom it acknowledged. It may have been the moment before it ended, and a lease of
//! the longest kind there is.
//!
//! Requests of a term below the highest are refused with both numbers; a higher one is taken over, and is on the
//! disk before anything asked with it is answered.

mod core;
mod disk;
mod host;

#[cfg(test)]
mod tests;

pub use self::core::{Effect, Heartbeat, Lessor};
pub use self::disk::{Durable, Ticket};
