//! No revoked admission is open, whatever happens; and each rule is needed for that.

use proptest::prelude::*;

use super::lease_world::{Options, World};
use crate::profile::{Gate, Profile};
use crate::rules::{Mutant, Rules};

const SOUND: Options = Options { rules: Rules::SOUND, gate: Gate::Absolute, old_disks: false, profiles: &[Profile::Lan] };
/// Its heartbeat process is of another profile than the PAN, and then not.
const CHANGING: &[Profile] = &[Profile::Shared, Profile::Lan, Profile::Wan];
const FAULTS: usize = 40;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_may_start_elsewhere_is_over_here(seed: u64) {
        prop_assert_eq!(World::new(seed, SOUND).run(FAULTS).problem, None);
    }

    #[test]
    fn also_with_a_relative_gate(seed: u64) {
        prop_assert_eq!(World::new(seed, Options { gate: Gate::Relative, ..SOUND }).run(FAULTS).problem, None);
    }

    #[test]
    fn also_of_a_host_of_another_profile(seed: u64, relative: bool) {
        let gate = if relative { Gate::Relative } else { Gate::Absolute };
        prop_assert_eq!(World::new(seed, Options { gate, profiles: CHANGING, ..SOUND }).run(FAULTS).problem, None);
    }

    #[test]
    fn also_when_a_lessor_comes_back_with_an_old_disk(seed: u64) {
        prop_assert_eq!(World::new(seed, Options { old_disks: true, ..SOUND }).run(FAULTS).problem, None);
    }
}

/// The worlds are worth living in: there are deaths in them, and leases.
#[test]
fn enough_happens() {
    let worlds: Vec<World> = (0..50).map(|seed| World::new(seed, SOUND).run(FAULTS)).collect();
    let deaths: usize = worlds.iter().map(|world| world.deaths).sum();
    let renewals: usize = worlds.iter().map(|world| world.renewals).sum();
    assert!(deaths > 50 && renewals > 5000, "{deaths} deaths, {renewals} renewals");
}

fn is_caught(mutant: Mutant, options: Options) {
    let options = Options { rules: Rules::broken_by(mutant), ..options };
    let found = (0..2000).find(|seed| World::new(*seed, options).run(FAULTS).problem.is_some());
    assert!(found.is_some(), "{mutant:?} went unnoticed");
    println!("{mutant:?} is caught by seed {found:?}");
}

#[test]
fn counting_from_receipt_is_caught() {
    is_caught(Mutant::LeaseFromReceipt, SOUND);
}

#[test]
fn counting_a_lessor_that_is_behind_is_caught() {
    is_caught(Mutant::StaleTermCounts, Options { old_disks: true, ..SOUND });
}

#[test]
fn a_renewal_after_expiry_is_caught() {
    is_caught(Mutant::RenewalAfterExpiry, Options { gate: Gate::Relative, ..SOUND });
}

#[test]
fn a_forgotten_revocation_is_caught() {
    is_caught(Mutant::RevocationForgotten, SOUND);
}

#[test]
fn a_lease_that_is_taken_for_ones_own_is_caught() {
    is_caught(Mutant::OwnLeaseAssumed, Options { profiles: CHANGING, ..SOUND });
}

#[test]
fn a_minority_is_caught() {
    is_caught(Mutant::MinorityEnough, SOUND);
}
