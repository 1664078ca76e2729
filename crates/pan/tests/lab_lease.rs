//! Leases: what was given up is heard no more, and what runs needs no controller.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::harness::{self, TestLab};
use pan_lab::{Direction, LabSpec};
use pan_model::host_config::GateChoice;
use std::time::{Duration, Instant};
use story::{SOON, ask, example, has, lab, lab_of, pan, requests, server, str_of, wrk};

/// For how long a thawed node is listened for: many times what it takes to find out that it was given up.
const LISTENED: Duration = Duration::from_secs(3);

#[test]
fn a_node_that_stood_still_is_not_heard_again_and_comes_back_without_its_servers() {
    let Some(lab) = lab() else { return };
    not_heard_again(&lab);
}

/// The gate of kernels that refuse BPF, on all nodes of a PAN.
#[test]
fn nor_is_it_behind_a_gate_of_nftables() {
    let Some(lab) = lab_of(|| LabSpec { gate: Some(GateChoice::NftSet), ..harness::spec().unwrap() }) else { return };
    for node in ["n1", "n2", "n3", "n4"] {
        let shown = || story::json(&lab, &["get", "host", node]);
        lab.wait_for("the gate in sight", SOON, |_| shown()["gate"]["kind"] == "nft-set")
            .unwrap_or_else(|error| panic!("{error}: {}", shown()));
    }
    not_heard_again(&lab);
}

fn not_heard_again(lab: &TestLab) {
    if !has("nginx") {
        return;
    }
    let (before, node) = story::demo_on_a_node(lab);
    let mut old = None;
    lab.wait_for("an answer of web-1", SOON, |lab| {
        old = ask(lab).filter(|answer| answer.starts_with("web-1 "));
        old.is_some()
    })
    .unwrap();
    let old = old.unwrap();

    lab.freeze(node).unwrap();
    lab.wait_for("web-1 elsewhere", SOON, |lab| {
        let now = server(lab, "demo", "web-1");
        str_of(&now, "state") == "running" && now["epoch"].as_u64() > before["epoch"].as_u64()
    })
    .unwrap();
    lab.thaw(node).unwrap();
    let thawed = Instant::now();
    let mut answers = 0;
    // However busy the machine is, enough is heard to mean something.
    while thawed.elapsed() < LISTENED || (answers <= 10 && thawed.elapsed() < SOON) {
        let Some(answer) = ask(lab) else { continue };
        assert_ne!(answer, old, "the old instance is heard again");
        answers += 1;
    }
    assert!(answers > 10, "only {answers} answers");

    let name = node.to_string();
    pan(lab, &["wait", "node", &name, "--for", "state=alive", "--timeout", "60s"]);
    // Whether it is told by a lessor that it is fenced, or by a controller what its next number is, is a matter of which is quicker.
    let log = lab.data().join("hosts").join(&name).join("log").join("beat.log");
    lab.wait_for("a lease under its next number", SOON, |_| std::fs::read_to_string(&log).unwrap().contains("number=2")).unwrap();
    let moved = server(lab, "demo", "web-1");
    assert_ne!(str_of(&moved, "node"), name);
    let events = pan(lab, &["events", "-A"]);
    assert!(events.contains("HostDead") && events.contains("HostReturned"), "{events}");
    // On a busy machine it may have been suspected again since.
    let timeline = pan(lab, &["timeline", "web-1", "-p", "demo", "--all"]);
    assert!(timeline.contains("fenced"), "{timeline}");
}

#[test]
fn gates_stay_open_while_every_controller_is_without_power() {
    let Some(lab) = lab() else { return };
    if !has("wrk") || !has("nginx") {
        return;
    }
    story::apply(&lab, "demo.yaml", &example("demo.yaml"));
    assert!(ask(&lab).is_some());
    let load = wrk(&lab, 6, true);
    let controller = lab.host("c1").unwrap();
    lab.kill(controller).unwrap();
    let report = load.output();
    let (answered, failed) = requests(&report);
    assert!(answered > 1000 && failed == 0, "{report}");
    lab.start(controller).unwrap();
    lab.wait_ready(SOON).unwrap();
    for name in ["web-1", "web-2", "web-3"] {
        story::wait_state(&lab, "demo", name, "running");
    }
}

/// Whoever configures a node for slower failovers than its PAN gets those, for that node: what it may still be heard by
/// is over before its servers start elsewhere.
/// A lessor whose disk is new knows no term, so nodes do not count it. The leader finds out that it has forgotten, and begins another term.
#[test]
fn lessors_with_new_disks_count_again() {
    let Some(lab) = lab() else { return };
    let term = || std::fs::read_to_string(lab.data().join("hosts/c1/log/controller.log")).unwrap().matches("this controller leads").count();
    let leased = |lab: &TestLab| {
        let hosts = story::json(lab, &["get", "hosts"]);
        let nodes = hosts.as_array().unwrap().iter().filter(|host| str_of(host, "name").starts_with('n'));
        nodes.into_iter().all(|host| host["lease"]["state"] == "held")
    };
    lab.wait_for("leases", SOON, leased).unwrap_or_else(|error| panic!("{error}: {}", story::json(&lab, &["get", "host", "n1"])));
    for director in ["d1", "d2"] {
        let before = term();
        let host = director.parse().unwrap();
        // A lessor that has acknowledged no term yet has nothing to lose, and nobody misses it.
        let knows = ["grep", "-q", "\"term\":[1-9]", "/var/lib/pan/lessor/revoked.json"];
        lab.wait_for("the lessor to know the term", SOON, |lab| lab.exec_in(host, &knows).unwrap().status.success()).unwrap();
        lab.exec_in(host, &["rm", "-rf", "/var/lib/pan/lessor"]).unwrap();
        lab.kill_role(host, "beat").unwrap();
        lab.wait_for("another term", SOON, |_| term() > before).unwrap();
        lab.wait_for("leases again", SOON, leased).unwrap();
    }
}

#[test]
fn a_node_of_a_slower_profile_is_waited_for() {
    let Some(lab) = lab() else { return };
    if !has("nginx") {
        return;
    }
    let (_, node) = story::demo_on_a_node(&lab);
    let name = node.to_string();
    let events = || pan(&lab, &["events", "-A"]);
    assert!(!events().contains("ProfileDiffers"));
    let path = lab.data().join("hosts").join(&name).join("etc/host.yaml");
    let config = std::fs::read_to_string(&path).unwrap();
    assert!(config.contains("profile: shared"), "{config}");
    std::fs::write(&path, config.replace("profile: shared", "profile: wan")).unwrap();
    lab.kill_role(node, "beat").unwrap();
    lab.wait_for("the other profile to be told", SOON, |_| events().contains("ProfileDiffers")).unwrap();
    let held = || story::json(&lab, &["get", "host", &name])["lease"]["state"] == "held";
    lab.wait_for("a lease of the other profile", SOON, |_| held()).unwrap();

    let before = server(&lab, "demo", "web-1");
    assert_eq!(str_of(&before, "node"), name, "another profile is no reason to move anything");
    lab.cut(node, None, Direction::Both).unwrap();
    let timeline = || story::json(&lab, &["timeline", "web-1", "-p", "demo"]);
    lab.wait_for("web-1 elsewhere", SOON, |lab| {
        server(lab, "demo", "web-1")["epoch"].as_u64() > before["epoch"].as_u64() && timeline()["finished"] == true
    })
    .unwrap();
    let timeline = timeline();
    let steps = timeline["steps"].as_array().unwrap();
    let fenced = steps.iter().position(|step| step["step"] == "fenced").unwrap();
    assert_eq!(steps[0]["step"], "last-heartbeat", "{timeline:#}");
    let silent: u64 = steps[1..=fenced].iter().map(|step| step["tookMs"].as_u64().unwrap()).sum();
    // A lease of 3.2 s, less a heartbeat that this controller heard and a majority of lessors did not.
    assert!(silent >= 2700, "{timeline:#}");
}
