//! Agents and controllers come and go; servers and connections do not notice.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::LabHost;
use std::process::Command;
use story::{SOON, ask, example, has, json, lab, pan, requests, wrk};

#[test]
fn killing_agents_and_the_controller_fails_no_request_and_restarts_nothing() {
    let Some(lab) = lab() else { return };
    if !has("wrk") || !has("nginx") {
        return;
    }
    story::apply(&lab, "demo.yaml", &example("demo.yaml"));
    assert!(ask(&lab).is_some());
    let before = json(&lab, &["get", "server", "-p", "demo"]);
    let identity = |servers: &serde_json::Value| -> Vec<(String, u64, u64)> {
        let all = servers.as_array().unwrap().iter();
        all.map(|server| (server["node"].to_string(), server["epoch"].as_u64().unwrap(), server["restarts"].as_u64().unwrap())).collect()
    };
    let load = wrk(&lab, 20, true);
    let nodes: Vec<LabHost> = ["n1", "n2", "n3", "n4"].iter().map(|name| lab.host(name).unwrap()).collect();
    for round in 0..20 {
        let host = nodes[round % nodes.len()];
        let old = lab.kill_role(host, "node").unwrap();
        lab.wait_for("a new agent", SOON, |lab| lab.role_pid(host, "node").is_ok_and(|pid| pid != old)).unwrap();
    }
    let controller = lab.host("c1").unwrap();
    let old = lab.kill_role(controller, "controller").unwrap();
    lab.wait_for("a new controller", SOON, |lab| lab.role_pid(controller, "controller").is_ok_and(|pid| pid != old)).unwrap();
    lab.wait_ready(SOON).unwrap();
    for name in ["web-1", "web-2", "web-3"] {
        story::wait_state(&lab, "demo", name, "running");
    }
    let after = json(&lab, &["get", "server", "-p", "demo"]);
    assert_eq!(identity(&after), identity(&before), "nothing moved, nothing was restarted");
    let report = load.output();
    let (answered, failed) = requests(&report);
    assert!(answered > 1000 && failed == 0, "{report}\n{}", pan(&lab, &["events", "-A"]));
}

/// Roles that stand still while their hosts are heard are nobody's to fail over: whoever keeps them running ends them, and the next ones do what
/// waited for them.
#[test]
fn roles_that_stand_still_are_started_again_and_catch_up() {
    if !has("nginx") {
        return;
    }
    let Some(lab) = lab() else { return };
    story::apply(&lab, "demo.yaml", &example("demo.yaml"));
    assert!(ask(&lab).is_some());
    let web = json(&lab, &["get", "server", "web-1", "-p", "demo"]);
    let (epoch, node) = (web["epoch"].as_u64(), lab.host(story::str_of(&web, "node")).unwrap());
    let hosts = [(node, "node"), (lab.host("d1").unwrap(), "director"), (lab.host("d2").unwrap(), "director")];
    let still = hosts.map(|(host, role)| {
        let pid = lab.role_pid(host, role).unwrap();
        assert!(Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap().success());
        pid
    });
    assert!(ask(&lab).is_some(), "what was in place is in place");
    pan(&lab, &["migrate", "web-1", "-p", "demo", "--to", "n4"]);
    for ((host, role), old) in hosts.into_iter().zip(still) {
        lab.wait_for("another process", SOON, |lab| lab.role_pid(host, role).is_ok_and(|pid| pid != old)).unwrap();
    }
    assert_eq!(lab.logs().matches("has said nothing for 10 s: it is killed").count(), still.len(), "{}", lab.logs());
    for (host, role) in hosts {
        let words = format!("role {role} of host {host} was started again");
        lab.wait_for(&words, SOON, |lab| story::text(&lab.pan(&["events", "-A"]).unwrap().stdout).matches(&words).count() == 1).unwrap();
    }
    lab.wait_for("the server to be elsewhere", SOON, |lab| {
        let web = json(lab, &["get", "server", "web-1", "-p", "demo"]);
        web["state"] == "running" && web["node"] == "n4" && web["epoch"].as_u64() > epoch
    })
    .unwrap();
    (0..30).for_each(|_| assert!(ask(&lab).is_some(), "{}", pan(&lab, &["events", "-A"])));
}
