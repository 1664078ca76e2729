//! One fabric is cut, healed, then the other: a stream between two servers survives, and nothing is moved.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::Direction;
use pan_model::host::Fabric;
use story::{Beside, SOON, has, json, lab, server, str_of};

const PAIR: &str = "api: pan/v1\nkind: Partition\nname: pair\nspec: {network: 10.0.0.0/24, hostImage: allow}\n---\napi: pan/v1\nkind: Cluster\npartition: pair\nname: iperf\nspec:\n  servers: 2\n  image: host\n  command: [iperf3, -s]\n  spread: node\n  stop: {signal: KILL, grace: 1s}\n  health: {tcp: {port: 5201}, every: 60s}\n";

#[test]
fn a_stream_survives_the_loss_of_each_fabric() {
    let Some(lab) = lab() else { return };
    if !has("iperf3") {
        return;
    }
    story::apply(&lab, "pair.yaml", PAIR);
    let before = json(&lab, &["get", "server", "-p", "pair"]);
    let target = server(&lab, "pair", "iperf-2");
    let address = str_of(&target, "address").to_owned();
    let node = str_of(&target, "node").to_owned();
    let host = lab.host(&node).unwrap();
    let command = lab
        .pan_command(&["exec", "iperf-1", "-p", "pair", "--", "iperf3", "-c", &address, "-t", "12", "-i", "1", "-b", "50M", "-J"])
        .unwrap();
    let mut stream = Beside::start(&lab, command, "iperf.json");
    for (fabric, name) in [(Fabric::A, "a"), (Fabric::B, "b")] {
        lab.cut(host, Some(fabric), Direction::Both).unwrap();
        lab.wait_for("the link to be known as down", SOON, |lab| json(lab, &["get", "host", &node])["fabrics"][name] == "down").unwrap();
        lab.heal(host).unwrap();
        lab.wait_for("the link to be known as up", SOON, |lab| json(lab, &["get", "host", &node])["fabrics"][name] == "up").unwrap();
        assert!(stream.runs(), "the stream lasts longer than the cut of fabric {name}");
    }
    let report: serde_json::Value = serde_json::from_str(&stream.output()).unwrap();
    assert!(report["error"].is_null(), "{report}");
    for second in report["intervals"].as_array().unwrap() {
        assert!(second["sum"]["bytes"].as_f64().unwrap() > 0.0, "a second without a byte: {second}");
    }
    let after = json(&lab, &["get", "server", "-p", "pair"]);
    assert_eq!(after.as_array().unwrap().len(), before.as_array().unwrap().len());
    for (was, is) in before.as_array().unwrap().iter().zip(after.as_array().unwrap()) {
        assert_eq!((&was["node"], &was["epoch"]), (&is["node"], &is["epoch"]), "nothing moved");
    }
    let events = json(&lab, &["events", "-A"]);
    for name in ["a", "b"] {
        let names_it = |event: &&serde_json::Value| {
            event["reason"] == "LinkDown" && event["object"] == *node && str_of(event, "message").contains(&format!("fabric {name}"))
        };
        assert!(events.as_array().unwrap().iter().any(|event| names_it(&event)), "fabric {name}: {events}");
    }
}
