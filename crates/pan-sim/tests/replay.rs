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

/// Another process has other addresses in memory and other seeds of its hash maps.
#[test]
#[allow(clippy::disallowed_types, reason = "what is pure is a run, not who asks for it")]
fn a_seed_replays_byte_for_byte_in_another_process() {
    let run = || std::process::Command::new(env!("CARGO_BIN_EXE_pan-sim")).args(["--seed", "5"]).output().unwrap();
    let (first, second) = (run(), run());
    assert!(first.status.success() && first.stdout.len() > 10_000, "{}", String::from_utf8_lossy(&first.stdout));
    assert_eq!(first.stdout, second.stdout);
}

#[test]
fn a_run_lasts_and_has_faults_and_a_failover() {
    for seed in 1..=6 {
        assert_eq!(Sim::new(seed, None, None).run().problem(), None, "seed {seed}");
    }
}
