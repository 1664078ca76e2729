//! Heartbeat keys are rotated under load, and nobody notices.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::harness::{self, TestLab};
use pan_lab::{LabHost, LabSpec};
use std::collections::BTreeMap;
use story::{SOON, example, has, json, lab_of, pan, refused, requests, write, wrk};

/// The keys of every host, as they lie on its disk.
fn keys(lab: &TestLab) -> BTreeMap<String, Vec<String>> {
    let hosts = lab.hosts().unwrap();
    let of = |host: LabHost| {
        let path = lab.data().join("hosts").join(host.to_string()).join("etc/beat.key");
        std::fs::read_to_string(path).ok().map(|text| (host.to_string(), text.lines().map(str::to_owned).collect()))
    };
    hosts.iter().filter_map(|host| of(host.name)).collect()
}

/// The public keys that a storage host checks capabilities with, as its processes see them.
fn capability_keys(lab: &TestLab, host: &str) -> Vec<String> {
    let text = pan(lab, &["lab", "exec", host, "--", "sh", "-c", "cat /run/pan/capability.keys 2>&1 || true"]);
    text.lines().map(str::to_owned).collect()
}

fn count(lab: &TestLab, reason: &str) -> usize {
    let events = json(lab, &["events", "-A"]);
    events.as_array().unwrap().iter().filter(|event| event["reason"] == reason).count()
}

#[test]
fn keys_are_rotated_under_load_and_nobody_falls_silent() {
    if !has("wrk") {
        return;
    }
    let Some(lab) = lab_of(|| LabSpec { storage: 1, ..harness::spec().unwrap() }) else { return };
    let demo = write(&lab, "demo.yaml", &example("demo.yaml"));
    pan(&lab, &["apply", "-f", &demo, "--wait=60s"]);
    let first = keys(&lab);
    assert_eq!(first.len(), 8, "{:?}", first.keys());
    lab.wait_for("the storage host's keys of capabilities", SOON, |lab| capability_keys(lab, "s1")[0].len() == 64).unwrap();
    let checked_with = capability_keys(&lab, "s1");
    assert!(capability_keys(&lab, "n1").concat().contains("No such file"), "only who keeps volumes checks capabilities");
    let load = wrk(&lab, 20, true);
    for round in 1..=2 {
        pan(&lab, &["key", "rotate"]);
        lab.wait_for("the new keys to be used", SOON, |lab| count(lab, "KeysRotated") == round).unwrap();
    }
    let (answered, failed) = requests(&load.output());
    assert!(answered > 1000 && failed == 0, "{answered} answered, {failed} failed");

    // Every host has keys that none had before, and those before are on their way out.
    lab.wait_for("every host to know that they are used", SOON, |lab| keys(lab).values().all(|keys| keys.len() == 2)).unwrap();
    lab.wait_for("the storage host to check with new keys", SOON, |lab| {
        let now = capability_keys(lab, "s1");
        now.len() == 2 && !now.contains(&checked_with[0])
    })
    .unwrap();
    for (host, keys) in keys(&lab) {
        assert!(!first[&host].iter().any(|old| keys.contains(old)), "{host} still has a key of two rotations ago");
    }
    // Hosts may be slow to come up; what counts is what happened since.
    let events = json(&lab, &["events", "-A"]);
    let since = events.as_array().unwrap().iter().skip_while(|event| event["reason"] != "KeysHandedOut");
    let events: String = since.map(ToString::to_string).collect();
    assert!(events.contains("KeysRotated"), "{events}");
    for bad in ["HostDead", "LinkDown", "AgentDown", "MassBrake", "Readmitted", "did not fetch"] {
        assert!(!events.contains(bad), "{bad} in {events}");
    }
    let all = json(&lab, &["get", "host"]);
    assert!(all.as_array().unwrap().iter().all(|host| host["state"] == "alive"), "{all}");
    for host in lab.hosts().unwrap() {
        for log in ["beat", "director", "controller"] {
            let text = std::fs::read_to_string(lab.log(host.name, log)).unwrap_or_default();
            assert!(!text.contains("was dropped") && !text.contains("fenced"), "{}: {text}", host.name);
        }
    }

    // A host that slept through two rotations has keys that nobody accepts; it fetches others by its certificate.
    let n1 = lab.host("n1").unwrap();
    lab.kill(n1).unwrap();
    lab.wait_for("its death", SOON, |lab| json(lab, &["get", "host", "n1"])["state"] == "dead").unwrap();
    for round in 3..=4 {
        pan(&lab, &["key", "rotate"]);
        assert!(refused(&lab, 1, &["key", "rotate"]).contains("already"));
        lab.wait_for("the new keys to be used", SOON, |lab| count(lab, "KeysRotated") == round).unwrap();
    }
    lab.start(n1).unwrap();
    lab.wait_for("its return", SOON, |lab| json(lab, &["get", "host", "n1"])["state"] == "alive").unwrap();
}
