//! The audit log as its readers have it: whole through the loss of a leader, checked on their side, told apart by partition.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::LabSpec;
use pan_lab::harness::{self, TestLab};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use story::{SOON, has, json, lab_of, pan, refused, str_of, text};

const WEB: &str = "
api: pan/v1
kind: Partition
name: PARTITION
spec: {network: 10.0.0.0/24, hostImage: allow}
---
api: pan/v1
kind: Cluster
partition: PARTITION
name: web
spec: {servers: 1, image: host, command: [sleep, inf], resources: {cpu: 50m, memory: 16MiB}, stop: {signal: KILL, grace: 1s}}
";

/// `pan` with a token of its own.
fn as_bearer(lab: &TestLab, token: &str, arguments: &[&str]) -> Output {
    let mut command = lab.pan_command(arguments).unwrap();
    command.env("PAN_TOKEN", token).output().unwrap()
}

fn words(lines: &Value) -> Vec<String> {
    let field = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let told = |line: &Value| ["principal", "verb", "kind", "name", "result"].map(|name| field(line, name)).join(" ");
    lines.as_array().unwrap().iter().map(told).collect()
}

#[test]
fn whoever_owns_a_partition_sees_what_was_done_in_it_and_can_check_that() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 2, directors: 1, ..harness::spec().unwrap() }) else { return };
    for partition in ["acme", "rival"] {
        story::apply(&lab, &format!("{partition}.yaml"), &WEB.replace("PARTITION", partition));
    }
    let made = json(&lab, &["token", "create", "--role", "administrator", "-p", "acme", "--for", "ann"]);
    let ann = str_of(&made, "token");
    let runs = |code: i32, arguments: &[&str]| {
        let output = as_bearer(&lab, ann, arguments);
        assert_eq!(output.status.code(), Some(code), "pan {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        format!("{}{}", text(&output.stdout), text(&output.stderr))
    };
    runs(0, &["scale", "cluster", "web", "2", "-p", "acme"]);
    runs(3, &["delete", "cluster", "web", "-p", "rival"]);
    runs(4, &["node", "drain", "n1"]);
    pan(&lab, &["restart", "web-1", "-p", "acme"]);

    let own: Value = serde_json::from_str(&runs(0, &["audit", "-o", "json"])).unwrap();
    let id = str_of(&made, "id");
    assert_eq!(
        words(&own),
        [
            "the provider apply partition acme created".to_owned(),
            "the provider apply cluster web created".to_owned(),
            format!("the provider create token {id} done"),
            "ann scale cluster web done".to_owned(),
            "ann delete cluster rival/web PAN-300".to_owned(),
            "ann drain node n1 PAN-401".to_owned(),
            "the provider restart server web-1 done".to_owned(),
        ]
    );
    // By name, all it hears is that there is none.
    let (hidden, absent) = (runs(3, &["audit", "-p", "rival"]), runs(3, &["audit", "-p", "river"]));
    assert_eq!(hidden.replace("rival", "X"), absent.replace("river", "X"));
    let whole = words(&json(&lab, &["audit"]));
    assert!(whole.contains(&"administrator restart server acme/web-1 done".to_owned()), "{whole:?}");
    assert!(!whole.iter().any(|line| line.starts_with("ann ")), "what partitions do is their own: {whole:?}");

    // Checked on this side, without trust in whoever keeps it.
    assert!(runs(0, &["audit", "--verify"]).contains("7 lines fit: 1 to 7"));
    let export = runs(0, &["audit", "-o", "jsonl"]);
    let file = story::write(&lab, "export.jsonl", &export);
    runs(0, &["scale", "cluster", "web", "1", "-p", "acme"]);
    assert!(runs(0, &["audit", "--verify", "--file", &file]).contains("8 lines fit: 1 to 8"), "the export, and what came after it");
    assert!(runs(0, &["audit", "--verify", "--file", &file, "--offline"]).contains("7 lines fit"));
    let forged = story::write(&lab, "forged.jsonl", &export.replace("rival/web", "other/web"));
    assert!(runs(1, &["audit", "--verify", "--file", &forged]).contains("line 5 "));
    let shorter: String = export.lines().filter(|line| !line.contains("\"verb\":\"scale\"")).map(|line| format!("{line}\n")).collect();
    let shorter = story::write(&lab, "shorter.jsonl", &shorter);
    assert!(runs(1, &["audit", "--verify", "--file", &shorter]).contains("line 5 stands where line 4 should"));
    // An export of another log is not the beginning of this one.
    let other = story::write(&lab, "other.jsonl", &pan(&lab, &["audit", "-p", "rival", "-o", "jsonl"]));
    assert!(runs(1, &["audit", "--verify", "--file", &other]).contains("was written anew"));
    assert_eq!(runs(0, &["audit", "--since", "1h"]).lines().count(), 9);
    with_other_tools(&export);
    longer_than_a_page(&lab);
}

/// One apply of many objects: a line for each where they are, and a number in the PAN's log.
fn longer_than_a_page(lab: &TestLab) {
    let cluster = |number: usize| {
        let spec = "{servers: 0, image: host, command: [sleep, inf], resources: {cpu: 50m, memory: 16MiB}}";
        format!("---\napi: pan/v1\nkind: Cluster\npartition: rival\nname: c{number}\nspec: {spec}\n")
    };
    let file = story::write(lab, "many.yaml", &(0..1100).map(cluster).collect::<String>());
    pan(lab, &["apply", "-f", &file]);
    assert!(pan(lab, &["audit", "-p", "rival", "--verify"]).contains("1102 lines fit: 1 to 1102"));
    assert_eq!(pan(lab, &["audit", "-p", "rival", "-o", "jsonl"]).lines().count(), 1102);
    assert_eq!(json(lab, &["audit", "-p", "rival"]).as_array().unwrap().len(), 1102);
    let whole = json(lab, &["audit"]);
    assert_eq!(whole.as_array().unwrap().last().unwrap()["detail"], "objects=1100");
}

/// The hash is of what `jq` prints: nobody needs `pan` to check it.
fn with_other_tools(export: &str) {
    if !has("jq") || !has("sha256sum") {
        return;
    }
    for line in export.lines() {
        let mut jq = Command::new("sh");
        jq.args(["-c", "jq -c 'del(.hash)' | tr -d '\\n' | sha256sum"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut jq = jq.spawn().unwrap();
        jq.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        let sum = text(&jq.wait_with_output().unwrap().stdout);
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(sum.split_whitespace().next(), line["hash"].as_str());
    }
}

/// Every change that was acknowledged has its line, whoever led when, and each log is one chain.
#[test]
fn no_line_is_lost_with_the_leader() {
    if !has("etcd") {
        return;
    }
    let Some(lab) = lab_of(|| LabSpec { controllers: 3, nodes: 1, directors: 1, ..harness::spec().unwrap() }) else { return };
    story::apply(&lab, "acme.yaml", &WEB.replace("PARTITION", "acme"));
    let mut done = Vec::new();
    for round in 0..3_u32 {
        for step in 0..5 {
            let label = format!("round=r{round}x{step}");
            let output = lab.pan(&["node", "label", "n1", &label]).unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            done.push(label);
        }
        let (term, leader) = story::leader(&lab);
        lab.kill_role(leader, "controller").unwrap();
        let label = format!("round=r{round}last");
        // Asked while nobody leads: whether it was done is not always known, and only what was acknowledged must be there.
        if lab.pan(&["node", "label", "n1", &label]).unwrap().status.success() {
            done.push(label);
        }
        lab.wait_for("another leader", SOON, |lab| story::leader(lab).0 > term).unwrap();
        refused(&lab, 3, &["token", "revoke", "0000000000000001"]);
    }
    lab.wait_for("all lines to be shown by whoever answers", SOON, |lab| {
        let lines = json(lab, &["audit"]);
        let told: Vec<&str> = lines.as_array().unwrap().iter().filter_map(|line| line["detail"].as_str()).collect();
        done.iter().all(|label| told.contains(&label.as_str()))
    })
    .unwrap();
    let lines = json(&lab, &["audit"]);
    let refusals = lines.as_array().unwrap().iter().filter(|line| line["result"] == "PAN-300").count();
    assert_eq!(refusals, 3, "{lines}");
    programs(&lab);
    for log in [&["audit", "--verify"][..], &["audit", "--verify", "-p", "acme"]] {
        assert!(pan(&lab, log).contains(" lines fit: 1 to "));
    }
}

/// Whichever controller passes on what a program says, the one that leads has written that it begins, and writes how it ends.
fn programs(lab: &TestLab) {
    story::wait_state(lab, "acme", "web-1", "running");
    let command = lab.pan_command(&[]).unwrap();
    let urls = command.get_envs().find_map(|(name, value)| value.filter(|_| name == "PAN_URL")).unwrap().to_str().unwrap().to_owned();
    assert_eq!(urls.split(',').count(), 3);
    let of_exec = |lab: &TestLab| {
        let lines = json(lab, &["audit", "-p", "acme"]);
        let all = lines.as_array().unwrap().iter().filter(|line| line["verb"] == "exec");
        all.map(|line| (line["result"].as_str().unwrap().to_owned(), line["detail"].as_str().unwrap().to_owned())).collect::<Vec<_>>()
    };
    for (at, url) in urls.split(',').enumerate() {
        let status = format!("exit 4{at}");
        let mut exec = lab.pan_command(&["exec", "web-1", "-p", "acme", "--", "sh", "-c", &status, "hush"]).unwrap();
        let output = exec.env("PAN_URL", url).output().unwrap();
        assert_eq!(output.status.code(), Some(40 + i32::try_from(at).unwrap()), "{url}: {}", text(&output.stderr));
        lab.wait_for("both lines", SOON, |lab| of_exec(lab).len() == 2 * (at + 1)).unwrap();
    }
    let told = of_exec(lab);
    for (at, pair) in told.chunks(2).enumerate() {
        let [(begun, program), (ended, how)] = pair else { panic!("{told:?}") };
        let run = program.split(' ').next().unwrap();
        assert_eq!((begun.as_str(), ended.as_str()), ("begun", "ended"), "{told:?}");
        assert_eq!(
            (program.as_str(), how.as_str()),
            (format!("{run} arguments=3 program=sh").as_str(), format!("{run} exit=4{at}").as_str())
        );
    }
    // Whoever goes away has the program killed.
    let mut exec = lab.pan_command(&["exec", "web-1", "-p", "acme", "--", "sleep", "inf"]).unwrap();
    let mut waits = exec.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    lab.wait_for("the program", SOON, |lab| of_exec(lab).len() == told.len() + 1).unwrap();
    waits.kill().unwrap();
    waits.wait().unwrap();
    lab.wait_for("its end", SOON, |lab| of_exec(lab).last().is_some_and(|(_, how)| how.ends_with(" caller-left"))).unwrap();
    let (own, whole) = (pan(lab, &["audit", "-p", "acme", "-o", "jsonl"]), pan(lab, &["audit", "-o", "jsonl"]));
    assert!(!own.contains("hush") && !whole.contains("hush"), "arguments may be secrets");
    assert!(whole.contains("acme/web-1"), "the PAN answers for what its own people do");
}
