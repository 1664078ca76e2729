//! Chaos on a PAN of fourteen hosts: rounds of faults from seeds, drawn freshly unless `PAN_CHAOS_SEED` names one;
//! `PAN_CHAOS_ROUNDS` of them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::chaos::{RoundOptions, round};
use pan_lab::harness;
use std::io::Read;
use std::path::PathBuf;
use story::{has, repository};

/// Rounds of every run of the tests: a minute each.
const ROUNDS: u64 = 3;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: expected a number, found {text:?}")))
}

/// A seed that nobody has chosen.
fn fresh() -> u64 {
    let mut bytes = [0; 6];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn ready() -> bool {
    if !harness::can_run() {
        assert!(std::env::var_os("PAN_TEST_STRICT").is_none(), "stories must run here");
        return false;
    }
    has("etcd") && has("nginx")
}

#[test]
fn chaos_breaks_no_promise() {
    if !ready() {
        return;
    }
    let (seed, rounds) = match (number("PAN_CHAOS_SEED"), number("PAN_CHAOS_ROUNDS")) {
        (Some(seed), rounds) => (seed, rounds.unwrap_or(1)),
        (None, rounds) => (fresh(), rounds.unwrap_or(ROUNDS)),
    };
    let keep = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from).join("chaos");
    let mut broken = Vec::new();
    for seed in (0..rounds).map(|step| seed.wrapping_add(step)) {
        println!("seed {seed} begins");
        let options = RoundOptions { seed, exe: harness::exe().unwrap(), keep: keep.clone() };
        let report = round(&options, &mut |line| println!("{line}")).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        println!("{}", report.summary());
        assert!(report.figures.answered > 100 && report.figures.between_servers > 100, "too little was seen: {report}");
        assert!(
            report.figures.instances_of_one >= 2 && report.figures.acknowledged > 0,
            "no server moved, or nothing was written: {report}"
        );
        if !report.violations.is_empty() {
            println!("{report}");
            broken.push(seed);
        }
    }
    println!("held: {} rounds of chaos", rounds - broken.len() as u64);
    assert!(broken.is_empty(), "promises were broken with seeds {broken:?}, see above");
}
