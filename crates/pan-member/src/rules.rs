//! The rules the cores keep, and the broken variants a simulator must be able to catch.
//!
//! Every core is made with [`Rules`]. Outside tests there is only [`Rules::SOUND`], and asking whether a
//! rule is broken is a constant `false`; with the feature `mutants` one rule at a time can be left out.

/// Rules a core keeps: all of them, except in a simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    #[cfg(any(test, feature = "mutants"))]
    broken: Option<Mutant>,
}

impl Rules {
    /// All rules are kept.
    #[cfg(any(test, feature = "mutants"))]
    pub const SOUND: Self = Self { broken: None };

    /// All rules are kept.
    #[cfg(not(any(test, feature = "mutants")))]
    pub const SOUND: Self = Self {};

    /// All rules but one are kept.
    #[cfg(any(test, feature = "mutants"))]
    #[must_use]
    pub const fn broken_by(mutant: Mutant) -> Self {
        Self { broken: Some(mutant) }
    }

    #[cfg(any(test, feature = "mutants"))]
    pub(crate) fn breaks(self, mutant: Mutant) -> bool {
        self.broken == Some(mutant)
    }

    #[cfg(not(any(test, feature = "mutants")))]
    #[expect(clippy::unused_self, reason = "the variant with mutants looks at itself")]
    pub(crate) const fn breaks(self, _: Mutant) -> bool {
        false
    }

    /// How many of `members` decide.
    ///
    /// ```
    /// assert_eq!([1, 2, 3, 4, 5, 7].map(|members| pan_member::Rules::SOUND.majority(members)), [1, 2, 2, 3, 3, 4]);
    /// ```
    #[must_use]
    pub fn majority(self, members: usize) -> usize {
        if self.breaks(Mutant::MinorityEnough) { (members / 2).max(1) } else { members / 2 + 1 }
    }
}

/// One rule left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// A lease is counted from when its acknowledgement came in, not from when the heartbeat was sent.
    LeaseFromReceipt,
    /// Acknowledgements of a lessor that has fallen behind its set's term are counted.
    StaleTermCounts,
    /// The relative gate is renewed although it had expired.
    RenewalAfterExpiry,
    /// A restarted lessor does not remember whom it revoked.
    RevocationForgotten,
    /// A lessor reckons with the lease of its own profile, not with that of the heartbeat.
    OwnLeaseAssumed,
    /// Less than a majority of lessors is enough, to renew and to revoke.
    MinorityEnough,
    /// The detector says any number of deaths at once.
    BrakeOff,
    /// The detector blames its own stalls on the hosts.
    OwnStallBlamed,
    /// A controller takes the leader record without asking whether others hear the leader.
    NoPreVote,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::LeaseFromReceipt,
        Self::StaleTermCounts,
        Self::RenewalAfterExpiry,
        Self::RevocationForgotten,
        Self::OwnLeaseAssumed,
        Self::MinorityEnough,
        Self::BrakeOff,
        Self::OwnStallBlamed,
        Self::NoPreVote,
    ];
}
