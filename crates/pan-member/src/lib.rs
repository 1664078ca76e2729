//! Membership, decided without I/O: who is alive, who may send, who decides.
//!
//! - [`frame`] is the heartbeat on the wire, [`wire`] everything beside it, [`profile`] the timing.
//! - [`detector`] turns heartbeats and the passing of time into changes, [`suspicion`] says when to heed them, and
//!   [`quarantine`] keeps a node that dies again and again out of service.
//! - [`lease`] is until when a host's servers may send, [`lessor`] who grants that, [`revocation`] how a leader takes
//!   it away. The proof that they fit is in [`lease`].
//! - [`standin`] is what a host believes of directors that answer for others.
//! - [`memory`] is what one heartbeat process hands to the next.
//! - [`leadership`] finds one leader among the controllers.
//! - [`rules`] lets a simulator break one rule at a time, and does nothing anywhere else.
//!
//! Time is an argument ([`Tick`], the boot clock); there is no socket, clock, thread or randomness here.
//! A death said by the detector is evidence only: the controller commits the decision and fences first.

pub mod detector;
pub mod frame;
pub mod leadership;
pub mod lease;
pub mod lessor;
pub mod memory;
pub mod profile;
pub mod quarantine;
mod replay;
pub mod revocation;
pub mod rules;
pub mod standin;
pub mod suspicion;
mod term;
#[cfg(test)]
mod tests;
pub mod tick;
pub mod wire;

pub use detector::{Beat, Change, Counters, Detector, Settings};
pub use frame::{BootId, Frame, FrameError, GateState, KeyRing, LeaseState, Load, Permille, Roles, host_key, lessor_key, period_key};
pub use leadership::{Campaign, Candidate, LeaderRecord, Revision};
pub use lease::Holder;
pub use lessor::Lessor;
pub use pan_model::Admission;
pub use profile::{Gate, Profile, Tenure, Timing, TimingError};
pub use quarantine::{Death, Quarantine};
pub use revocation::{Confirmation, Confirmed, Office, Revocations, StartAfter};
pub use rules::{Mutant, Rules};
pub use standin::StandIns;
pub use suspicion::Suspicion;
pub use term::Term;
pub use tick::Tick;
pub use wire::{Ack, Ask, Heard, LeaderBeat, Message, Nonce, PreVoteAsk, PreVoteSay, Refused, Revoke, Revoked, Verdict, Vote, WireError};
