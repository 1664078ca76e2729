//! Three controllers and etcd: any one of them may go.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::harness::{self, TestLab};
use pan_lab::{LabHost, LabSpec};
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use story::{SOON, ask, example, has, json, lab_of, leader, pan, requests, text, wrk};

/// Held by whoever puts a PAN under load: two at once on a small machine starve each other's servers for seconds.
static LOAD: Mutex<()> = Mutex::new(());

fn after(lab: &TestLab, term: u64) -> (u64, LabHost) {
    lab.wait_for("another leader", SOON, |lab| leader(lab).0 > term).unwrap();
    leader(lab)
}

/// Any controller answers reads; one that follows learns of a change a moment after it was acknowledged, and later
/// where the member of etcd that it watches is the one that was lost.
fn becomes(lab: &TestLab, state: &str) {
    lab.wait_for(state, SOON, |lab| json(lab, &["get", "node", "n4"])["state"] == state).unwrap();
}

#[test]
fn the_leader_and_then_a_member_of_etcd_are_lost_under_load() {
    if !has("etcd") || !has("wrk") || !has("nginx") {
        return;
    }
    let _alone = LOAD.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(lab) = lab_of(|| LabSpec { controllers: 3, ..harness::spec().unwrap() }) else { return };
    story::apply(&lab, "demo.yaml", &example("demo.yaml"));
    assert!(ask(&lab).is_some());
    let servers = |lab: &TestLab| {
        let all = json(lab, &["get", "server", "-p", "demo"]);
        let all = all.as_array().unwrap().iter();
        all.map(|one| (one["name"].to_string(), one["node"].to_string(), one["epoch"].as_u64(), one["restarts"].as_u64()))
            .collect::<Vec<_>>()
    };
    let before = servers(&lab);
    let load = wrk(&lab, 25, true);

    let (term, first) = leader(&lab);
    lab.kill(first).unwrap();
    // Asked at once, of whichever controller answers: it is acknowledged only once somebody leads.
    pan(&lab, &["node", "cordon", "n4"]);
    let (term, _) = after(&lab, term);
    becomes(&lab, "cordoned");

    lab.start(first).unwrap();
    let member = lab.host("e1").unwrap();
    lab.kill(member).unwrap();
    pan(&lab, &["node", "uncordon", "n4"]);
    becomes(&lab, "alive");
    lab.start(member).unwrap();

    // Only its process this time: hosts keep their streams to the others.
    let (term, second) = (leader(&lab).0.max(term), leader(&lab).1);
    lab.kill_role(second, "controller").unwrap();
    pan(&lab, &["node", "cordon", "n3"]);
    after(&lab, term);
    pan(&lab, &["node", "uncordon", "n3"]);

    let report = load.output();
    let (answered, failed) = requests(&report);
    assert!(answered > 1000 && failed == 0, "{report}");
    assert_eq!(servers(&lab), before, "nothing moved, nothing was restarted");
}

/// With two of three members of etcd gone nobody can decide anything: whoever asks is told so within the caller's patience,
/// and not when the store is back; what runs goes on.
#[test]
fn most_of_etcd_is_lost_and_comes_back() {
    if !has("etcd") || !has("wrk") || !has("nginx") {
        return;
    }
    let _alone = LOAD.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(lab) = lab_of(|| LabSpec { controllers: 3, ..harness::spec().unwrap() }) else { return };
    story::apply(&lab, "demo.yaml", &example("demo.yaml"));
    let load = wrk(&lab, 20, true);
    let members = ["e1", "e2"].map(|name| lab.host(name).unwrap());
    members.iter().for_each(|member| lab.kill(*member).unwrap());
    let told = |lab: &TestLab| {
        let asked = Instant::now();
        let output = lab.pan(&["node", "cordon", "n4"]).unwrap();
        assert!(!output.status.success() && asked.elapsed() < 2 * SOON, "{output:?} after {:?}", asked.elapsed());
        // The first to ask may be the one whose change the store was busy with.
        text(&output.stderr).contains("PAN-603")
    };
    lab.wait_for("a refusal", 4 * SOON, told).unwrap();
    // Nobody can say whether anything changed since; who wants to know what was known is told, and how old it is.
    let refused = |lab: &TestLab| text(&lab.pan(&["get", "node", "n1"]).unwrap().stderr).contains("PAN-603");
    lab.wait_for("what is old to be refused", 4 * SOON, refused).unwrap();
    let known = lab.pan(&["--stale", "get", "node", "n1", "-o", "json"]).unwrap();
    let node: Value = serde_json::from_slice(&known.stdout).unwrap();
    assert_eq!(node["state"], "alive", "what was known is still told");
    assert!(text(&known.stderr).contains(" s ago: there may be something newer"), "{known:?}");
    members.iter().for_each(|member| lab.start(*member).unwrap());
    lab.wait_for("somebody to decide", SOON, |lab| lab.pan(&["node", "cordon", "n4"]).unwrap().status.success()).unwrap();
    becomes(&lab, "cordoned");
    let report = load.output();
    let (answered, failed) = requests(&report);
    assert!(answered > 1000 && failed == 0, "{report}");
}
