//! The gate: a host's servers may send only while the host's lease is alive, and what enforces that is
//! the kernel's packet path, not a process.
//!
//! A [`Gate`] is a deadline on the boot clock and a check of it at [`Hook`]s of interfaces. One process
//! holds the lease and calls [`Gate::renew`]; another attaches the gate to the ports it makes; both open
//! the same gate by its folder, and neither has to be alive for the gate to close.
//!
//! Two kinds with one interface, see [`GateKind`]. Which one the kernel allows is found by trying
//! ([`probe`]), once per boot and host, and remembered in the folder.
//!
//! | | BPF | nftables set |
//! |---|---|---|
//! | what is kept | the deadline itself | an element with the time that was left |
//! | clock | boot clock, counts suspend | jiffies, stand still in suspend |
//! | renewal | one store to shared memory | one netlink transaction |
//! | holder stopped within a renewal | closed after the deadline, at most L | closed after at most 2L |
//!
//! It must not know what a lease is made of, who grants it, or what a server is.

mod bpf;
mod code;
mod error;
mod handle;
mod hook;
mod nftread;
mod nftset;
mod probe;

pub use error::{GateError, Result};
pub use handle::{Gate, Renewal};
pub use hook::{GateKind, Hook};
pub use probe::{Probe, probe};
