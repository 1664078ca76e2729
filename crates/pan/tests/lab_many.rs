//! Two hundred servers on four nodes, and a controller that stays small.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use story::{json, lab, pan};

const MANY: &str = "api: pan/v1\nkind: Partition\nname: many\nspec: {network: 10.0.0.0/16, hostImage: allow}\n---\napi: pan/v1\nkind: Cluster\npartition: many\nname: idle\nspec:\n  servers: 200\n  image: host\n  command: [sleep, inf]\n  resources: {cpu: 10m, memory: 8MiB}\n  stop: {signal: KILL, grace: 1s}\n";

#[test]
fn two_hundred_servers_run_and_go() {
    let Some(lab) = lab() else { return };
    let file = story::write(&lab, "many.yaml", MANY);
    pan(&lab, &["apply", "-f", &file, "--wait=200s"]);
    let servers = json(&lab, &["get", "server", "-p", "many"]);
    assert_eq!(servers.as_array().unwrap().iter().filter(|server| server["state"] == "running").count(), 200);
    let addresses: std::collections::BTreeSet<_> = servers.as_array().unwrap().iter().map(|server| server["address"].to_string()).collect();
    assert_eq!(addresses.len(), 200);
    let pid = lab.role_pid(lab.host("c1").unwrap(), "controller").unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap();
    assert!(resident < 150 * 1024, "the controller takes {resident} KiB");
    pan(&lab, &["delete", "partition", "many", "--cascade"]);
    pan(&lab, &["wait", "partition", "many", "--for", "deleted", "--timeout", "200s"]);
}
