//! Broken variants: one rule left out, of the cores or of the simulated shell around them.

use pan_member::{Mutant as Member, Rules};
use std::str::FromStr;

/// One rule left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Transactions do not compare the leader's record.
    NoLeaderGuard,
    /// A controller publishes and answers before its decision is committed.
    ActBeforeCommit,
    /// A lease is counted from when its acknowledgement came in.
    LeaseFromReceipt,
    /// Acknowledgements of a lessor that has fallen behind are counted.
    StaleTermCounts,
    /// The relative gate is renewed although it had expired.
    RenewalAfterExpiry,
    /// A node takes its new number before the servers that moved away are gone.
    GateBeforeOrphans,
    /// A restarted lessor does not remember whom it revoked.
    RevocationForgotten,
    /// A lessor reckons with the lease of its own profile, not with that of the heartbeat.
    OwnLeaseAssumed,
    /// Less than a majority of lessors is enough.
    MinorityEnough,
    /// Any number of hosts may die at once.
    BrakeOff,
    /// A detector blames its own stalls on the hosts.
    OwnStallBlamed,
    /// A controller takes the record without asking whether others hear the leader.
    NoPreVote,
    /// A host takes frames of an address from wherever they come.
    EpochNotCompared,
    /// A suspect host is taken for dead.
    SuspicionIsDeath,
    /// A host applies a map that was overtaken by a newer one.
    MapOutOfOrder,
    /// A host that knows no desired state takes one from whoever has one.
    AnyoneBelieved,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::NoLeaderGuard,
        Self::ActBeforeCommit,
        Self::LeaseFromReceipt,
        Self::StaleTermCounts,
        Self::RenewalAfterExpiry,
        Self::GateBeforeOrphans,
        Self::RevocationForgotten,
        Self::OwnLeaseAssumed,
        Self::MinorityEnough,
        Self::BrakeOff,
        Self::OwnStallBlamed,
        Self::NoPreVote,
        Self::EpochNotCompared,
        Self::SuspicionIsDeath,
        Self::MapOutOfOrder,
        Self::AnyoneBelieved,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoLeaderGuard => "no-leader-guard",
            Self::ActBeforeCommit => "act-before-commit",
            Self::LeaseFromReceipt => "lease-from-receipt",
            Self::StaleTermCounts => "stale-term-counts",
            Self::RenewalAfterExpiry => "renewal-after-expiry",
            Self::GateBeforeOrphans => "gate-before-orphans",
            Self::RevocationForgotten => "revocation-forgotten",
            Self::OwnLeaseAssumed => "own-lease-assumed",
            Self::MinorityEnough => "minority-enough",
            Self::BrakeOff => "brake-off",
            Self::OwnStallBlamed => "own-stall-blamed",
            Self::NoPreVote => "no-pre-vote",
            Self::EpochNotCompared => "epoch-not-compared",
            Self::SuspicionIsDeath => "suspicion-is-death",
            Self::MapOutOfOrder => "map-out-of-order",
            Self::AnyoneBelieved => "anyone-believed",
        }
    }

    /// What the membership cores are made with.
    #[must_use]
    pub const fn rules(mutant: Option<Self>) -> Rules {
        let member = match mutant {
            Some(Self::LeaseFromReceipt) => Member::LeaseFromReceipt,
            Some(Self::StaleTermCounts) => Member::StaleTermCounts,
            Some(Self::RenewalAfterExpiry) => Member::RenewalAfterExpiry,
            Some(Self::RevocationForgotten) => Member::RevocationForgotten,
            Some(Self::OwnLeaseAssumed) => Member::OwnLeaseAssumed,
            Some(Self::MinorityEnough) => Member::MinorityEnough,
            Some(Self::BrakeOff) => Member::BrakeOff,
            Some(Self::OwnStallBlamed) => Member::OwnStallBlamed,
            Some(Self::NoPreVote) => Member::NoPreVote,
            None
            | Some(
                Self::NoLeaderGuard
                | Self::ActBeforeCommit
                | Self::GateBeforeOrphans
                | Self::EpochNotCompared
                | Self::SuspicionIsDeath
                | Self::MapOutOfOrder
                | Self::AnyoneBelieved,
            ) => return Rules::SOUND,
        };
        Rules::broken_by(member)
    }
}

/// There is no such mutant.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownMutant(String);

impl std::fmt::Display for UnknownMutant {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        write!(out, "unknown mutant {:?}: expected one of {}", self.0, names.join(", "))
    }
}

impl FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(text: &str) -> Result<Self, UnknownMutant> {
        Self::ALL.into_iter().find(|mutant| mutant.name() == text).ok_or_else(|| UnknownMutant(text.to_owned()))
    }
}
