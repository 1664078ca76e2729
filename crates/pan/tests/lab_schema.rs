//! The interface does what its description says, whatever is asked of it: a program that makes requests out of `docs/openapi.json` finds no failure of
//! the server, no status that is not described and no answer of another shape; and the PAN works on.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::LabSpec;
use pan_lab::harness::{self, TestLab};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use story::person::Person;
use story::{json, lab_of, pan, repository, str_of, text};

/// What there is to be asked about.
const OBJECTS: &str = "
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
  resources: {cpu: 100m, memory: 32MiB}
  stop: {signal: KILL, grace: 1s}
---
api: pan/v1
kind: Service
partition: acme
name: www
spec: {address: 198.18.0.10, port: 80, cluster: web}
---
api: pan/v1
kind: Volume
partition: acme
name: data
spec: {size: 64MiB, copies: 2}
";

/// Where `./setup.sh test` puts it.
fn schemathesis() -> Option<PathBuf> {
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"), PathBuf::from);
    let version = std::fs::read_to_string(repository().join("crates/pan/tests/schemathesis.txt")).unwrap();
    let version = version.trim().strip_prefix("schemathesis==").unwrap().to_owned();
    let program = cache.join(format!("panloom/schemathesis-{version}/bin/schemathesis"));
    if !program.with_file_name("../whole").is_file() {
        eprintln!("SKIP: there is no {}; ./setup.sh test installs it where PyPI can be reached", program.display());
        return None;
    }
    Some(program)
}

/// Runs it for so many seconds; what it found.
fn asks(lab: &TestLab, program: &PathBuf, who: &Person, (seconds, values): (&str, &BTreeMap<&str, String>), more: &[&str]) -> String {
    let config = std::fs::read_to_string(who.home.join("pan/config.yaml")).unwrap();
    let certificate: Vec<&str> =
        config.lines().map(str::trim).skip_while(|line| !line.contains("BEGIN CERT")).take_while(|line| !line.ends_with(':')).collect();
    let end = certificate.iter().position(|line| line.contains("END CERT")).unwrap();
    let authority = who.home.join("authority.pem");
    std::fs::write(&authority, certificate[..=end].join("\n") + "\n").unwrap();
    // A stream that goes on is no answer that could be looked at.
    let fixed = BTreeMap::from([("query.watch", "false".to_owned()), ("query.follow", "false".to_owned())]);
    let lines: Vec<String> = fixed.iter().chain(values).map(|(name, value)| format!("\"{name}\" = \"{value}\"")).collect();
    let settings = who.home.join("schemathesis.toml");
    std::fs::write(&settings, format!("[parameters]\n{}\n", lines.join("\n"))).unwrap();
    let token = std::fs::read_to_string(who.home.join("token")).unwrap();
    let seed = std::env::var("PAN_SCHEMA_SEED").unwrap_or_else(|_| "1".to_owned());
    let mut command = Command::new(program);
    command.current_dir(&who.home).arg("--config-file").arg(&settings).arg("run").arg(repository().join("docs/openapi.json"));
    command.args(["--url", &who.url, "--header", &format!("Authorization: Bearer {}", token.trim())]).arg("--tls-verify").arg(&authority);
    command.args(["--phases", "coverage,fuzzing", "--max-examples", "6", "--max-time", seconds, "--seed", &seed, "--continue-on-failure"]);
    command.args(["--request-timeout", "20", "--warnings", "off", "--no-color"]);
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,negative_data_rejection,ignored_auth,unsupported_method";
    let output = command.args(["--checks", checks]).args(more).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "seed {seed}: {said}\n{}", lab.logs());
    said
}

/// Somebody with a token, and the token's id.
fn person(lab: &TestLab, name: &str, grant: &[&str]) -> (Person, String) {
    let person = Person::new(lab, name);
    let made = person.gets(lab, &[grant, &["--expires", "1h"]].concat());
    (person, str_of(&made, "id").to_owned())
}

/// How many requests were made.
fn cases(said: &str) -> u32 {
    let line = said.lines().find(|line| line.contains(" generated, ")).unwrap_or_else(|| panic!("{said}"));
    line.trim().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_interface_does_what_its_description_says() {
    let Some(program) = schemathesis() else { return };
    let Some(lab) = lab_of(|| LabSpec { nodes: 2, directors: 1, storage: 2, ..harness::spec().unwrap() }) else { return };
    story::apply(&lab, "objects.yaml", OBJECTS);
    let seconds = std::env::var("PAN_SCHEMA_SECONDS").unwrap_or_else(|_| "20".to_owned());

    // About what is not there, and with bodies that make no sense. It deletes what it learns of, even its own token: who asks next gets a
    // token afterwards.
    let admin = person(&lab, "admin", &["--role", "pan-administrator", "--for", "zoe"]).0;
    let made_up = asks(&lab, &program, &admin, (&seconds, &BTreeMap::new()), &[]);
    // About what is there, but for its end.
    let (owner, id) = person(&lab, "owner", &["--role", "administrator", "-p", "acme", "--for", "ann"]);
    let head = person(&lab, "head", &["--role", "pan-administrator", "--for", "eve"]).0;
    let names = [
        ("partition", "acme"),
        ("server", "web-1"),
        ("cluster", "web"),
        ("service", "www"),
        ("volume", "data"),
        ("node", "n1"),
        ("host", "n1"),
        ("kind", "server"),
        ("name", "web-1"),
        ("token", &id),
    ];
    let keys: Vec<(String, String)> = names.iter().map(|(name, value)| (format!("path.{name}"), (*value).to_owned())).collect();
    let there: BTreeMap<&str, String> = keys.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let within = ["--include-path-regex", "/\\{", "--exclude-method", "DELETE"];
    let real = asks(&lab, &program, &owner, (&seconds, &there), &within);
    let real_too = asks(&lab, &program, &head, (&seconds, &there), &within);
    let counts = [&made_up, &real, &real_too].map(|said| cases(said));
    eprintln!("requests made: {counts:?}");
    assert!(counts.iter().all(|count| *count > 300), "{counts:?}");

    assert!(!lab.logs().contains("panicked"), "{}", lab.logs());
    pan(&lab, &["apply", "-f", &story::write(&lab, "again.yaml", OBJECTS)]);
    assert_eq!(json(&lab, &["get", "partition", "acme"])["name"], "acme");
}
