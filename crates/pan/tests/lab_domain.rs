//! A rack is emptied under load for work on its power, and nobody who asks the service notices.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::harness;
use std::collections::BTreeMap;
use story::{ask, example, has, json, lab_of, pan, refused, requests, wrk};

#[test]
fn a_rack_is_drained_under_load_without_a_failed_request() {
    let Some(lab) = lab_of(|| {
        let rack = |rack: &str| BTreeMap::from([("rack".to_owned(), rack.to_owned())]);
        let labels = ["n1", "n2"].map(|node| (node, "r1")).into_iter().chain(["n3", "n4", "n5", "n6"].map(|node| (node, "r2")));
        let labels = labels.map(|(node, name)| (node.to_owned(), rack(name))).collect();
        pan_lab::LabSpec { nodes: 6, labels, ..harness::spec().unwrap() }
    }) else {
        return;
    };
    if !has("wrk") || !has("nginx") {
        return;
    }
    story::apply(&lab, "demo.yaml", &example("demo.yaml"));
    assert!(ask(&lab).is_some());
    let racked = || {
        let nodes = json(&lab, &["get", "node"]);
        let of =
            |node: &serde_json::Value| (node["labels"]["rack"] == "r1").then(|| (node["state"].clone(), node["servers"].as_u64().unwrap()));
        nodes.as_array().unwrap().iter().filter_map(of).collect::<Vec<_>>()
    };
    let before = racked();
    assert_eq!(before.len(), 2);
    let servers: u64 = before.iter().map(|(_, servers)| servers).sum();
    assert!(servers > 0, "nothing to drain: {before:?}");

    let plan = json(&lab, &["drain", "--domain", "rack=r1", "--whatif"]);
    assert_eq!(plan["ok"], true, "{plan}");
    let batches = plan["batches"].as_array().unwrap();
    assert!(batches.iter().all(|batch| batch["nodes"].as_array().unwrap().len() == 1), "one failure is promised: {plan}");
    assert_eq!(batches.iter().map(|batch| batch["moves"].as_array().unwrap().len() as u64).sum::<u64>(), servers, "{plan}");
    assert_eq!(racked(), before, "a question changes nothing");

    let load = wrk(&lab, 12, false);
    pan(&lab, &["drain", "--domain", "rack=r1", "--timeout", "60s"]);
    assert!(racked().iter().all(|(state, servers)| state == "draining" && *servers == 0), "{:?}", racked());
    let report = load.output();
    let (answered, failed) = requests(&report);
    assert!(answered > 1000 && failed == 0, "{report}");
    assert!(pan(&lab, &["certify"]).contains("every promise holds"));

    // All that is left is one rack: it cannot go too.
    let error = refused(&lab, 1, &["drain", "--domain", "rack=r2"]);
    assert!(error.contains("cannot be emptied"), "{error}");
    pan(&lab, &["drain", "--domain", "rack=r1", "--undo"]);
    assert!(racked().iter().all(|(state, _)| state == "alive"), "{:?}", racked());
}
