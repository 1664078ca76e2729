//! A node whose heartbeats are fine and whose agent does not reach the controllers: it is told of, given nothing, and keeps what runs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::LabHost;
use pan_lab::harness::TestLab;
use story::{SOON, ask, has, json, lab, pan, server, str_of};

/// All that a host says to the controllers' port is lost on its way out.
const SHUT: &str = "add table inet away
add chain inet away out { type filter hook output priority 0; }
add rule inet away out tcp dport 7443 drop";

/// More servers than a planner would put on three of four empty nodes.
const MORE: &str = "
api: pan/v1
kind: Cluster
partition: demo
name: more
spec:
  servers: 8
  image: host
  command: [sleep, inf]
  resources: {cpu: 50m, memory: 32MiB}
";

fn nft(lab: &TestLab, host: LabHost, script: &str) {
    let done = lab.exec_in(host, &["nft", script]).unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn a_node_that_cannot_report_is_told_of_and_given_nothing() {
    let Some(lab) = lab() else { return };
    if !has("nginx") {
        return;
    }
    let (before, node) = story::demo_on_a_node(&lab);
    let name = node.to_string();
    // Servers of the demo may not share a node; these may.
    let other = "more-1";
    let events = || pan(&lab, &["events", "-A"]);
    nft(&lab, node, SHUT);
    lab.wait_for("the event", SOON, |_| events().contains("HostOutOfReach")).unwrap();
    let shown = json(&lab, &["get", "host", &name]);
    assert_eq!((str_of(&shown, "state"), &shown["agent"]), ("alive", &serde_json::Value::Bool(false)), "{shown}");

    story::apply(&lab, "more.yaml", MORE);
    let more = json(&lab, &["get", "server", "-p", "demo"]);
    let places: Vec<&str> = more.as_array().unwrap().iter().filter(|one| one["cluster"] == "more").map(|one| str_of(one, "node")).collect();
    assert_eq!((places.len(), places.contains(&name.as_str())), (8, false), "{places:?}");
    let told = story::refused(&lab, 1, &["failover", other, "-p", "demo", "--to", &name]);
    assert!(told.contains("out of reach"), "{told}");
    for asked in [&["node", "drain", &name][..], &["stop", "web-1", "-p", "demo"], &["failover", "web-1", "-p", "demo"]] {
        let told = story::refused(&lab, 1, asked);
        assert!(told.contains(&format!("host {name} is heard and has not reported since 20")), "{told}");
    }
    assert!(pan(&lab, &["why", "node", &name]).contains("does not report"));
    assert!(pan(&lab, &["why", "server", "web-1", "-p", "demo"]).contains("does not report"));
    let now = server(&lab, "demo", "web-1");
    assert_eq!((&now["node"], &now["epoch"]), (&before["node"], &before["epoch"]), "what runs is left alone");
    assert!(ask(&lab).is_some());

    nft(&lab, node, "delete table inet away");
    lab.wait_for("the node to report again", SOON, |_| events().contains("HostInReach")).unwrap();
    pan(&lab, &["failover", other, "-p", "demo", "--to", &name]);
    lab.wait_for("a server to come to it", SOON, |lab| {
        let now = server(lab, "demo", other);
        now["state"] == "running" && str_of(&now, "node") == name
    })
    .unwrap();
    assert!(!events().contains("NodeLost") && !events().contains("HostDead"), "{}", events());
}
