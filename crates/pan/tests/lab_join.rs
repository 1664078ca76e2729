//! A machine becomes a host with a token, once, and without one not at all.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::harness::{self, TestLab};
use pan_lab::{LabHost, LabSpec};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use story::{SOON, json, lab_of, pan, refused, server, str_of, text, write};

const ONE: &str = "api: pan/v1\nkind: Partition\nname: one\nspec: {network: 10.0.0.0/24, hostImage: allow}\n---\napi: pan/v1\nkind: Cluster\npartition: one\nname: web\nspec:\n  servers: 1\n  image: host\n  command: [sleep, inf]\n  resources: {cpu: 100m, memory: 32MiB}\n  stop: {signal: KILL, grace: 1s}\n";
/// Where a lab's host keeps its state, as it sees it itself.
const STATE: &str = "/var/lib/pan";

/// A fresh token in a file; gives its id, and where it is.
fn token(lab: &TestLab, host: &str, roles: &str, expires: &str) -> (String, PathBuf) {
    let made = json(lab, &["token", "create", "--join", host, "--roles", roles, "--expires", expires]);
    let path = lab.data().join(format!("token-{}", str_of(&made, "id")));
    std::fs::write(&path, str_of(&made, "token")).unwrap();
    (str_of(&made, "id").to_owned(), path)
}

/// `pan join` in a lab's host, which has the addresses of `as_host`'s configuration.
fn join(lab: &TestLab, host: LabHost, token: &Path, data: &str, more: &[&str]) -> Output {
    let [address, a, b] = ["10.200.0", "10.201.0", "10.202.0"].map(|net| format!("{net}.{}", 10 + host.ordinal()));
    let (a, b) = (format!("fa={a}/16"), format!("fb={b}/16"));
    let exe = format!("{STATE}/bin/pan");
    let hide = lab.data().to_str().unwrap();
    let mut argv = vec![exe.as_str(), "join", "https://10.201.0.1:7443", "--token-file", token.to_str().unwrap(), "--data", data];
    argv.extend(["--address", &address, "--fabric-a", &a, "--fabric-b", &b, "--cpu", "4", "--memory", "4GiB", "--hide", hide]);
    argv.extend(more);
    lab.exec_in(host, &argv).unwrap()
}

fn says(output: &Output, code: i32) -> String {
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn etc(lab: &TestLab, host: LabHost) -> PathBuf {
    lab.data().join("hosts").join(host.to_string()).join("etc")
}

/// Every file below a folder, with its mode.
fn files(dir: &Path) -> Vec<(String, u32)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            all.extend(files(&entry.path()).into_iter().map(|(name, mode)| (format!("{}/{name}", entry.file_name().display()), mode)));
        } else {
            all.push((entry.file_name().display().to_string(), meta.permissions().mode() & 0o777));
        }
    }
    all.sort();
    all
}

#[test]
fn a_machine_becomes_a_host_with_a_token_and_works() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 1, directors: 1, ..harness::spec().unwrap() }) else { return };
    let n1 = lab.host("n1").unwrap();

    // Nothing but the program is left of what made it a host.
    let before = files(&etc(&lab, n1));
    let old_cert = std::fs::read_to_string(etc(&lab, n1).join("tls/host.pem")).unwrap();
    for entry in std::fs::read_dir(etc(&lab, n1)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    let (id, file) = token(&lab, "n1", "node", "10m");
    let listed = json(&lab, &["token", "list"]);
    assert_eq!((str_of(&listed[0], "id"), str_of(&listed[0], "state")), (id.as_str(), "unused"));
    let secret = std::fs::read_to_string(&file).unwrap();
    let secret = secret.split('_').nth(3).unwrap();
    assert!(!listed.to_string().contains(secret), "a token is shown once");

    says(&join(&lab, n1, &file, STATE, &[]), 0);
    let made = files(&etc(&lab, n1));
    assert_eq!(made.iter().map(|(name, _)| name).collect::<Vec<_>>(), before.iter().map(|(name, _)| name).collect::<Vec<_>>());
    assert!(made.iter().all(|(_, mode)| *mode == 0o600), "{made:?}");
    assert_ne!(std::fs::read_to_string(etc(&lab, n1).join("tls/host.pem")).unwrap(), old_cert);
    assert_eq!(str_of(&json(&lab, &["get", "token", &id]), "state"), "used");

    // It boots from nothing else, and is a node like any other.
    lab.kill(n1).unwrap();
    lab.wait_for("its death", SOON, |lab| json(lab, &["get", "host", "n1"])["state"] == "dead").unwrap();
    lab.start(n1).unwrap();
    lab.wait_for("its return", SOON, |lab| json(lab, &["get", "host", "n1"])["state"] == "alive").unwrap();
    story::apply(&lab, "one.yaml", ONE);
    assert_eq!(str_of(&server(&lab, "one", "web-1"), "node"), "n1");
    assert_eq!(pan(&lab, &["exec", "web-1", "-p", "one", "--", "echo", "inside"]).trim(), "inside");

    let said = says(&join(&lab, n1, &file, STATE, &[]), 1);
    assert!(said.contains("is a host already"), "{said}");
}

#[test]
fn nobody_joins_without_a_token_that_is_good_for_it() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 2, directors: 1, ..harness::spec().unwrap() }) else { return };
    let n2 = lab.host("n2").unwrap();
    let elsewhere = format!("{STATE}/elsewhere");
    let refusal = |file: &Path, more: &[&str]| {
        let said = says(&join(&lab, n2, file, &elsewhere, more), 4);
        let left = lab.exec_in(n2, &["find", &elsewhere, "-type", "f"]).unwrap();
        assert_eq!(text(&left.stdout), "", "nothing is left of an attempt that was refused");
        said
    };
    let (_, for_n2) = token(&lab, "n2", "node", "10m");
    let wrong_name = refusal(&for_n2, &["--name", "n1"]);
    assert!(wrong_name.contains("asked to become host n1"), "{wrong_name}");
    // What was asked for is no secret.
    let wrong_name = wrong_name.replace("host n1)", "host n2)");
    let (_, over) = token(&lab, "n2", "node", "1ms");
    let expired = refusal(&over, &[]);
    let (revoked, file) = token(&lab, "n2", "node", "10m");
    pan(&lab, &["token", "revoke", &revoked]);
    let revoked = refusal(&file, &[]);
    let whole = std::fs::read_to_string(&for_n2).unwrap();
    let parts: Vec<&str> = whole.split('_').collect();
    let with = |at: usize| {
        let mut parts = parts.clone();
        let turned = parts[at].replace(['0', '1', '2', '3'], "e");
        parts[at] = &turned;
        PathBuf::from(write(&lab, "forged", &parts.join("_")))
    };
    let forged = refusal(&with(3), &[]);
    let stranger = refusal(&with(4), &[]);
    assert!(stranger.contains("not the one that is trusted") && stranger.contains("nothing was sent"), "{stranger}");

    // Used once, it is good for nobody else. Its answer could have been lost, so the same key may ask again.
    says(&join(&lab, n2, &for_n2, &format!("{STATE}/first"), &[]), 0);
    let used = refusal(&for_n2, &[]);
    for said in [&expired, &revoked, &forged, &used] {
        assert_eq!(*said, wrong_name, "a refusal must not tell what was right about it");
    }
    assert!(wrong_name.contains("PAN-400") && wrong_name.contains("pan token create"), "{wrong_name}");

    // Addresses of others are theirs.
    let (_, file) = token(&lab, "n9", "node", "10m");
    let said = says(&join(&lab, n2, &file, &elsewhere, &["--name", "n9"]), 1);
    assert!(said.contains("belongs to host n2"), "{said}");
    refused(&lab, 1, &["token", "create", "--join", "c9", "--roles", "controller"]);
    refused(&lab, 2, &["token", "create"]);
    assert_eq!(pan(&lab, &["get", "host", "-o", "json"]).matches("\"name\": \"n").count(), 2);
}
