//! `cargo xtask COMMAND`: the project's own checks. `cargo xtask ci` is what CI runs.

mod chaos;
mod ci;
mod deny;
mod deps;
mod metadata;
mod sim;
mod soak;
mod spdx;
mod suite;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a check found wrong, one line each; empty means nothing.
type Problems = Vec<String>;

const USAGE: &str = "\
usage: cargo xtask COMMAND
  ci         everything CI checks: format, lints, the checks below, all tests
  deps       imports between crates against the table in ARCHITECTURE.md
  tidy       lengths, headers, names, leftovers
  deny       licences and banned crates among the dependencies, after deny.toml
  sim        runs of the simulator: --seed N | --seeds N [--first S], each also with --mutant NAME
  chaos      rounds of faults on real laboratories: --seed N | --rounds N (3); needs root
  soak       rounds of property tests, stories and chaos, for SOAK_MINUTES (30)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = root();
    let problems = match arguments[..] {
        ["ci"] => return ci::run(&root),
        ["deps"] => deps::check(&root),
        ["tidy"] => tidy::check(&root),
        ["deny"] => deny::check(&root),
        ["sim", ref rest @ ..] => return sim::run(&root, rest),
        ["chaos", ref rest @ ..] => return chaos::run(&root, rest),
        ["soak"] => return soak::run(&root),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The workspace: the parent of this crate.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("xtask lies in the workspace").to_owned()
}
