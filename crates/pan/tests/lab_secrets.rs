//! No secret is in an argument list, an environment, a log or an event: a laboratory is lived in, then searched.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::LabSpec;
use pan_lab::harness::{self, TestLab};
use std::collections::BTreeMap;
use std::path::Path;
use story::{SOON, json, lab_of, pan, refused, str_of};

/// What must be nowhere: every key on the lab's hosts, by what it is. Of PEM, a line from its middle.
fn secrets(lab: &TestLab) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![lab.data().join("pki")];
    folders.extend(std::fs::read_dir(lab.data().join("hosts")).unwrap().map(|entry| entry.unwrap().path().join("etc")));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let secret = path.extension().is_some_and(|extension| extension == "key" || extension == "token");
            let Some(text) = secret.then(|| std::fs::read_to_string(&path).unwrap()) else { continue };
            let part = if text.contains("-----BEGIN") { text.lines().nth(1).unwrap() } else { text.lines().next().unwrap() };
            assert!(part.len() >= 40, "{} is too short to be told apart", path.display());
            all.insert(path.strip_prefix(lab.data()).unwrap().display().to_string(), part.to_owned());
        }
    }
    all
}

/// Arguments and environment of every process of the lab.
fn processes(lab: &TestLab) -> BTreeMap<String, Vec<u8>> {
    let mark = format!("PAN_LAB={}\0", lab.name());
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Processes end while they are looked at.
        let Ok(environ) = std::fs::read(entry.path().join("environ")) else { continue };
        if contains(&environ, mark.as_bytes()) {
            let cmdline = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            all.insert(format!("environment of process {pid}"), environ);
            all.insert(format!("arguments of process {pid}"), cmdline);
        }
    }
    all
}

fn logs(folder: &Path, all: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let log = entry.unwrap().path().join("log");
        for file in std::fs::read_dir(&log).into_iter().flatten() {
            let path = file.unwrap().path();
            all.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[test]
fn secrets_are_in_their_files_and_nowhere_else() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 1, storage: 1, directors: 1, ..harness::spec().unwrap() }) else { return };
    let made = json(&lab, &["token", "create", "--join", "n8", "--roles", "node"]);
    let token: pan_api::token::JoinToken = str_of(&made, "token").parse().unwrap();
    // An attempt that is refused leaves its traces in logs as well.
    let (n1, file) = (lab.host("n1").unwrap(), lab.data().join("token"));
    std::fs::write(&file, token.text()).unwrap();
    let mut argv = vec!["/var/lib/pan/bin/pan", "join", "https://10.201.0.1:7443", "-v", "--token-file", file.to_str().unwrap()];
    argv.extend([
        "--data",
        "/var/lib/pan/x",
        "--address",
        "10.200.0.99",
        "--fabric-a",
        "fa=10.201.0.99/16",
        "--fabric-b",
        "fb=10.202.0.99/16",
    ]);
    let output = lab.exec_in(n1, &argv).unwrap();
    assert_eq!(output.status.code(), Some(4), "it is another host's token");
    lab.agent_restarts(n1);
    refused(&lab, 3, &["token", "revoke", "0000000000000001"]);

    let mut canaries = secrets(&lab);
    let kinds = |name: &str| canaries.keys().filter(|path| path.ends_with(name)).count();
    for (name, count) in [("host.key", 4), ("beat.key", 4), ("authority.key", 1), ("ca.key", 1), ("root.key", 2), ("admin.token", 1)] {
        assert_eq!(kinds(name), count, "{name} in {:?}", canaries.keys());
    }
    let secret: String = token.secret.iter().map(|byte| format!("{byte:02x}")).collect();
    canaries.insert("the join token".into(), secret);

    let mut places = processes(&lab);
    assert!(places.len() > 20, "a lab has more processes than {:?}", places.keys());
    logs(&lab.data().join("hosts"), &mut places);
    places.insert("what pan join said".into(), [output.stdout, output.stderr].concat());
    for command in [&["events", "-A", "-o", "json"][..], &["get", "token", "-o", "json"], &["get", "host", "-o", "json"]] {
        places.insert(format!("pan {command:?}"), pan(&lab, command).into_bytes());
    }
    // The search finds what is there.
    places.insert("a place with a secret".into(), format!("x{}x", canaries["the join token"]).into_bytes());
    let mut found = Vec::new();
    for (place, text) in &places {
        found.extend(canaries.iter().filter(|(_, secret)| contains(text, secret.as_bytes())).map(|(name, _)| format!("{name} in {place}")));
    }
    assert_eq!(found, ["the join token in a place with a secret"]);
}

/// Makes a role come up anew, with all that it logs then.
trait Restarts {
    fn agent_restarts(&self, host: pan_lab::LabHost);
}

impl Restarts for TestLab {
    fn agent_restarts(&self, host: pan_lab::LabHost) {
        let pid = self.role_pid(host, "node").unwrap();
        self.kill_role(host, "node").unwrap();
        self.wait_for("the agent to be started again", SOON, |lab| lab.role_pid(host, "node").is_ok_and(|now| now != pid)).unwrap();
    }
}
