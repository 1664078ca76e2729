//! A node is drained under load, and nobody who asks the service notices.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use story::{ask, example, has, json, lab, pan, requests, server, str_of, wrk};

#[test]
fn draining_a_node_fails_no_request() {
    let Some(lab) = lab() else { return };
    if !has("wrk") || !has("nginx") {
        return;
    }
    story::apply(&lab, "demo.yaml", &example("demo.yaml"));
    assert!(ask(&lab).is_some());
    for keep_alive in [true, false] {
        let node = str_of(&server(&lab, "demo", "web-1"), "node").to_owned();
        let load = wrk(&lab, 12, keep_alive);
        // Three that may not share a node, on four of them: the promise to survive a loss is used up meanwhile.
        let plan = json(&lab, &["node", "drain", &node, "--whatif"]);
        assert_eq!((&plan["ok"], &plan["unprotected"][0]["cluster"]), (&true.into(), &"demo/web".into()), "{plan}");
        pan(&lab, &["node", "drain", &node, "--timeout", "60s"]);
        let events = pan(&lab, &["events", "-A"]);
        assert!(events.contains("DrainTakes") && events.contains("cluster demo/web is not protected"), "{events}");
        let shown = json(&lab, &["get", "node", &node]);
        assert_eq!(shown["servers"], 0, "{shown}");
        let report = load.output();
        let (answered, failed) = requests(&report);
        assert!(answered > 1000 && failed == 0, "keep-alive {keep_alive}:\n{report}");
        pan(&lab, &["node", "uncordon", &node]);
        story::wait_state(&lab, "demo", "web-1", "running");
    }
}
