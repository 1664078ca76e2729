//! A node's power is cut under load: its servers run elsewhere as the same servers, and traffic goes on.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use story::{SOON, ask, example, has, json, lab, pan, requests, server, str_of, wrk};

#[test]
fn a_lost_node_costs_its_servers_nothing_but_time() {
    let Some(lab) = lab() else { return };
    if !has("wrk") || !has("nginx") {
        return;
    }
    story::apply(&lab, "demo.yaml", &example("demo.yaml"));
    let answer = ask(&lab).expect("the demo answers");
    assert!(answer.starts_with("web-"), "it says who spoke: {answer}");

    let before = server(&lab, "demo", "web-1");
    let node = str_of(&before, "node").to_owned();
    let load = wrk(&lab, 8, true);
    lab.kill(lab.host(&node).unwrap()).unwrap();
    lab.wait_for("web-1 to run elsewhere", SOON, |lab| {
        let now = server(lab, "demo", "web-1");
        now["state"] == "running" && now["node"] != before["node"]
    })
    .unwrap();
    let after = server(&lab, "demo", "web-1");
    assert_eq!((&after["mac"], &after["addresses"]), (&before["mac"], &before["addresses"]));
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64());
    let (answered, _) = requests(&load.output());
    assert!(answered > 0, "{answered} requests answered while the node went");
    lab.wait_for("the failover's timeline to end", SOON, |lab| json(lab, &["timeline", "web-1", "-p", "demo"])["finished"] == true)
        .unwrap();
    // All of it after the cut: what goes on, goes on whole.
    let (answered, failed) = requests(&wrk(&lab, 2, true).output());
    assert!(answered > 0 && failed == 0, "after the failover {answered} requests were answered and {failed} failed");
    assert!(ask(&lab).is_some());
    let shown = pan(&lab, &["timeline", "web-1", "-p", "demo"]);
    for step in ["last-heartbeat", "suspect", "fenced", "dead", "bound", "running", "in-tables"] {
        assert!(shown.contains(step), "{step} in:\n{shown}");
    }

    lab.start(lab.host(&node).unwrap()).unwrap();
    pan(&lab, &["wait", "node", &node, "--for", "state=alive", "--timeout", "30s"]);
    let events = pan(&lab, &["events", "-A"]);
    assert!(events.contains("HostDead") && events.contains("HostReturned"), "{events}");
}
