//! `cargo xtask ci`: everything, in the order in which failures are cheapest to find.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use crate::metadata::{self, Metadata, Package, Scope};
use crate::suite::{Suite, Tally, check};
use crate::{deny, deps, sim, tidy};

/// Crates whose integration tests make namespaces, links and processes, and want root.
const NAMESPACED: [&str; 5] = ["pan", "pan-director", "pan-lab", "pan-linux", "pan-node"];

/// Set where a skipped test is a failure: CI machines have what the tests need, or something is wrong.
const STRICT: &str = "CI";

/// Runs all suites, whatever fails, and sums up in the last line.
pub fn run(root: &Path) -> ExitCode {
    let mut total = Tally::default();
    total.add(cargo("format", "fmt --all --check", root));
    total.add(check("deps", || deps::check(root)));
    total.add(check("tidy", || tidy::check(root)));
    total.add(check("deny", || deny::check(root)));
    total.add(cargo("lints", "clippy --workspace --all-targets --locked --quiet -- -D warnings", root));
    // Builds `pan`, too, which the namespace tests run.
    total.add(cargo("build", "build --workspace --all-targets --locked", root));
    match metadata::read(root, Scope::Workspace) {
        Ok(metadata) => tests(root, &metadata, &mut total),
        Err(problem) => total.add(check("tests", || vec![problem])),
    }
    if total.skipped > 0 && std::env::var_os(STRICT).is_some() {
        println!("{} skipped, which is a failure where {STRICT} is set", total.skipped);
        total.failed += total.skipped;
    }
    total.say();
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tests(root: &Path, metadata: &Metadata, total: &mut Tally) {
    let (namespaced, plain): (Vec<&Package>, Vec<&Package>) =
        metadata.packages.iter().partition(|package| NAMESPACED.contains(&package.name.as_str()));
    total.add(test("unit", &["--lib".to_owned(), "--bins".to_owned()], root));
    total.add(test("scenarios", &integration_tests(&plain), root));
    total.add(sim::suite(root));
    total.add(test("doc", &["--doc".to_owned()], root));
    total.add(test("namespaces", &integration_tests(&namespaced), root));
}

fn integration_tests(packages: &[&Package]) -> Vec<String> {
    let targets = packages.iter().flat_map(|package| &package.targets);
    let tests = targets.filter(|target| target.kind.iter().any(|kind| kind == "test"));
    // A name that two crates use selects both by being named once.
    tests.map(|target| format!("--test={}", target.name)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Always the whole workspace, of which `which` selects: with other packages selected, cargo would choose
/// other features of the dependencies and build them all again.
fn test(name: &str, which: &[String], root: &Path) -> Tally {
    if which.is_empty() {
        return Tally::default();
    }
    let mut arguments = ["test", "--workspace", "--locked", "--no-fail-fast"].map(str::to_owned).to_vec();
    arguments.extend(which.iter().cloned());
    // Shows the skips of tests that passed, too.
    arguments.extend(["--".to_owned(), "--show-output".to_owned()]);
    Suite { name, program: "cargo", arguments, environment: &[] }.run(root)
}

fn cargo(name: &str, arguments: &str, root: &Path) -> Tally {
    let arguments = arguments.split(' ').map(str::to_owned).collect();
    Suite { name, program: "cargo", arguments, environment: &[] }.run(root)
}
