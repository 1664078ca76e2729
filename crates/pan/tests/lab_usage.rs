//! What a partition used is what the kernel counted, through the loss of an agent and a failover, and after its servers have ended.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::LabSpec;
use pan_lab::harness::{self, TestLab};
use serde_json::Value;
use std::time::{Duration, Instant};
use story::{SOON, json, lab_of, pan, server, str_of, text};

const BURNS: &str = "
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
  command: [sh, -c, 'while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.05; done']
  resources: {cpu: 500m, memory: 32MiB}
  stop: {signal: KILL, grace: 1s}
";

/// Usage is written once a minute.
const WRITTEN: Duration = Duration::from_secs(90);

/// Seconds of processor time of the server's control group on its node, whichever kind of control groups that has.
fn burnt(lab: &TestLab, partition: &str) -> f64 {
    let shown = server(lab, partition, "web-1");
    let Some(node) = shown["node"].as_str() else { return 0.0 };
    let file = format!(
        "cd /sys/fs/cgroup; f=panloom/{partition}.web-1; awk '/^usage_usec/ {{print $2 * 1000}}' $f/cpu.stat 2>/dev/null | grep . || \
         cat cpuacct/$f/cpuacct.usage 2>/dev/null || cat cpu,cpuacct/$f/cpuacct.usage"
    );
    let output = lab.exec(lab.host(node).unwrap(), &["sh", "-c", &file]).unwrap().output().unwrap();
    text(&output.stdout).trim().parse::<f64>().unwrap_or(0.0) / 1e9
}

fn burns(lab: &TestLab, seconds: f64) -> f64 {
    lab.wait_for(&format!("{seconds} s of processor time"), SOON, |lab| burnt(lab, "acme") >= seconds).unwrap();
    burnt(lab, "acme")
}

fn sum(rows: &Value, field: &str) -> f64 {
    rows.as_array().unwrap().iter().map(|row| row[field].as_f64().unwrap()).sum()
}

/// What is to be paid, once it is not less than was burnt; a tenth more is what was burnt between looking and stopping.
fn billed(lab: &TestLab, burnt: f64) -> Value {
    lab.wait_for("what was used to be written", WRITTEN, |lab| sum(&json(lab, &["usage", "-p", "acme"]), "cpuSeconds") >= burnt).unwrap();
    let rows = json(lab, &["usage", "-p", "acme"]);
    let billed = sum(&rows, "cpuSeconds");
    assert!(billed <= burnt * 1.1, "{billed} s are billed of {burnt} s: {rows}");
    rows
}

#[test]
fn what_is_billed_is_what_was_used() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 2, directors: 1, ..harness::spec().unwrap() }) else { return };
    for partition in ["acme", "rival"] {
        story::apply(&lab, &format!("{partition}.yaml"), &BURNS.replace("PARTITION", partition));
    }
    burns(&lab, 2.0);
    let node = lab.host(str_of(&server(&lab, "acme", "web-1"), "node")).unwrap();
    let old = lab.kill_role(node, "node").unwrap();
    lab.wait_for("a new agent", SOON, |lab| lab.role_pid(node, "node").is_ok_and(|pid| pid != old)).unwrap();
    let first = burns(&lab, 7.0);
    pan(&lab, &["stop", "web-1", "-p", "acme"]);
    billed(&lab, first);

    pan(&lab, &["start", "web-1", "-p", "acme"]);
    let second = burns(&lab, 4.0);
    pan(&lab, &["failover", "web-1", "-p", "acme"]);
    lab.wait_for("web-1 to run elsewhere", SOON, |lab| {
        let now = server(lab, "acme", "web-1");
        now["state"] == "running" && now["node"] != node.to_string().as_str()
    })
    .unwrap();
    let third = burns(&lab, 4.0);
    pan(&lab, &["delete", "cluster", "web", "-p", "acme"]);
    let rows = billed(&lab, first + second + third);
    assert!(sum(&rows, "memoryGibHours") > 0.0, "{rows}");
    shown(&lab);
}

#[test]
fn a_partition_with_a_limit_takes_no_more_than_its_servers_asked_for() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 1, directors: 1, ..harness::spec().unwrap() }) else { return };
    let greedy = BURNS.replace("sleep 0.05;", "").replace("500m", "200m").replace("PARTITION", "acme");
    let bound = greedy.replace("hostImage: allow}", "hostImage: allow, capacity: {max: {cpu: 200m, memory: 64MiB}}}");
    story::apply(&lab, "bound.yaml", &bound);
    let (from, began) = (burnt(&lab, "acme"), Instant::now());
    burns(&lab, from + 0.6);
    // Three seconds of a fifth of a processor; it takes six tenths of one where there is no limit and nobody else.
    assert!(began.elapsed() > Duration::from_millis(2400), "{:?}", began.elapsed());
}

/// Whoever has a role of the partition sees that, and nothing of another one or of hosts.
fn shown(lab: &TestLab) {
    let made = json(lab, &["token", "create", "--role", "monitor", "-p", "acme", "--for", "ann"]);
    let as_ann = |arguments: &[&str]| {
        let output = lab.pan_command(arguments).unwrap().env("PAN_TOKEN", str_of(&made, "token")).output().unwrap();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, own) = as_ann(&["usage", "-o", "json"]);
    assert!(code == Some(0) && own.contains("acme") && !own.contains("rival") && !own.contains("n1"), "{own}");
    assert_eq!(as_ann(&["usage", "-p", "rival"]).0, Some(3));
    let whole = pan(lab, &["usage", "-o", "csv", "--from", "2h"]);
    assert!(whole.contains(",acme,web,") && whole.contains(",rival,web,"), "{whole}");
    assert!(pan(lab, &["usage"]).starts_with("PARTITION"));
    let page = pan(lab, &["usage", "-o", "prometheus"]);
    assert!(pan_api::metrics::read(&page).unwrap().iter().any(|sample| sample.name == "pan_usage_cpu_seconds"), "{page}");
}
