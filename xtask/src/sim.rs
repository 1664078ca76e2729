//! `cargo xtask sim`: runs of the simulator. `--seed N` replays one byte for byte; `--seeds N [--first S]` runs many on all
//! processors, from a seed that is drawn freshly where none is given.

use crate::suite::{Suite, Tally};
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The binary, as a build of the whole workspace leaves it.
const BINARY: &str = "target/debug/pan-sim";
/// Runs of every CI, each of at least 60 virtual seconds, five faults and one failover: the same each time, so that what
/// held once goes on holding...
const KNOWN_SEEDS: [&str; 4] = ["--seeds", "100", "--first", "1000000"];
/// ...and fresh ones, which may find what nobody has seen. They take some four minutes on two processors.
const FRESH_SEEDS: &str = "2000";

/// Builds the simulator and runs it with what was asked for.
pub fn run(root: &Path, arguments: &[&str]) -> ExitCode {
    eprintln!("sim: building the simulator first, which takes minutes where nothing is built yet");
    // With all packages selected the dependencies have the features that they have in every other build.
    let built = Command::new("cargo").args(["build", "--workspace", "--locked", "--bin", "pan-sim"]).current_dir(root).status();
    if !built.is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    let mut command = Command::new(root.join(BINARY));
    command.args(arguments);
    if arguments.contains(&"--seeds") && !arguments.contains(&"--first") {
        match first() {
            Ok(first) => drop(command.args(["--first", &first])),
            Err(error) => {
                eprintln!("no random number: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot run {BINARY}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The suite of CI, for a workspace that was just built.
pub fn suite(root: &Path) -> Tally {
    let first = match first() {
        Ok(first) => first,
        Err(error) => {
            println!("no random number: {error}");
            return Tally { failed: 1, ..Tally::default() };
        }
    };
    let fresh = ["--seeds", FRESH_SEEDS, "--first", &first];
    let mut total = Tally::default();
    for (name, arguments) in [("simulation-known", KNOWN_SEEDS), ("simulation-fresh", fresh)] {
        let arguments = arguments.map(str::to_owned).to_vec();
        total.add(Suite { name, program: BINARY, arguments, environment: &[] }.run(root));
    }
    total
}

/// A seed that nobody has chosen.
pub fn first() -> std::io::Result<String> {
    let mut bytes = [0; 6];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Ok(number.to_string())
}
