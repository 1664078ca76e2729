//! The owner of a partition cannot tell whether there are others: its day alone in a PAN, three times over, and its day beside a hostile,
//! busy, failing neighbour. What differs between days alone is a mask, each field with its reason; outside of it nothing may differ.
//!
//! `PAN_UNAWARE=DIR` keeps what was seen, to be read.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "unaware/inside.rs"]
mod inside;
#[path = "unaware/mask.rs"]
mod mask;
#[path = "unaware/neighbour.rs"]
mod neighbour;
mod story;
#[path = "unaware/transcript.rs"]
mod transcript;
#[path = "unaware/wire.rs"]
mod wire;

use inside::Capture;
use mask::Mask;
use neighbour::Neighbour;
use pan_lab::LabSpec;
use pan_lab::harness::{self, TestLab};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use story::person::Person;
use story::{Beside, SOON, has, lab_of, server, str_of, text};
use transcript::{Transcript, compare};

const MASK: &str = include_str!("unaware/mask.txt");
const OURS: &str = include_str!("unaware/ours.yaml");
/// Days alone: fields that differ now and then are found by more than two.
const DAYS: usize = 3;

/// What the owner has of the PAN's administrator.
const PARTITION: &str = "
api: pan/v1
kind: Partition
name: acme
spec:
  network: 10.0.0.0/24
  hostImage: allow
  capacity: {guaranteed: {cpu: 2, memory: 1GiB}, max: {cpu: 3, memory: 2GiB}}
  quota: {servers: 40, addresses: 2}
";

/// Things that go wrong in a day: each is refused, beside others for the same reasons as alone.
const MISTAKES: &[(&str, &[&str])] = &[
    ("hidden", &["get", "server", "-p", "rival", "-o", "json"]),
    ("absent", &["get", "server", "-p", "nobody", "-o", "json"]),
    ("hidden-one", &["get", "server", "web-1", "-p", "rival"]),
    ("hidden-exec", &["exec", "web-1", "-p", "rival", "--", "true"]),
    ("hidden-logs", &["logs", "web-1", "-p", "rival"]),
    ("hidden-events", &["events", "-p", "rival"]),
    ("hidden-token", &["token", "create", "--role", "monitor", "-p", "rival"]),
    ("hidden-delete", &["delete", "cluster", "web", "-p", "rival"]),
    ("nodes", &["get", "node", "-o", "json"]),
    ("hosts", &["host", "list"]),
    ("unknown", &["get", "cluster", "nothing", "-o", "json"]),
    ("drain", &["node", "drain", "n1"]),
    ("proof", &["certify"]),
    ("whatif", &["whatif", "--fail", "n1"]),
    ("why", &["why", "server", "web-1"]),
    ("why-import", &["why", "import", "theirs"]),
    ("too-many", &["scale", "cluster", "web", "25"]),
    ("beyond-quota", &["scale", "cluster", "web", "100"]),
    ("too-wide", &["scale", "cluster", "web", "9"]),
    ("role", &["token", "create", "--role", "pan-monitor"]),
    ("partition", &["delete", "partition", "acme", "--cascade"]),
    ("to-node", &["migrate", "web-1", "--to", "n3"]),
];

#[test]
fn days_are_told_apart() {
    mask::check();
    transcript::check();
    inside::check();
}

#[test]
fn a_day_beside_a_hostile_neighbour_is_a_day_alone() {
    if !["nginx", "tcpdump", "curl"].iter().all(|program| has(program)) {
        return;
    }
    let mask = Mask::read(MASK);
    let kept = |name: &str, day: Option<Transcript>| {
        if let (Some(folder), Some(day)) = (std::env::var_os("PAN_UNAWARE"), &day) {
            std::fs::write(std::path::Path::new(&folder).join(name), day.text()).unwrap();
        }
        day
    };
    let mut alone = Vec::new();
    for number in 0..DAYS {
        let Some(day) = kept(&format!("alone-{number}"), day(None)) else { return };
        alone.push(day);
    }
    let beside = kept("beside", day(Some(neighbour::begin))).unwrap();
    let verdict = compare(&alone, &beside, &mask);
    assert!(verdict.is_good(), "{}", verdict.text());
}

/// The owner's day in a PAN of its own, or beside somebody.
fn day(beside: Option<fn(&TestLab) -> Neighbour>) -> Option<Transcript> {
    let lab = lab_of(|| LabSpec { nodes: 4, directors: 1, storage: 0, ..harness::spec().unwrap() })?;
    let mut neighbour = beside.map(|begin| begin(&lab));
    story::apply(&lab, "partition.yaml", PARTITION);
    let owner = Person::new(&lab, "owner");
    let made = owner.gets(&lab, &["--role", "administrator", "-p", "acme", "--for", "ann"]);
    let mut day = Transcript::default();
    let token = str_of(&made, "id");
    day.note("token-backwards", &token.chars().rev().collect::<String>());
    day.call(token, "TOKEN");
    day.call(lab.data().to_str().unwrap(), "FOLDER");
    let file = story::write(&lab, "ours.yaml", OURS);
    says(&mut day, &owner, "apply", &["apply", "-f", &file, "--wait=60s", "-o", "json"]);
    says(&mut day, &owner, "again", &["apply", "-f", &file, "--wait=60s"]);
    look(&mut day, &owner, "morning");

    // Hours in which the owner changes nothing, and so nothing changes.
    let watch = Beside::start(&lab, owner.command(&["get", "service", "www", "-w", "-o", "json"]), "watch.log");
    let capture = Capture::start(&lab, "web-1");
    traffic(&mut day, &lab, "traffic");
    inside::look(&mut day, &owner, "inside");
    wire::ask(&mut day, &lab, &owner, "wire");
    watched(&mut day, &watch.stop(), "watch");

    works(&mut day, &lab, &owner);
    fails(&mut day, &lab, &owner);
    traffic(&mut day, &lab, "traffic-after");
    inside::look(&mut day, &owner, "inside-after");
    capture.end(&mut day, "frames");
    lab.wait_for("the ends of what was run inside to be told", SOON, |_| are_ends_told(&owner)).unwrap();
    look(&mut day, &owner, "evening");
    if let Some(neighbour) = &mut neighbour {
        neighbour.was_there(&lab);
    }
    Some(day)
}

/// The owner's own changes, and mistakes.
fn works(day: &mut Transcript, lab: &TestLab, owner: &Person) {
    says(day, owner, "grow", &["scale", "cluster", "web", "3"]);
    settled(owner);
    says(day, owner, "restart", &["restart", "web-3"]);
    settled(owner);
    for (step, words) in MISTAKES {
        says(day, owner, &format!("mistake-{step}"), words);
    }
    let broken = story::write(lab, "broken.yaml", &OURS.replace("servers: 2", "servers: two"));
    says(day, owner, "mistake-broken", &["apply", "-f", &broken]);
    let taken = story::write(lab, "taken.yaml", &OURS.replace("198.18.0.10", "198.18.0.250"));
    says(day, owner, "mistake-address", &["apply", "-f", &taken]);
}

/// Somebody else's power fails: the node of `web-2`.
fn fails(day: &mut Transcript, lab: &TestLab, owner: &Person) {
    let before = server(lab, "acme", "web-2");
    let node = lab.host(str_of(&before, "node")).unwrap();
    lab.kill(node).unwrap();
    lab.wait_for("web-2 elsewhere", SOON, |lab| server(lab, "acme", "web-2")["epoch"].as_u64() > before["epoch"].as_u64()).unwrap();
    settled(owner);
    lab.wait_for("the end of its timeline", SOON, |_| {
        let all: Value = serde_json::from_str(&owner.runs(0, &["timeline", "acme/web-2", "--all", "-o", "json"])).unwrap();
        all.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["finished"] == true))
    })
    .unwrap();
    says(day, owner, "timeline", &["timeline", "acme/web-2", "--all", "-o", "json"]);
}

/// A node tells that something it ran has ended after whoever asked for it was answered.
fn are_ends_told(owner: &Person) -> bool {
    let all: Value = serde_json::from_str(&owner.runs(0, &["audit", "-o", "json"])).unwrap();
    let runs = |ended: bool| {
        let of = all.as_array().into_iter().flatten().filter(move |entry| !ended || entry["result"] == "ended");
        let run = |entry: &Value| entry["detail"].as_str()?.split(' ').find(|word| word.starts_with("run=")).map(str::to_owned);
        of.filter_map(run).collect::<BTreeSet<_>>()
    };
    runs(true) == runs(false)
}

fn settled(owner: &Person) {
    for name in ["web-1", "web-2", "web-3"] {
        owner.runs(0, &["wait", "server", name, "--for", "state=running", "--timeout", "60s"]);
    }
    owner.runs(0, &["wait", "service", "www", "--for", "ready", "--timeout", "60s"]);
}

fn says(day: &mut Transcript, owner: &Person, step: &str, words: &[&str]) {
    let (code, said) = owner.says(words);
    day.note(&format!("{step}-code"), &format!("{code:?}"));
    day.note(step, &said);
}

/// Everything that can be listed.
fn look(day: &mut Transcript, owner: &Person, when: &str) {
    for kind in ["partition", "cluster", "server", "service", "import", "volume"] {
        says(day, owner, &format!("{when}-{kind}"), &["get", kind, "-o", "json"]);
    }
    let events: Value = serde_json::from_str(&owner.runs(0, &["events", "-o", "json"])).unwrap();
    day.note(&format!("{when}-events"), &by_object(&events).to_string());
    says(day, owner, &format!("{when}-audit"), &["audit", "-o", "json"]);
    says(day, owner, &format!("{when}-tokens"), &["token", "list", "-o", "json"]);
    says(day, owner, &format!("{when}-usage"), &["usage", "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-02T00:00:00Z", "-o", "json"]);
    says(day, owner, &format!("{when}-logs"), &["logs", "web-1"]);
}

/// Two servers that start together do so in any order: events are told by object. Whether it is told that one runs is by chance, too: it is
/// not if its node says at once that it is healthy.
fn by_object(events: &Value) -> Value {
    let mut objects = Map::new();
    let mut numbers = Vec::new();
    for event in events.as_array().unwrap() {
        let mut event = event.clone();
        numbers.extend(event.as_object_mut().unwrap().remove("number").and_then(|number| number.as_u64()));
        if event["reason"] == "Running" {
            continue;
        }
        let object = format!("{} {}", str_of(&event, "kind"), str_of(&event, "object"));
        objects.entry(object).or_insert_with(|| Value::Array(Vec::new())).as_array_mut().unwrap().push(event);
    }
    let counted = numbers.iter().copied().eq(1..=events.as_array().unwrap().len() as u64);
    objects.insert("counted from 1 without a gap".to_owned(), counted.into());
    objects.into()
}

/// The states that a watch showed. How often a line came that counts connections is by chance.
fn watched(day: &mut Transcript, lines: &str, step: &str) {
    let states: BTreeSet<String> = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| {
            let backends = line["object"]["backends"].as_array().unwrap().iter().map(|one| format!("{} {}", one["server"], one["state"]));
            format!("{} {:?}\n", line["object"]["state"], backends.collect::<Vec<_>>())
        })
        .collect();
    assert!(!states.is_empty(), "nothing was watched: {lines}");
    day.note(step, &states.into_iter().collect::<String>());
}

/// Who answers, out of many requests.
fn traffic(day: &mut Transcript, lab: &TestLab, step: &str) {
    let script = "for i in $(seq 80); do curl -s -m 5 http://198.18.0.10/ || echo nobody; done";
    let output = lab.exec_outside(&["sh", "-c", script]).unwrap();
    let all = text(&output.stdout);
    let who: BTreeSet<&str> = all.lines().filter_map(|line| line.split_whitespace().next()).collect();
    day.note(step, &format!("{} answers from {who:?}", all.lines().count()));
}
