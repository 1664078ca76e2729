//! Replacing the beat process without a missed heartbeat: the one that is in office hands lock, sockets and memory to the
//! next by descriptor, over a local socket.
//!
//! Whoever starts while another is in office applies to it, when everything slow is done. The office is a file's lock: it
//! goes along by descriptor, so at no time can two have it, and none is without it. [`standing`] decides who may send and
//! what the loss of the other means; [`message`] is what is said; [`entry`] is the way into the office and [`office`] the
//! way out of it; [`succession`] is how a role of a newer build brings it about. docs/decisions/0011 has the steps.

mod build;
mod entry;
mod message;
mod office;
mod standing;
pub(super) mod steps;
mod succession;
#[cfg(test)]
mod tests;

pub use entry::Way;
pub(super) use entry::{Entered, Taking, enter};
pub(super) use message::{Descriptor, Identity, Memory};
pub(super) use office::{Bundle, Office};
pub use succession::keep_current;
