//! `cargo xtask sim`: runs of the simulator. `--seed N` replays one byte for byte; `--seeds N [--first S]` runs many on all
//! processors, from a seed that is drawn freshly where none is given.

use crate::suite::{Suite, Tally};
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The binary, as a build of the whole workspace leaves it.
const BINARY: &str = "target/debug/pan-sim";
/// Fresh runs of every CI, each of at least 60 virtual seconds, five faults and one failover.
const CI_SEEDS: &str = "2000";

/// Builds the simulator and runs it with what was asked for.
pub fn run(root: &Path, arguments: &[&str]) -> ExitCode {
    // With all packages selected the dependencies have the features that they have in every other build.
    let built = Command::new("cargo").args(["build", "--quiet", "--workspace", "--locked", "--bin", "pan-sim"]).current_dir(root).status();
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
    let arguments = ["--seeds", CI_SEEDS, "--first", &first].map(str::to_owned).to_vec();
    Suite { name: "simulation", program: BINARY, arguments, environment: &[] }.run(root)
}

/// A seed that nobody has chosen.
fn first() -> std::io::Result<String> {
    let mut bytes = [0; 6];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Ok(number.to_string())
}
