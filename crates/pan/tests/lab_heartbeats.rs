//! A real controller hears simulated hosts: none is taken for dead while it beats, and each that falls silent is, never
//! before its time. `pan bench heartbeats` says how it is with thousands, and how soon.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use pan_lab::bench::Report;
use pan_lab::harness;
use std::process::Command;

/// Silence that the profile calls death.
const DEAD_AFTER_MS: f64 = 700.0;
/// Of a machine that does other things: what matters is that it comes at all.
const LATE_MS_MAX: f64 = 5_000.0;

#[test]
fn beating_hosts_live_and_silent_ones_die() {
    if !harness::can_run() {
        return;
    }
    let file = std::env::temp_dir().join(format!("pan-heartbeats-{}.json", std::process::id()));
    // Another period than the profile's, so that it is judged by what heartbeats say.
    let line = "bench heartbeats --hosts 50 --length 3s --runs 3 --profile shared --period 150ms --out";
    let output = Command::new(harness::exe().unwrap()).args(line.split(' ')).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let report: Report = serde_json::from_str(&text).unwrap();
    assert_eq!((report.bench.as_str(), report.profile.as_str()), ("heartbeats", "shared"));
    let case = |name: &str, unit: &str| {
        let found = report.cases.iter().find(|case| case.case == name && case.unit == unit);
        found.unwrap_or_else(|| panic!("no case {name} in {unit}: {report:?}"))
    };
    let count = |unit: &str| case("steady", unit).samples[0];
    assert_eq!(count("false deaths"), 0.0, "{report:?}");
    assert_eq!(count("frames dropped"), 0.0, "{report:?}");
    let sent = count("frames sent");
    assert!(sent >= 50.0 * 2.0 * 10.0, "a round each 150 ms for 3 s: {sent}");
    assert!(count("frames received") >= sent * 0.9, "{report:?}");
    assert!(case("steady", "MiB resident").samples.iter().all(|memory| *memory > 1.0));
    assert!((1..=3).contains(&case("steady", "% of a core").runs), "a sample a second");

    let silenced = case("silenced", "ms");
    assert_eq!((silenced.runs, silenced.failed, &silenced.problem), (3, 0, &None), "{silenced:?}");
    assert_eq!(silenced.bound.unwrap().worst, DEAD_AFTER_MS + 30.0);
    // From its last heartbeat as it was sent, so never sooner than silence as it was heard.
    assert!(silenced.samples.iter().all(|ms| (DEAD_AFTER_MS..LATE_MS_MAX).contains(ms)), "{silenced:?}");
}
