//! Directors stand in for each other while nobody is there to decide anything.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_api::metrics::read;
use pan_lab::harness::{self, TestLab};
use pan_lab::{LabHost, LabSpec};
use pan_model::host_config::DIRECTOR_METRICS_PORT;
use std::time::{Duration, Instant};
use story::{SOON, ask, example, has, json, lab_of, str_of, text};

/// What a director said once is believed for so long ([docs/decisions/0047]).
const BELIEVED: Duration = Duration::from_secs(3);
/// For how long nothing may happen: many times what it takes to be suspected.
const NOTHING_FOR: Duration = Duration::from_secs(2);

/// The demo, and the director that owns its address with the other one. Most lessors are storage hosts: leases outlive a controller and a
/// director.
fn demo() -> Option<(TestLab, LabHost, Other)> {
    let lab = lab_of(|| LabSpec { storage: 2, ..harness::spec().unwrap() })?;
    if !has("nginx") || !has("curl") {
        return None;
    }
    story::apply(&lab, "demo.yaml", &example("demo.yaml"));
    let owner = owner(&lab);
    let other = if owner == "d1" { "d2" } else { "d1" };
    // It hears heartbeats of whom it is to miss.
    let address = str_of(&json(&lab, &["get", "host", other]), "address").to_owned();
    let (owner, other) = (owner.parse().unwrap(), Other { host: other.parse().unwrap(), address });
    lab.wait_for("the other director to hear all hosts", SOON, |lab| {
        other.count(lab, "pan_director_heartbeats_received_total", None) > 100.0
    })
    .unwrap();
    Some((lab, owner, other))
}

/// The director that owns nothing yet.
struct Other {
    host: LabHost,
    address: String,
}

fn owner(lab: &TestLab) -> String {
    str_of(&json(lab, &["get", "service", "www", "-p", "demo"]), "director").to_owned()
}

impl Other {
    /// What it counts, asked from itself with the certificate of a controller, which may have no power.
    fn count(&self, lab: &TestLab, name: &str, result: Option<&str>) -> f64 {
        let tls = |file: &str| lab.data().join("hosts/c1/etc/tls").join(file).to_str().unwrap().to_owned();
        let url = format!("https://{}:{DIRECTOR_METRICS_PORT}/metrics", self.address);
        let (ca, cert, key) = (tls("ca.pem"), tls("host.pem"), tls("host.key"));
        let output = lab.exec_in(self.host, &["curl", "-sS", "-m", "5", "--cacert", &ca, "--cert", &cert, "--key", &key, &url]).unwrap();
        let samples = read(&text(&output.stdout)).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let fits = |labels: &std::collections::BTreeMap<String, String>| {
            result.is_none_or(|result| labels.get("result").is_some_and(|is| is == result))
        };
        samples.iter().filter(|sample| sample.name == name && fits(&sample.labels)).map(|sample| sample.number).sum()
    }
}

#[test]
fn addresses_go_on_being_answered_without_their_director_and_without_any_controller() {
    let Some((lab, owner, other)) = demo() else { return };
    let controller = lab.host("c1").unwrap();
    lab.kill(controller).unwrap();
    assert!(ask(&lab).is_some(), "without a controller");
    lab.kill(owner).unwrap();
    lab.wait_for("an answer by way of the other director", SOON, |lab| ask(lab).is_some()).unwrap();
    assert_eq!(other.count(&lab, "pan_director_stand_ins_total", Some("taken")), 1.0);
    // It is believed as long as it is repeated.
    let since = Instant::now();
    while since.elapsed() < BELIEVED * 2 {
        assert!(ask(&lab).is_some(), "{:?} later", since.elapsed());
    }

    // Whoever decides makes the successor the owner, and nobody notices.
    lab.start(controller).unwrap();
    lab.wait_ready(SOON).unwrap();
    let now = other.host.to_string();
    let moved = |lab: &TestLab| {
        assert!(ask(lab).is_some(), "while it is handed over");
        self::owner(lab) == now
    };
    lab.wait_for("the other director to own it", SOON, moved).unwrap();
    lab.start(owner).unwrap();
    story::pan(&lab, &["wait", "host", &owner.to_string(), "--for", "state=alive", "--timeout", "60s"]);
    assert!(ask(&lab).is_some(), "with both again");
    assert_eq!(self::owner(&lab), now);
}

/// A director's kernel serves without its programs: who takes a stall for a death would end the connections of its proxies.
#[test]
fn a_director_that_stands_still_and_answers_clients_is_left_alone() {
    let Some((lab, owner, other)) = demo() else { return };
    lab.kill(lab.host("c1").unwrap()).unwrap();
    lab.freeze(owner).unwrap();
    lab.wait_for("the other director to ask", SOON, |lab| other.count(lab, "pan_director_stand_ins_total", Some("answered")) > 0.0)
        .unwrap();
    let since = Instant::now();
    while since.elapsed() < NOTHING_FOR {
        assert!(ask(&lab).is_some(), "by the kernel of a director that stands still");
    }
    assert_eq!(other.count(&lab, "pan_director_stand_ins_total", Some("taken")), 0.0);
    lab.thaw(owner).unwrap();
}
