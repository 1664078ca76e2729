//! A policy's window opens and closes under load, and nobody who asks the service notices; what contradicts it, and what the PAN could never have, is
//! refused before that.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use jiff::{SignedDuration, Timestamp};
use pan_lab::harness::TestLab;
use serde_json::Value;
use story::{SOON, ask, example, has, json, lab, pan, refused, requests, str_of, text, write, wrk};

const P: [&str; 2] = ["-p", "demo"];

fn policy(name: &str, fields: &str) -> String {
    format!(
        "api: pan/v1\nkind: Policy\npartition: demo\nname: {name}\nspec:\n  target: {{cluster: web}}\n  schedules:\n    - {{{fields}}}\n"
    )
}

/// From when until when, as clocks in UTC show it: whole seconds.
fn window(from: Timestamp, until: Timestamp) -> String {
    let shown = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    format!("from: {}, until: {}, zone: UTC", shown(from), shown(until))
}

fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at + SignedDuration::from_secs(seconds)
}

/// How long after a moment the cluster was told to have a number of servers, and how long until they ran.
fn reaches(lab: &TestLab, servers: u64, moment: Timestamp) -> (i64, i64) {
    let web = |lab: &TestLab| json(lab, &["get", "cluster", "web", P[0], P[1]]);
    lab.wait_for(&format!("{servers} servers"), SOON, |lab| {
        let web = web(lab);
        web["desired"] == servers && web["running"] == servers && web["state"] == "ready"
    })
    .unwrap();
    let running = Timestamp::now();
    let events: Vec<Value> = serde_json::from_value(json(lab, &["events", P[0], P[1]])).unwrap();
    let said = format!("{servers} servers instead of");
    let decided = events.iter().rfind(|event| event["reason"] == "Scheduled" && str_of(event, "message").starts_with(&said)).unwrap();
    let decided: Timestamp = str_of(decided, "time").parse().unwrap();
    let millis = |at: Timestamp| i64::try_from(at.duration_since(moment).as_millis()).unwrap();
    (millis(decided), millis(running))
}

#[test]
fn a_window_opens_and_closes_and_no_request_fails() {
    let Some(lab) = lab() else { return };
    if !has("wrk") || !has("nginx") {
        return;
    }
    story::apply(&lab, "demo.yaml", &example("demo.yaml").replace("servers: 3", "servers: 1"));
    assert!(ask(&lab).is_some());

    // Four nodes have no room for four servers that may not share one, and for the loss of one.
    let tuesday = policy("night", "cron: \"10 2 * * TUE\", zone: Europe/Berlin, for: 1h, floor: 4");
    let words = refused(&lab, 1, &["apply", "-f", &write(&lab, "night.yaml", &tuesday)]);
    let named = words.contains("night.yaml:8:7: from 20") && words.contains("T02:10:00+0") && words.contains("[Europe/Berlin] on: ");
    assert!(named && words.contains("PAN-200") && words.contains("demo/web-"), "{words}");

    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let (from, until) = (after(now, 8), after(now, 20));
    let load = wrk(&lab, 40, true);
    let soon = policy("soon", &format!("{}, floor: 3", window(from, until)));
    pan(&lab, &["apply", "-f", &write(&lab, "soon.yaml", &soon)]);
    let against = policy("against", &format!("{}, ceiling: 2", window(from, after(until, 60))));
    let words = refused(&lab, 1, &["apply", "-f", &write(&lab, "against.yaml", &against)]);
    assert!(words.contains("against.yaml:8:7: ceiling 2 contradicts floor 3 of policy soon, schedules[0], from "), "{words}");
    let outlook = json(&lab, &["policy", "forecast", P[0], P[1]]);
    let numbers: Vec<u64> = outlook.as_array().unwrap().iter().map(|row| row["servers"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 3, 1], "{outlook}");
    let then = json(&lab, &["policy", "simulate", "--at", &after(from, 1).to_string(), P[0], P[1]]);
    assert!(then[0]["servers"] == 3 && then[0]["own"] == 1 && then[0]["short"].is_null(), "{then}");

    let (decided, ran) = reaches(&lab, 3, from);
    println!("open: decided {decided} ms after the window's first instant, 3 servers run and are healthy after {ran} ms");
    assert!((0..2000).contains(&decided), "{decided} ms");
    let web = json(&lab, &["get", "cluster", "web", P[0], P[1]]);
    assert!(web["spec"]["servers"] == 1 && web["policies"][0] == "soon", "{web}");
    let why = pan(&lab, &["why", "cluster", "web", P[0], P[1]]);
    assert!(why.contains("floor 3 of policy soon, schedules[0], until ") && why.contains("decides the number of servers"), "{why}");
    assert!(pan(&lab, &["policy", "explain", "soon", P[0], P[1]]).contains("cluster web is to have 3 servers now: floor 3 of soon"));
    assert!(pan(&lab, &["policy", "list", P[0], P[1]]).contains("floor 3 until "));
    // The owner's manifest again, with the same number in it.
    let demo = example("demo.yaml").replace("servers: 3", "servers: 1");
    let again = pan(&lab, &["apply", "-f", &write(&lab, "again.yaml", &demo)]);
    assert!(again.contains("cluster demo/web unchanged"), "{again}");

    let (decided, gone) = reaches(&lab, 1, until);
    println!("closed: decided {decided} ms after the window's end, one server is left after {gone} ms");
    assert!((0..2000).contains(&decided), "{decided} ms");
    let report = load.output();
    let (answered, failed) = requests(&report);
    assert!(answered > 1000 && failed == 0, "{report}");
    let events = pan(&lab, &["events", P[0], P[1]]);
    assert!(["WindowOpened", "WindowClosed"].iter().all(|reason| events.matches(reason).count() == 1), "{events}");
    pan(&lab, &["delete", "policy", "soon", P[0], P[1]]);
    let left = lab.pan(&["get", "policy", P[0], P[1], "-o", "json"]).unwrap();
    assert_eq!(text(&left.stdout).trim(), "[]");
    let audit = pan(&lab, &["audit", P[0], P[1]]);
    assert!(audit.contains("policy") && audit.contains("soon"), "{audit}");
}
