//! `cargo xtask soak`: what is worth running for long, and too long for every change.
//!
//! Rounds of chaos on real laboratories, of simulated runs, of property tests with fresh seeds and of stories, until the time is up: chaos
//! comes first, since it is what a short soak is for. Nothing is cut short: a laboratory that is killed in the middle would leave its
//! hosts behind. So a suite starts only if there is time left, as much as it took the last time.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::chaos;
use crate::deps::PURE;
use crate::sim;
use crate::suite::{Suite, Tally};

/// How long, in minutes.
const MINUTES: &str = "SOAK_MINUTES";
const MINUTES_DEFAULT: u64 = 300;
/// Forty times proptest's default in every round; proptest draws other seeds each time. And a million ways of the mirror protocol.
const CASES: &[(&str, &str)] = &[("PROPTEST_CASES", "10240"), ("MODEL_WAYS", "250000")];

/// A suite may take 25 minutes, and a round of chaos takes most of a minute.
const CHAOS: &[(&str, &str)] = &[(chaos::ROUNDS, "15")];
/// How often that comes again at the end of a round: hundreds of rounds of chaos are the five hours that are the default.
const CHAOS_AGAIN: usize = 5;
/// Fresh runs of the cluster's simulator, ten times those of every change.
const SEEDS: &str = "20000";

/// Simulated ways of volumes, processes of theirs that are killed under a database, and a storage host that stays away.
const VOLUMES: &[(&str, &str)] = &[("SIM_VOLUMES", "10000")];
const KILLS: &[(&str, &str)] = &[("VOLUME_ROUNDS", "200"), ("VOLUME_AWAY", "1")];

/// The suites of a round.
///
/// # Errors
/// There is no random number to begin with.
fn round() -> std::io::Result<Vec<Suite<'static>>> {
    let first = sim::first()?;
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let chaos = || Suite {
        name: "soak-chaos",
        program: "cargo",
        arguments: words(&format!("test --workspace --locked {} -- --nocapture", chaos::TEST)),
        environment: CHAOS,
    };
    let mut properties = words("test --release --locked --no-fail-fast");
    properties.extend(PURE.map(|name| format!("--package={name}")));
    let mut round = vec![
        chaos(),
        cargo("soak-simulation", words(&format!("run --release --locked --package=pan-sim -- --seeds {SEEDS} --first {first}"))),
        Suite { name: "soak-properties", program: "cargo", arguments: properties, environment: CASES },
        Suite {
            name: "soak-volumes",
            program: "cargo",
            arguments: words("test --release --locked --package=pan-sim --test=volumes"),
            environment: VOLUMES,
        },
        Suite {
            name: "soak-stories",
            program: "cargo",
            arguments: words("test --locked --no-fail-fast --package=pan --package=pan-lab --tests -- --test-threads=1"),
            environment: KILLS,
        },
    ];
    round.extend((0..CHAOS_AGAIN).map(|_| chaos()));
    Ok(round)
}

fn cargo(name: &'static str, arguments: Vec<String>) -> Suite<'static> {
    Suite { name, program: "cargo", arguments, environment: &[] }
}

/// Builds everything first, which does not count, then runs rounds until the time is up.
pub fn run(root: &Path) -> ExitCode {
    let minutes = match std::env::var(MINUTES).map(|text| text.parse::<u64>()) {
        Ok(Ok(minutes)) => minutes,
        Ok(Err(_)) => {
            eprintln!("{MINUTES}: expected a number of minutes");
            return ExitCode::from(2);
        }
        Err(_) => MINUTES_DEFAULT,
    };
    let mut total = build(root, round().unwrap_or_default());
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let mut took: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut rounds = 0;
    while total.failed == 0 {
        let before = rounds;
        let suites = match round() {
            Ok(suites) => suites,
            Err(error) => {
                eprintln!("no random number: {error}");
                return ExitCode::FAILURE;
            }
        };
        for suite in suites {
            let left = end.saturating_duration_since(Instant::now());
            if took.get(suite.name).copied().unwrap_or_default() >= left {
                continue;
            }
            let start = Instant::now();
            total.add(suite.run(root));
            took.insert(suite.name, start.elapsed());
            rounds = before + 1;
        }
        if rounds == before {
            break;
        }
        println!("round {rounds} done; {} minutes left", end.saturating_duration_since(Instant::now()).as_secs() / 60);
    }
    println!("{rounds} rounds");
    total.say();
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn build(root: &Path, suites: Vec<Suite<'static>>) -> Tally {
    let mut total = Tally::default();
    let mut built = Vec::new();
    for Suite { mut arguments, .. } in suites {
        arguments.truncate(arguments.iter().position(|word| word == "--").unwrap_or(arguments.len()));
        match arguments[0].as_str() {
            "run" => "build".clone_into(&mut arguments[0]),
            _ => arguments.push("--no-run".to_owned()),
        }
        if !built.contains(&arguments) {
            total.add(cargo("soak-build", arguments.clone()).run(root));
            built.push(arguments);
        }
    }
    total
}
