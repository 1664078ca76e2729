//! Timing profiles, and the one inequality that makes a lease safe without waiting.
//!
//! A lease may last, by the slowest clock allowed, no longer than the silence after which its holder is
//! called dead: `bound <= dead_after`, where `bound` is what [`Timing::lease_bound`] says. Timings that break
//! it are refused. It keeps failovers from waiting, not from harm: what is started elsewhere waits for as long as the lessors
//! say that a gate may be open ([`crate::revocation`]), whatever the detector believed, and whatever profile the host has.

mod names;
mod timing;

pub use names::{Profile, UnknownProfile};
pub use timing::{Gate, Tenure, Timing, TimingError};
