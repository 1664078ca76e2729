//! What a drain takes from others is said, and somebody's room is taken by force only.

use super::*;

fn of_the_partition(pan: &Pan) -> Vec<&str> {
    let events = &pan.world.events[&Some("p".parse().unwrap())];
    events.iter().map(|event| event.message.as_str()).filter(|text| text.contains("drain")).collect()
}

fn node_of_web_1(pan: &Pan) -> HostName {
    host(&pan.node_of("web-1").unwrap())
}

#[test]
fn a_drain_that_leaves_every_promise_kept_has_nothing_to_say() {
    let mut pan = Pan::new();
    pan.apply(&web(2)).unwrap();
    pan.rounds(3);
    let node = node_of_web_1(&pan);
    pan.ask(drain(node.as_str())).unwrap();
    pan.rounds(10);
    assert_eq!(pan.messages("DrainTakes"), Vec::<String>::new());
}

/// Three of a kind on four nodes: the fourth is what their promise is made of, and planned work uses it up.
#[test]
fn the_promise_that_a_drain_uses_up_is_named_before_anything_moves() {
    let mut pan = Pan::new();
    pan.apply(&web(3)).unwrap();
    pan.rounds(3);
    let node = node_of_web_1(&pan);
    pan.ask(drain(node.as_str())).unwrap();
    let said = pan.messages("DrainTakes");
    assert_eq!(said.len(), 1, "{said:?}");
    for part in [format!("with node {node} drained, cluster p/web is not protected: if n"), "has no place".into()] {
        assert!(said[0].contains(&part), "{part:?} in {said:?}");
    }
    assert!(pan.world.servers.values().all(|server| server.ending.is_none()), "before anything moves");
    pan.ask(drain(node.as_str())).unwrap();
    pan.rounds(10);
    assert_eq!((pan.messages("DrainTakes").len(), of_the_partition(&pan)), (1, vec![]));
    assert_ne!(node_of_web_1(&pan), node);
}

#[test]
fn a_servers_place_and_a_guarantee_are_taken_by_force_only() {
    let mut pan = Pan::new();
    pan.apply(&web(4).replace("  protect: {failures: 1}\n", "")).unwrap();
    pan.rounds(3);
    let node = node_of_web_1(&pan);
    let before = pan.world.hosts.clone();
    let error = pan.ask(drain(node.as_str())).unwrap_err();
    assert_eq!(error.code, Code::NoCapacity, "{error:?}");
    for part in ["p/web-1 has no place", "--force", "nothing was changed"] {
        assert!(error.message.contains(part), "{part:?} in {error:?}");
    }
    assert_eq!((&pan.world.hosts, pan.messages("DrainTakes").len()), (&before, 0));
    pan.ask(Request::Drain { node: node.clone(), force: true }).unwrap();
    pan.rounds(10);
    assert!(pan.messages("DrainTakes")[0].contains("p/web-1 has no place"), "{:?}", pan.messages("DrainTakes"));
    assert_eq!((node_of_web_1(&pan), pan.backend("web-1")), (node, BackendState::Up), "it stays where it is");

    let mut pan = Pan::new();
    // Four nodes of 4 cpu, one of them kept for a failure: 12 are covered with all of them, and 8 without one.
    let promised = web(1).replace("spec: {network: 10.0.0.0/24}", "spec: {network: 10.0.0.0/24, capacity: {guaranteed: {cpu: 10}}}");
    pan.apply(&promised).unwrap();
    pan.rounds(3);
    let node = node_of_web_1(&pan);
    let error = pan.ask(drain(node.as_str())).unwrap_err();
    assert_eq!(error.code, Code::Protection, "{error:?}");
    assert!(error.message.contains("guarantees of partitions are not covered"), "{error:?}");
    pan.ask(Request::Drain { node: node.clone(), force: true }).unwrap();
    pan.rounds(10);
    assert_ne!(node_of_web_1(&pan), node);
    assert_eq!(pan.messages("DrainTakes").len(), 1);
}
