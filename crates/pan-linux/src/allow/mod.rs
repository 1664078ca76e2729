//! Who may begin to speak to whoever is in a network namespace: rules at the inner end of its cable. They are the
//! namespace's own, so nothing is shared with others, they go with it, and outlive whoever loaded them.
//!
//! Only what *begins* is refused. TCP is told by its flags, so that no connection is cut by a change; for datagrams the
//! kernel remembers whom the namespace wrote to. No connection is tracked.
//!
//! Callers are told by their Ethernet addresses, of either family: whoever relies on that guards the ports of all of them
//! ([`crate::guard`]). It must not know what a server is, or whose.

mod keeper;
mod rules;

pub use keeper::{Allow, AllowError};
pub use rules::{Callers, Ports};
