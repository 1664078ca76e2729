//! The lease of a host: until when its servers may send.
//!
//! A fixed set of *lessors* acknowledges heartbeats. When a majority acknowledged the same heartbeat, the lease
//! lasts until that heartbeat was sent plus L, by the sender's own clock, however late the acknowledgements come
//! in. A *revocation* names a host and an admission: a lessor that took it acknowledges no admission up to that
//! one ever again, and says how long a gate may be open yet by those that it did acknowledge.
//!
//! # Why no revoked admission is open
//!
//! Let a majority R have revoked through admission a, and let a heartbeat of an admission up to a have been granted
//! by a majority G. R and G share a lessor x. It granted before it revoked, and the heartbeat says how long a lease lasts
//! that comes of it: at most so long after x acknowledged, by a clock that may be slow, and
//! [`crate::Timing::bound_of`] covers that. Once that time has passed, as every lessor of R reckons it, no lease of
//! an admission up to a is open, and none can open any more. Where acknowledgements were delayed, who was
//! paused between which two steps, and whether the lease had run out in between does not enter into it.
//!
//! Hence a lease that ran out in mere silence opens again by itself, under the same admission, when a majority
//! grants a new heartbeat: had the host been called dead, a majority would have revoked first and there would be
//! no majority to grant. Hence too a lease that is held goes on when a later admission comes: what the earlier
//! admission still has is covered by a revocation of the earlier one.
//!
//! A host that learns that it was revoked is *fenced*: its servers may run elsewhere. It ends those that are
//! no longer its own, and only then takes a new admission, which opens the gate when a majority grants it.
//!
//! # What a lessor's term is for
//!
//! The argument needs a lessor to remember. One that is restored from an old copy of its disk does not, and
//! shows it by its term. A lessor is not counted if its term is below one it was seen with before, or
//! below the highest that a majority of the set was seen with. This is a second line: it notices only copies
//! that are older than a change of leader this host heard of, and only until a leader speaks to that lessor
//! again and so brings its term, but not its memory, up to date. A lessor's disk must not be restored from a
//! copy. The price of the rule is that a lessor that missed a change of leader is not counted until a leader
//! reaches it.

mod holder;
pub mod relative;
mod ring;
mod state;

#[cfg(test)]
mod tests;

pub use self::holder::Holder;
pub use self::state::{Ignored, Outcome, State};
