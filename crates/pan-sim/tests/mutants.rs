//! Every rule is needed: with any one left out, a checker notices within few seeds.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use pan_sim::{Mutant, Sim};

/// Seeds tried for a mutant. Most are caught by the first; the rarest needs some tens.
const SEEDS: u64 = 150;

/// `checkers` are those that may notice: the rule's own purpose, not a consequence at random.
fn is_caught(mutant: Mutant, checkers: &[&str]) {
    let found = (1..=SEEDS).find_map(|seed| {
        let violation = Sim::new(seed, Some(mutant), None).run().violation?;
        Some((seed, violation))
    });
    let (seed, violation) = found.unwrap_or_else(|| panic!("{} went unnoticed in {SEEDS} runs", mutant.name()));
    println!("{}: seed {seed}: {violation}", mutant.name());
    assert!(checkers.contains(&violation.checker), "{violation}: expected one of {checkers:?}");
}

#[test]
fn transactions_without_the_leader_guard_are_caught() {
    is_caught(Mutant::NoLeaderGuard, &["I9"]);
}

#[test]
fn acting_before_the_commit_is_caught() {
    is_caught(Mutant::ActBeforeCommit, &["I4", "I9"]);
}

#[test]
fn a_lease_counted_from_receipt_is_caught() {
    is_caught(Mutant::LeaseFromReceipt, &["lease", "I3"]);
}

#[test]
fn acknowledgements_of_a_lessor_that_is_behind_are_caught() {
    is_caught(Mutant::StaleTermCounts, &["lease", "I3"]);
}

#[test]
fn a_renewal_after_expiry_is_caught() {
    is_caught(Mutant::RenewalAfterExpiry, &["lease", "I3"]);
}

#[test]
fn a_gate_that_opens_before_orphans_are_gone_is_caught() {
    is_caught(Mutant::GateBeforeOrphans, &["I3"]);
}

#[test]
fn a_forgotten_revocation_is_caught() {
    is_caught(Mutant::RevocationForgotten, &["lease", "I3"]);
}

#[test]
fn a_lease_that_is_taken_for_that_of_ones_own_profile_is_caught() {
    is_caught(Mutant::OwnLeaseAssumed, &["lease", "I3"]);
}

#[test]
fn a_minority_of_lessors_is_caught() {
    is_caught(Mutant::MinorityEnough, &["lease", "I3"]);
}

#[test]
fn a_missing_brake_is_caught() {
    is_caught(Mutant::BrakeOff, &["quiet"]);
}

#[test]
fn blaming_the_own_stall_is_caught() {
    is_caught(Mutant::OwnStallBlamed, &["quiet"]);
}

#[test]
fn a_missing_pre_vote_is_caught() {
    is_caught(Mutant::NoPreVote, &["quiet"]);
}

#[test]
fn epochs_that_are_not_compared_are_caught() {
    is_caught(Mutant::EpochNotCompared, &["I3"]);
}

#[test]
fn suspicion_taken_for_death_is_caught() {
    is_caught(Mutant::SuspicionIsDeath, &["quiet"]);
}

#[test]
fn maps_out_of_order_are_caught() {
    is_caught(Mutant::MapOutOfOrder, &["map", "I3"]);
}

#[test]
fn a_host_that_believes_anyone_is_caught() {
    is_caught(Mutant::AnyoneBelieved, &["I3"]);
}
