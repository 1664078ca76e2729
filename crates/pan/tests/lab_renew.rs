//! Certificates that last for seconds are renewed by their host while everything goes on, and a host that was removed is
//! nobody from that moment on.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::harness::{self, TestLab};
use pan_lab::{LabHost, LabSpec};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use story::{Beside, SOON, json, lab_of, pan, refused, str_of, text};

const ONE: &str = "api: pan/v1\nkind: Partition\nname: one\nspec: {network: 10.0.0.0/24, hostImage: allow}\n---\napi: pan/v1\nkind: Cluster\npartition: one\nname: web\nspec:\n  servers: 1\n  image: host\n  command: [sh, -c, 'while sleep 0.05; do echo line; done']\n  resources: {cpu: 100m, memory: 32MiB}\n  stop: {signal: KILL, grace: 1s}\n";
/// How long a certificate is good: renewed after twenty seconds.
const VALID: Duration = Duration::from_secs(30);

fn etc(lab: &TestLab, host: LabHost) -> PathBuf {
    lab.data().join("hosts").join(host.to_string()).join("etc")
}

/// The host's certificate on its disk: its number, and when it ends.
fn certificate(lab: &TestLab, host: LabHost) -> (u64, i64) {
    let pem = std::fs::read_to_string(etc(lab, host).join("tls/host.pem")).unwrap();
    let peer = pan_api::tls::peer_identity(&pan_api::tls::certificates(&pem).unwrap()[0]).unwrap();
    (peer.serial, peer.ends)
}

/// Boots a host from files that only `pan join` made.
fn join_anew(lab: &TestLab, host: LabHost) {
    let made = json(lab, &["token", "create", "--join", &host.to_string(), "--roles", "node"]);
    let file = lab.data().join("token");
    std::fs::write(&file, str_of(&made, "token")).unwrap();
    std::fs::remove_file(etc(lab, host).join("host.yaml")).unwrap();
    let last = 10 + host.ordinal();
    let (address, a, b) = (format!("10.200.0.{last}"), format!("fa=10.201.0.{last}/16"), format!("fb=10.202.0.{last}/16"));
    let mut argv = vec!["/var/lib/pan/bin/pan", "join", "https://10.201.0.1:7443", "--token-file", file.to_str().unwrap()];
    argv.extend(["--address", &address, "--fabric-a", &a, "--fabric-b", &b, "--cpu", "4", "--memory", "4GiB"]);
    argv.extend(["--hide", lab.data().to_str().unwrap()]);
    let output = lab.exec_in(host, &argv).unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    lab.kill(host).unwrap();
    lab.start(host).unwrap();
    let name = host.to_string();
    let alive = |lab: &TestLab| {
        let host = json(lab, &["get", "host"]);
        host.as_array().unwrap().iter().any(|one| one["name"] == *name && one["state"] == "alive")
    };
    lab.wait_for("it to be alive", SOON, alive).unwrap();
}

/// What a controller answers to a host that shows its certificate.
fn as_host(lab: &TestLab, host: LabHost) -> String {
    let tls = |name: &str| format!("/var/lib/pan/etc/tls/{name}");
    let body = format!("{{\"version\":{},\"host\":\"{host}\",\"request\":\"\"}}", pan_api::WIRE_VERSION);
    let (ca, cert, key) = (tls("ca.pem"), tls("host.pem"), tls("host.key"));
    let mut argv = vec!["curl", "-s", "-m", "5", "--cacert", &ca, "--cert", &cert, "--key", &key, "-H", "Content-Type: application/json"];
    argv.extend(["-d", &body, "https://10.201.0.1:7443/internal/v1/renew"]);
    text(&lab.exec_in(host, &argv).unwrap().stdout)
}

fn short_certificates(lab: &TestLab) {
    let c1 = lab.host("c1").unwrap();
    let config = etc(lab, c1).join("host.yaml");
    let before = std::fs::read_to_string(&config).unwrap();
    let after = before.replace("certificatesValid: 30d", &format!("certificatesValid: {}s", VALID.as_secs()));
    assert_ne!(before, after);
    std::fs::write(&config, after).unwrap();
    lab.kill(c1).unwrap();
    lab.start(c1).unwrap();
    lab.wait_ready(SOON).unwrap();
}

#[test]
fn certificates_are_renewed_while_all_goes_on_and_removal_ends_them() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 2, directors: 1, ..harness::spec().unwrap() }) else { return };
    short_certificates(&lab);
    let n1 = lab.host("n1").unwrap();
    join_anew(&lab, n1);
    pan(&lab, &["node", "cordon", "n2"]);
    story::apply(&lab, "one.yaml", ONE);
    let (first, first_ends) = certificate(&lab, n1);
    let pid = lab.role_pid(n1, "node").unwrap();
    let mut logs = Beside::start(&lab, lab.pan_command(&["logs", "web-1", "-p", "one", "-f"]).unwrap(), "follow.log");

    // Until the certificate with which it all began is over by seconds, and another renewal is behind it as well.
    let deadline = Instant::now() + VALID * 6;
    let mut asked = 0;
    while certificate(&lab, n1).0 < first + 2 || seconds_now() < first_ends + 3 {
        assert!(Instant::now() < deadline, "certificate {} is still there\n{}", certificate(&lab, n1).0, lab.logs());
        let host = json(&lab, &["get", "host", "n1"]);
        assert_eq!(host["state"], "alive", "{host}");
        assert_eq!(pan(&lab, &["exec", "web-1", "-p", "one", "--", "echo", "inside"]).trim(), "inside");
        asked += 1;
    }
    assert!(asked > 10, "asked only {asked} times");
    assert_eq!(lab.role_pid(n1, "node").unwrap(), pid, "the agent was not restarted");
    assert!(logs.runs(), "a stream goes on through renewals");
    drop(logs);
    assert!(pan(&lab, &["events", "-A"]).contains("CertificateRenewed"));
    assert_eq!(json(&lab, &["get", "server", "web-1", "-p", "one"])["epoch"], 1, "nothing was moved");

    assert!(refused(&lab, 1, &["host", "remove", "n1"]).contains("pan node drain n1"));
    assert!(refused(&lab, 1, &["host", "remove", "c1"]).contains("is a controller"));
    assert!(refused(&lab, 3, &["host", "remove", "n7"]).contains("n7"));
    pan(&lab, &["node", "uncordon", "n2"]);
    pan(&lab, &["node", "drain", "n1"]);
    assert!(as_host(&lab, n1).contains("signing request"), "it is let in: {}", as_host(&lab, n1));
    pan(&lab, &["host", "remove", "n1"]);
    let said = as_host(&lab, n1);
    assert!(said.contains("PAN-401") && said.contains("revoked"), "{said}");
    lab.wait_for("some rounds of its reports and hellos", SOON, |lab| {
        std::fs::read_to_string(lab.log(n1, "node")).unwrap_or_default().contains("takes no reports")
    })
    .unwrap();
    assert!(!pan(&lab, &["get", "host"]).contains("n1"), "it does not come back by itself");

    join_anew(&lab, n1);
    assert!(certificate(&lab, n1).0 > first + 2, "its numbers go on");
}

fn seconds_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
