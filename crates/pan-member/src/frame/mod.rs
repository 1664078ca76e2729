//! The heartbeat datagram: what a host says of itself, authenticated.
//!
//! ```text
//!  0 magic "PNLB"          4 version u16       6 length u16
//!  8 boot u64             16 sequence u64     24 admission u64        32 term u64        40 memory u64
//! 48 agent age ms u32     52 acknowledged on a, ms ago u32            56 the same on b   60 loop lag us u32
//! 64 cpu permille u16     66 pressure permille u16
//! 68 roles u8             69 fabric u8        70 lease u8             71 gate u8
//! 72 name length u8       73 name             then 32 bytes: BLAKE3 keyed with the host's key
//! ```
//! That is version 2. Version 3 says after how long the next one is due:
//! ```text
//! 72 period us u32        76 name length u8   77 name            then the hash
//! ```
//! Version 4 also says how long a lease of the sender lasts, and has 0 for a period that is not said:
//! ```text
//! 72 period us u32        76 lease ms u32     80 name length u8  81 name     then the hash
//! ```
//! Numbers are big-endian; all ones is "none" for ages of acknowledgements and for pressure. The hash covers
//! everything before it. The version comes before anything that may change, so that an unknown one can be
//! named; whatever else is wrong with a datagram, it is not looked at further until its hash is right.
//!
//! Which of the host's keys made the hash is found by trying ([`KeyRing`]): there are two outside of a rotation, and the
//! first one fits but for hosts that missed the last.
//!
//! Replays: a receiver takes a heartbeat only if its boot was not followed by another, and its sequence is
//! above the last one of that boot on that fabric. The boot is random and is for this only; what a host may
//! do is told by its admission.

mod bytes;
mod codec;
mod key;
mod ring;
mod words;

#[cfg(test)]
mod tests;

pub(crate) use self::bytes::{Reader, Short, Writer, fabric_byte, fabric_from};
pub use self::codec::{FRAME_BYTES_MAX, FrameError, VERSION};
pub(crate) use self::codec::{MAC_BYTES, NAME_BYTES_MAX};
pub use self::key::{Key, host_key, lessor_key};
pub use self::ring::{KeyRing, period_key};
pub use self::words::{BootId, Frame, GateState, LeaseState, Load, Permille, Roles};
