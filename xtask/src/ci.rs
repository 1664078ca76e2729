//! `cargo xtask ci`: everything, in the order in which failures are cheapest to find.

use std::path::Path;
use std::process::ExitCode;

use crate::generated::{self, Mode};
use crate::metadata::{self, Metadata, Package, Scope};
use crate::suite::{Suite, Tally, check};
use crate::{deny, deps, tidy};

/// Crates whose integration tests make namespaces, links and processes, and want root.
const NAMESPACED: [&str; 5] = ["pan", "pan-director", "pan-lab", "pan-linux", "pan-node"];

/// In CI a missing kernel capability is a failure, not a skip; tests look at this.
const STRICT: &[(&str, &str)] = &[("PAN_TEST_STRICT", "1")];

/// Runs all suites, whatever fails, and sums up in the last line.
pub fn run(root: &Path) -> ExitCode {
    let mut total = Tally::default();
    total.add(cargo("format", "fmt --all --check", root));
    total.add(check("deps", || deps::check(root)));
    total.add(check("tidy", || tidy::check(root)));
    total.add(check("deny", || deny::check(root)));
    total.add(cargo("lints", "clippy --workspace --all-targets --locked --quiet -- -D warnings", root));
    total.add(cargo("build", "build --workspace --all-targets --locked", root));
    total.add(check("generated", || generated::run(root, Mode::Compare)));
    match metadata::read(root, Scope::Workspace) {
        Ok(metadata) => tests(root, &metadata, &mut total),
        Err(problem) => total.add(check("tests", || vec![problem])),
    }
    let Tally { passed, failed, skipped } = total;
    if skipped > 0 {
        println!("{skipped} skipped");
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tests(root: &Path, metadata: &Metadata, total: &mut Tally) {
    let (namespaced, plain): (Vec<&Package>, Vec<&Package>) =
        metadata.packages.iter().partition(|package| NAMESPACED.contains(&package.name.as_str()));
    total.add(test("unit", &plain, &[], root));
    total.add(test("unit-roles", &namespaced, &["--lib".to_owned(), "--bins".to_owned()], root));
    let integration: Vec<String> = namespaced.iter().flat_map(|package| integration_tests(package)).collect();
    if !integration.is_empty() {
        total.add(test("namespaces", &namespaced, &integration, root));
    }
}

fn integration_tests(package: &Package) -> Vec<String> {
    let tests = package.targets.iter().filter(|target| target.kind.iter().any(|kind| kind == "test"));
    tests.map(|target| format!("--test={}", target.name)).collect()
}

fn test(name: &str, packages: &[&Package], which: &[String], root: &Path) -> Tally {
    let mut arguments = vec!["test".to_owned(), "--locked".to_owned(), "--no-fail-fast".to_owned()];
    arguments.extend(packages.iter().map(|package| format!("--package={}", package.name)));
    arguments.extend(which.iter().cloned());
    // Shows the skips of tests that passed, too.
    arguments.extend(["--".to_owned(), "--show-output".to_owned()]);
    Suite { name, program: "cargo", arguments, environment: STRICT }.run(root)
}

fn cargo(name: &str, arguments: &str, root: &Path) -> Tally {
    let arguments = arguments.split(' ').map(str::to_owned).collect();
    Suite { name, program: "cargo", arguments, environment: &[] }.run(root)
}
