//! `pan bench director`: what it reports, and that nothing is left of it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::harness;
use serde_json::Value;
use std::process::Command;

/// Nothing of the process `pid` is there any more: the number is a part of all names.
fn nothing_is_left(pid: u32) {
    let mark = format!("panpeer-{pid}x");
    for folder in ["/run/netns", "/var/run/netns", "/var/tmp/pan-bench", "/sys/fs/cgroup"] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let left: Vec<_> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.starts_with(&mark)).collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
}

#[test]
fn rates_of_the_proxy_and_of_a_peer_are_measured_in_turn() {
    if !harness::can_run() {
        return;
    }
    if !["wrk", "nginx"].iter().all(|program| story::has(program)) {
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_pan"));
    command.args(["bench", "director", "--against", "nginx", "--case", "kept-1k", "--case", "each-1k-tls"]);
    let child = command.args(["--runs", "1", "--length", "1s", "-o", "json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    // 1: a build for tests need not be as fast as what it is measured beside.
    assert!(output.status.code().is_some_and(|code| code <= 1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let cases = report["cases"].as_array().unwrap();
    let rate = |case: &str, peer: &str| {
        let found = cases.iter().find(|one| one["case"] == case && one["peer"] == peer && one["unit"] == "/s");
        found.unwrap_or_else(|| panic!("{case} {peer}: {report}"))["samples"][0].as_f64().unwrap()
    };
    for case in ["kept-1k", "each-1k-tls"] {
        assert!(rate(case, "panloom") > 10.0 && rate(case, "nginx") > 10.0, "{report}");
        let ratio = cases.iter().find(|one| one["case"] == case && one["unit"] == "of the peer's rate").unwrap();
        let wanted = rate(case, "panloom") / rate(case, "nginx");
        assert!((ratio["samples"][0].as_f64().unwrap() - wanted).abs() < 0.02, "{ratio} {wanted}");
    }
    nothing_is_left(pid);
}
