//! `cargo xtask chaos`: rounds of faults on laboratories that run the real binary. `--seed N` replays the schedule of one;
//! `--rounds N` makes many with fresh seeds, `--seed N --rounds M` those from N on.

use std::path::Path;
use std::process::{Command, ExitCode};

/// The test that makes them.
pub const TEST: &str = "--test=lab_chaos";
/// How it is told the first seed, and how many rounds.
const SEED: &str = "PAN_CHAOS_SEED";
pub const ROUNDS: &str = "PAN_CHAOS_ROUNDS";

/// Builds what is needed and makes the rounds that were asked for.
pub fn run(root: &Path, arguments: &[&str]) -> ExitCode {
    let Some(environment) = environment(arguments) else {
        eprintln!("usage: cargo xtask chaos [--seed N] [--rounds N]");
        return ExitCode::from(2);
    };
    eprintln!(
        "chaos: building the program and its test first, which takes minutes where nothing is built yet; then a round takes about one"
    );
    // With all packages selected the dependencies have the features that they have in every other build.
    let words = ["test", "--workspace", "--locked", TEST, "--", "--nocapture"];
    match Command::new("cargo").args(words).envs(environment).current_dir(root).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot run cargo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the test is told; none if the words make no sense.
fn environment(arguments: &[&str]) -> Option<Vec<(&'static str, String)>> {
    let pair = |pair: &[&str]| match pair {
        ["--seed", number] => number.parse::<u64>().ok().map(|number| (SEED, number.to_string())),
        ["--rounds", number] => number.parse::<u64>().ok().map(|number| (ROUNDS, number.to_string())),
        _ => None,
    };
    arguments.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_is_told_what_was_asked_for() {
        let told = |words: &str| environment(&words.split_whitespace().collect::<Vec<_>>());
        assert_eq!(told(""), Some(vec![]));
        assert_eq!(told("--seed 7"), Some(vec![(SEED, "7".to_owned())]));
        assert_eq!(told("--rounds 20 --seed 7"), Some(vec![(ROUNDS, "20".to_owned()), (SEED, "7".to_owned())]));
        for bad in ["--seed", "--seed x", "7", "--rounds -1", "--seeds 7"] {
            assert_eq!(told(bad), None, "{bad}");
        }
    }
}
