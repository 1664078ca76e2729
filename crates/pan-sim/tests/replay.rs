//! A seed says everything, and its run is worth something.

use pan_sim::Sim;

#[test]
fn a_seed_replays_byte_for_byte() {
    let log = |seed| Sim::new(seed, None, Some(String::new())).run().log;
    for seed in [3, 4, u64::MAX] {
        let first = log(seed);
        assert!(first.lines().count() > 50, "{first}");
        assert_eq!(first, log(seed), "seed {seed}");
    }
    assert_ne!(log(3), log(4));
}

#[test]
fn a_run_lasts_and_has_faults_and_a_failover() {
    for seed in 1..=6 {
        assert_eq!(Sim::new(seed, None, None).run().problem(), None, "seed {seed}");
    }
}
