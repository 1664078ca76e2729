//! Every role of every host is upgraded, the heartbeats' process among them, and nobody who asks the service notices.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::{LabHost, harness};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use story::{SOON, ask, example, has, json, lab_of, pan, requests, text, wrk};

/// The file a process was started from, whatever lies under its path by now.
fn program(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn runs(pid: i32) -> Option<(u64, u64)> {
    program(Path::new(&format!("/proc/{pid}/exe")))
}

/// (name, node, epoch, restarts) of every server.
fn identity(servers: &serde_json::Value) -> Vec<(String, String, u64, u64)> {
    let number = |server: &serde_json::Value, field: &str| server[field].as_u64().unwrap();
    let all = servers.as_array().unwrap().iter();
    all.map(|one| (one["name"].to_string(), one["node"].to_string(), number(one, "epoch"), number(one, "restarts"))).collect()
}

#[test]
fn upgrading_every_host_is_noticed_by_nobody() {
    let Some(lab) = lab_of(|| pan_lab::LabSpec { storage: 1, ..harness::spec().unwrap() }) else { return };
    if !has("wrk") || !has("nginx") {
        return;
    }
    story::apply(&lab, "demo.yaml", &example("demo.yaml"));
    assert!(ask(&lab).is_some());
    let before = identity(&json(&lab, &["get", "server", "-p", "demo"]));
    // What a loaded machine did to the laboratory while it came up is not this story's.
    let events_before = pan(&lab, &["events", "-A"]);
    let load = wrk(&lab, 60, true);
    let roles = [("n", "node", 4), ("s", "storage", 1), ("d", "director", 2), ("c", "controller", 1)];
    let hosts = roles.iter().flat_map(|(letter, role, count)| (1..=*count).map(move |number| (format!("{letter}{number}"), *role)));
    for (name, role) in hosts {
        let host: LabHost = name.parse().unwrap();
        let old = ["beat", role].map(|role| lab.role_pid(host, role).unwrap());
        pan(&lab, &["lab", "upgrade", &name]);
        let new = program(&lab.data().join("hosts").join(&name).join("bin").join("pan")).unwrap();
        assert!(old.iter().all(|pid| runs(*pid).is_none_or(|file| file != new)), "{name}: a copy is another build");
        lab.wait_for(&format!("{name} of the new build"), SOON, |lab| {
            // Init's own children: the beat process that took over first has handed over to a supervised one by then.
            ["beat", role].iter().zip(old).all(|(role, old)| lab.role_pid(host, role).is_ok_and(|pid| pid != old && runs(pid) == Some(new)))
        })
        .unwrap();
        let log = std::fs::read_to_string(lab.log(host, "beat")).unwrap();
        assert!(log.contains("took over from another beat process"), "{name}: {log}");
    }
    lab.wait_ready(SOON).unwrap();
    for name in ["web-1", "web-2", "web-3"] {
        story::wait_state(&lab, "demo", name, "running");
    }
    assert_eq!(identity(&json(&lab, &["get", "server", "-p", "demo"])), before, "nothing moved, nothing was restarted");
    let report = load.output();
    let (answered, failed) = requests(&report);
    let events = pan(&lab, &["events", "-A"]);
    // By their times: the columns may be wider by now.
    let time = |line: &str| line.split_whitespace().find(|word| word.ends_with('Z')).map(str::to_owned);
    let known: Vec<String> = events_before.lines().filter_map(time).collect();
    let events: String =
        events.lines().filter(|line| time(line).is_some_and(|at| !known.contains(&at))).map(|line| format!("{line}\n")).collect();
    assert!(answered > 1000 && failed == 0, "{report}\n{events}");
    for sign in ["HostDead", "HostReturned", "LinkDown", "AgentDown"] {
        assert!(!events.contains(sign), "{sign}: {events}");
    }
    // A suspicion that came to nothing leaves this in the timelines of the servers it was about.
    for name in ["web-1", "web-2", "web-3"] {
        // Where nothing has happened there is none.
        let timeline = text(&lab.pan(&["timeline", name, "-p", "demo"]).unwrap().stdout);
        assert!(!timeline.contains("alive-again") && !timeline.contains("suspect"), "{name}: {timeline}");
    }
}
