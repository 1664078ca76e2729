//! `cargo xtask soak`: what is worth running for long, and too long for every change.

use std::path::Path;
use std::process::ExitCode;

use crate::deps::PURE;
use crate::suite::Suite;

/// Two hundred times proptest's default.
const CASES: &[(&str, &str)] = &[("PROPTEST_CASES", "51200")];

/// Runs the pure crates' property tests with many cases, then every ignored test.
pub fn run(root: &Path) -> ExitCode {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut properties = words("test --release --locked --no-fail-fast");
    properties.extend(PURE.map(|name| format!("--package={name}")));
    let ignored = words("test --workspace --locked --no-fail-fast -- --ignored");
    let mut total = Suite { name: "soak-properties", program: "cargo", arguments: properties, environment: CASES }.run(root);
    total.add(Suite { name: "soak-ignored", program: "cargo", arguments: ignored, environment: &[] }.run(root));
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
