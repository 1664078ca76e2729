//! No secret is in an argument list, an environment, a log, an event, an audit log, or a file that anybody may read: a laboratory is lived in, then
//! searched.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::LabSpec;
use pan_lab::harness::{self, TestLab};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use story::{SOON, has, json, lab_of, pan, refused, str_of};

/// What must be nowhere: every key on the disks of the lab's hosts and in their `/run/pan`, by what it is and when it was looked for. Of PEM, a line
/// from its middle; of a file with keys of several periods, each.
fn secrets(lab: &TestLab, when: &str) -> BTreeMap<String, String> {
    let mut all = running(lab, when);
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
            let parts: Vec<&str> = if text.contains("-----BEGIN") { vec![text.lines().nth(1).unwrap()] } else { text.lines().collect() };
            assert!(!parts.is_empty() && parts.iter().all(|part| part.len() >= 40), "{} is too short to be told apart", path.display());
            let name = path.strip_prefix(lab.data()).unwrap().display().to_string();
            all.extend(parts.into_iter().enumerate().map(|(at, part)| (format!("{when} {at} {name}"), part.to_owned())));
        }
    }
    all
}

/// Keys as processes look for them.
fn running(lab: &TestLab, when: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for host in hosts(lab) {
        // The keys that capabilities are checked with are public.
        let script = "find /run/pan -name '*.key' -exec sed 's|^|{} |' {} \\; 2>/dev/null; true";
        let output = lab.exec_in(host.parse().unwrap(), &["sh", "-c", script]).unwrap();
        for (at, line) in story::text(&output.stdout).lines().enumerate() {
            let (path, key) = line.split_once(' ').unwrap();
            assert_eq!(key.len(), 64, "{path} on {host} holds something else than keys");
            all.insert(format!("{when} {at} {host}:{path}"), key.to_owned());
        }
    }
    all
}

/// The hosts of the PAN and of its store.
fn hosts(lab: &TestLab) -> Vec<String> {
    let names = lab.hosts().unwrap().into_iter().map(|host| host.name.to_string());
    names.filter(|name| name != "outside").collect()
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

/// Horspool's search (Softw. Pract. Exper. 10, 1980): places have megabytes, and secrets are long.
fn contains(text: &[u8], part: &[u8]) -> bool {
    let Some((last, before)) = part.split_last() else { return true };
    let mut skip = [part.len(); 256];
    for (at, byte) in before.iter().enumerate() {
        skip[usize::from(*byte)] = before.len() - at;
    }
    let mut at = 0;
    while let Some(end) = text.get(at + before.len()) {
        if end == last && text[at..].starts_with(before) {
            return true;
        }
        at += skip[usize::from(*end)];
    }
    false
}

/// Whatever a stranger who has an account on a host can read there of the PAN, but for programs.
fn open_files(lab: &TestLab, host: &str) -> Vec<u8> {
    let find = "find /var/lib/pan /run /dev/shm -type f -readable -size -1024k -exec cat {} + 2>/dev/null; true";
    let argv = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", find];
    let host = host.parse().unwrap();
    lab.exec_in(host, &["sh", "-c", "echo may-be-read >/run/open; chmod 644 /run/open; echo may-not-be >/run/shut; chmod 600 /run/shut"])
        .unwrap();
    let open = lab.exec_in(host, &argv).unwrap().stdout;
    assert!(contains(&open, b"may-be-read") && !contains(&open, b"may-not-be"), "{host} was not searched as a stranger would");
    open
}

/// What a tenant tells its servers, in the ways that there are.
const TENANT: &str = "
api: pan/v1
kind: Partition
name: acme
spec: {network: 10.0.0.0/24, hostImage: allow}
---
api: pan/v1
kind: Cluster
partition: acme
name: web
spec:
  servers: 1
  image: host
  command: [sleep, inf]
  env: {DB_PASSWORD: ENVIRONMENT}
  files: [{path: /etc/app/secret, content: FILE}]
  resources: {cpu: 100m, memory: 32MiB}
  stop: {signal: KILL, grace: 1s}
---
api: pan/v1
kind: Service
partition: acme
name: shop
spec: {port: 443, layer: 7, cluster: web, tls: {cert: PEM_OF_CERT, key: PEM_OF_KEY}}
";

/// A text that is nowhere by chance.
fn canary(of: &str) -> String {
    format!("canary-{of}-{:x}-0123456789abcdef0123456789abcdef", std::process::id())
}

#[test]
fn what_is_there_is_found() {
    let places: [(&[u8], bool); 6] =
        [(b"xabcabd", true), (b"abcabd", true), (b"abcab", false), (b"abcabcabd!", true), (b"", false), (b"abcabeabcabx", false)];
    for (text, there) in places {
        assert_eq!(contains(text, b"abcabd"), there, "{text:?}");
    }
}

#[test]
fn secrets_are_in_their_files_and_nowhere_else() {
    if !has("etcd") {
        return;
    }
    let Some(lab) = lab_of(|| LabSpec { controllers: 3, nodes: 1, storage: 1, directors: 1, ..harness::spec().unwrap() }) else { return };
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
    // A tenant has secrets as well, and its administrator has a token with which it does something, and is refused something.
    let tenant = [("the environment of a server", canary("env")), ("a file of a server", canary("file"))];
    let identity = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    let (cert, key) = (identity.cert.pem(), identity.signing_key.serialize_pem());
    let text = TENANT.replace("ENVIRONMENT", &tenant[0].1).replace("FILE", &tenant[1].1);
    let text = text.replace("PEM_OF_CERT", &format!("{cert:?}")).replace("PEM_OF_KEY", &format!("{key:?}"));
    std::fs::write(lab.data().join("tenant.yaml"), text).unwrap();
    pan(&lab, &["apply", "-f", lab.data().join("tenant.yaml").to_str().unwrap()]);
    // Its refusals speak of texts that cannot be read.
    let wrong = TENANT.replace("PEM_OF_CERT", &format!("{key:?}")).replace("PEM_OF_KEY", &format!("{key:?}"));
    std::fs::write(lab.data().join("wrong.yaml"), wrong).unwrap();
    let wrong = refused(&lab, 1, &["apply", "-f", lab.data().join("wrong.yaml").to_str().unwrap()]);
    assert!(wrong.contains("no certificate in it"), "{wrong}");
    let made = json(&lab, &["token", "create", "--role", "administrator", "-p", "acme"]);
    let access = pan_api::token::AccessToken::read(str_of(&made, "token")).unwrap();
    for (arguments, done) in [(["restart", "web-1", "-p", "acme"], true), (["node", "cordon", "n1", "-v"], false)] {
        let mut command = lab.pan_command(&arguments).unwrap();
        assert_eq!(command.env("PAN_TOKEN", access.text()).output().unwrap().status.success(), done, "{arguments:?}");
    }
    lab.agent_restarts(n1);
    story::wait_state(&lab, "acme", "web-1", "running");
    refused(&lab, 3, &["token", "revoke", "0000000000000001"]);

    // Keys come and go with their periods, and those that have gone were secret as well.
    let mut canaries = secrets(&lab, "first");
    let kinds = |name: &str| canaries.keys().filter(|path| path.ends_with(name)).count();
    for (name, count) in [("host.key", 9), ("etc/beat.key", 6), ("authority.key", 3), ("ca.key", 1), ("root.key", 4), ("admin.token", 1)] {
        assert_eq!(kinds(name), count, "{name} in {:?}", canaries.keys());
    }
    pan(&lab, &["key", "rotate"]);
    lab.wait_for("the new keys to be used", SOON, |lab| pan(lab, &["events", "-A", "-o", "json"]).contains("KeysRotated")).unwrap();
    lab.wait_for("every host to have them", SOON, |lab| secrets(lab, "second").keys().filter(|path| path.contains(" 1 ")).count() > 6)
        .unwrap();
    let (before, fresh) = (canaries.values().cloned().collect::<BTreeSet<_>>(), secrets(&lab, "second"));
    let new = fresh.iter().filter(|(_, key)| !before.contains(*key));
    let places: BTreeSet<&str> = new.map(|(path, _)| path.rsplit_once('/').unwrap().0.rsplit_once(' ').unwrap().1).collect();
    assert!(places.iter().any(|place| place.ends_with(":/run/pan")) && places.iter().any(|place| place.ends_with("/etc")), "{places:?}");
    canaries.extend(fresh);
    let digits = |secret: &[u8]| secret.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    canaries.insert("the join token".into(), digits(&token.secret));
    canaries.insert("the access token".into(), digits(&access.secret));
    canaries.extend(tenant.map(|(name, secret)| (name.to_owned(), secret)));
    canaries.insert("the key of a service".into(), key.lines().nth(1).unwrap().to_owned());

    let mut places = processes(&lab);
    assert!(places.len() > 20, "a lab has more processes than {:?}", places.keys());
    logs(&lab.data().join("hosts"), &mut places);
    places.insert("a refused manifest".into(), wrong.into_bytes());
    places.insert("what pan join said".into(), [output.stdout, output.stderr].concat());
    let audits = [&["audit", "-o", "json"][..], &["audit", "-p", "acme", "-o", "json"]];
    let others = [
        &["events", "-A", "-o", "json"][..],
        &["get", "token", "-o", "json"],
        &["get", "host", "-o", "json"],
        &["get", "server", "-A", "-o", "json"],
        &["get", "service", "-A", "-o", "json"],
        &["get", "service", "shop", "-p", "acme", "-o", "yaml"],
        &["why", "service", "shop", "-p", "acme", "-o", "json"],
    ];
    for command in audits.into_iter().chain(others) {
        places.insert(format!("pan {command:?}"), pan(&lab, command).into_bytes());
    }
    for host in hosts(&lab) {
        places.insert(format!("a file on {host} that anybody may read"), open_files(&lab, &host));
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
