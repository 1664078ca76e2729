//! The leader's side of leases: taking them away, and knowing when that is done.
//!
//! [`Revocations`] asks all lessors, again and again, to revoke what a host was admitted as, and computes from
//! their answers when nothing of that host can be on the network any more. [`Confirmation`] asks them whether they
//! hear hosts that the leader does not, before many are called dead at once.
//!
//! A revocation is not a death. The leader commits the death in a transaction that finds the host's record still at
//! the admission revoked through; an admission that was granted meanwhile makes the revocation void.

mod confirmation;
mod office;
mod pending;
mod revocations;

#[cfg(test)]
mod tests;

pub use self::confirmation::{Confirmation, Confirmed};
pub use self::office::Office;
pub use self::revocations::{Outcome, Revocations, StartAfter};
