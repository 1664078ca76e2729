//! Somebody with a token of one partition: what it can do, what it can see, and the end of it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::LabSpec;
use pan_lab::harness;
use serde_json::Value;
use story::person::Person;
use story::{Beside, json, lab_of, pan, str_of};

const TWO: &str = "
api: pan/v1
kind: Partition
name: PARTITION
spec: {network: 10.0.0.0/24, hostImage: allow}
---
api: pan/v1
kind: Cluster
partition: PARTITION
name: web
spec:
  servers: 1
  image: host
  command: [sleep, inf]
  resources: {cpu: 100m, memory: 32MiB}
  stop: {signal: KILL, grace: 1s}
";

#[test]
fn one_partition_is_all_there_is_for_whoever_has_a_token_of_it() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 2, directors: 1, ..harness::spec().unwrap() }) else { return };
    for partition in ["acme", "rival"] {
        story::apply(&lab, &format!("{partition}.yaml"), &TWO.replace("PARTITION", partition));
    }
    let operator = Person::new(&lab, "operator");
    // One who is not the PAN is not shown a token.
    let wrong = ["login", &operator.url, "--fingerprint", &"0".repeat(64), "--token-file", "/dev/null"];
    assert!(operator.runs(1, &wrong).contains("this is no token"));
    let made = operator.gets(&lab, &["--role", "operator", "-p", "acme", "--for", "ann", "--expires", "1h"]);
    let token = std::fs::read_to_string(operator.home.join("token")).unwrap();
    let config = std::fs::read_to_string(operator.home.join("pan/config.yaml")).unwrap();
    assert!(config.contains(&token) && config.contains("partition: acme"), "{}", config.replace(&token, "TOKEN"));
    assert!(!pan(&lab, &["token", "list", "-o", "yaml"]).contains(token.rsplit('_').next().unwrap()));

    let servers: Value = serde_json::from_str(&operator.runs(0, &["get", "server", "-A", "-o", "json"])).unwrap();
    assert_eq!(servers.as_array().unwrap().len(), 1, "{servers}");
    assert!(str_of(&servers[0], "node").starts_with("domain-"), "{servers}");
    assert_eq!(operator.runs(0, &["exec", "web-1", "--", "echo", "inside"]).trim(), "inside");
    operator.runs(0, &["scale", "cluster", "web", "2"]);
    let (hidden, absent) = (operator.runs(3, &["get", "server", "-p", "rival"]), operator.runs(3, &["get", "server", "-p", "river"]));
    assert_eq!(hidden.replace("rival", "X"), absent.replace("river", "X"));
    for denied in [&["get", "node"][..], &["node", "drain", "n1"], &["delete", "cluster", "web"], &["token", "list"], &["certify"]] {
        operator.runs(4, denied);
    }

    let watching = Beside::start(&lab, operator.command(&["get", "server", "-w", "-o", "json"]), "watch.log");
    lab.wait_for("the watch to begin", story::SOON, |lab| {
        std::fs::read_to_string(lab.data().join("watch.log")).is_ok_and(|text| text.contains("web-1"))
    })
    .unwrap();
    pan(&lab, &["token", "revoke", str_of(&made, "id")]);
    // What was begun with it ends by itself.
    let mut watching = watching;
    lab.wait_for("the watch to end", story::SOON, |_| !watching.runs()).unwrap();
    assert!(operator.runs(4, &["get", "server"]).contains("PAN-400"));

    // A partition's administrator lets others in there, and nowhere else.
    let administrator = Person::new(&lab, "administrator");
    administrator.gets(&lab, &["--role", "administrator", "-p", "acme"]);
    let listed = administrator.runs(0, &["token", "list"]);
    assert!(listed.contains("administrator") && !listed.contains("rival"), "{listed}");
    administrator.runs(0, &["token", "create", "--role", "monitor"]);
    administrator.runs(3, &["token", "create", "--role", "monitor", "-p", "rival"]);
    administrator.runs(4, &["token", "create", "--role", "pan-monitor"]);
    administrator.runs(4, &["token", "create", "--join", "n9", "--roles", "node"]);

    // They go with the partition: another one of that name is not theirs.
    pan(&lab, &["delete", "partition", "acme", "--cascade"]);
    lab.wait_for("its end", story::SOON, |lab| json(lab, &["get", "partition"]).as_array().is_some_and(|all| all.len() == 1)).unwrap();
    assert!(administrator.runs(4, &["get", "server"]).contains("PAN-400"));
    assert!(!pan(&lab, &["token", "list"]).contains("acme"));
}
