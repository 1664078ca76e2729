//! How long to wait for a member.

use std::time::Duration;

/// Limits on waiting, in both directions: too short and a slow disk looks like a dead member, too long and
/// a dead member holds everything up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// To reach a member, TLS included.
    pub connect: Duration,
    /// For a member's answer, once reached, and for each further part of a long one; large requests get more.
    pub attempt: Duration,
    /// The same for a commit's. With no answer it is in doubt; [`crate::commit_guarded`] sends it again, which does no harm where it was
    /// but slow.
    pub commit: Duration,
    /// For all attempts of one call together, as long as nothing is in doubt.
    pub patience: Duration,
    /// For any sign of life of a member that is watched.
    pub quiet: Duration,
}

impl Timing {
    /// For members in the same network. When their leader dies, what was handed to it last is lost and handed to others again after
    /// `commit`: the next one is elected one to two of such times later ([`crate::Pace::LAN`]).
    pub const LAN: Self = Self {
        connect: Duration::from_millis(500),
        attempt: Duration::from_millis(400),
        commit: Duration::from_millis(200),
        patience: Duration::from_secs(5),
        quiet: Duration::from_secs(2),
    };

    /// For machines that also do other things.
    pub const SHARED: Self = Self {
        connect: Duration::from_secs(1),
        attempt: Duration::from_secs(2),
        commit: Duration::from_secs(2),
        patience: Duration::from_secs(10),
        quiet: Duration::from_secs(5),
    };

    /// For members far from each other.
    pub const WAN: Self = Self {
        connect: Duration::from_secs(3),
        attempt: Duration::from_secs(5),
        commit: Duration::from_secs(5),
        patience: Duration::from_secs(20),
        quiet: Duration::from_secs(10),
    };
}
