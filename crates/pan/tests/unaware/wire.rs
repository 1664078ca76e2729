//! What the interface answers to somebody who speaks HTTP to it: status, headers and body.

use crate::story::person::Person;
use crate::story::text;
use crate::transcript::Transcript;
use pan_lab::harness::TestLab;
use std::process::Command;

/// What is asked: method, path, body. `rival` is a partition only beside others.
const ASKED: [(&str, &str, &str, &str); 18] = [
    ("partitions", "GET", "/v1/partitions", ""),
    ("own", "GET", "/v1/partitions/acme", ""),
    ("servers", "GET", "/v1/servers", ""),
    ("services", "GET", "/v1/partitions/acme/services", ""),
    ("hidden", "GET", "/v1/partitions/rival", ""),
    ("hidden-servers", "GET", "/v1/partitions/rival/servers", ""),
    ("hidden-audit", "GET", "/v1/partitions/rival/audit", ""),
    ("hidden-usage", "GET", "/v1/partitions/rival/usage", ""),
    ("hidden-scale", "POST", "/v1/partitions/rival/clusters/web/scale", r#"{"servers": 1}"#),
    ("hidden-delete", "DELETE", "/v1/partitions/rival/services/www", ""),
    ("hidden-timeline", "GET", "/v1/timelines/web-1?partition=rival", ""),
    ("nodes", "GET", "/v1/nodes", ""),
    ("hosts", "GET", "/v1/hosts", ""),
    ("whole-audit", "GET", "/v1/audit", ""),
    ("proof", "GET", "/v1/certify", ""),
    ("metrics", "GET", "/metrics", ""),
    ("well", "GET", "/healthz", ""),
    ("no-page", "PATCH", "/v1/clusters", ""),
];

/// Where the interface is, and how to know it.
pub struct Wire {
    pub address: String,
    pub ca: String,
}

impl Wire {
    pub fn of(lab: &TestLab) -> Self {
        let command = lab.pan_command(&[]).unwrap();
        let set = |name: &str| {
            let value = command.get_envs().find_map(|(key, value)| value.filter(|_| key == name));
            value.unwrap().to_str().unwrap().to_owned()
        };
        Self { address: set("PAN_URL").split(',').next().unwrap().to_owned(), ca: set("PAN_CA") }
    }

    /// `curl` with the token of somebody.
    pub fn curl(&self, person: &Person, words: &[&str]) -> Command {
        let token = std::fs::read_to_string(person.home.join("token")).unwrap();
        let mut command = Command::new("curl");
        command.args(["-s", "--cacert", &self.ca, "-H", &format!("Authorization: Bearer {token}")]).args(words);
        command
    }
}

/// Notes every answer.
pub fn ask(day: &mut Transcript, lab: &TestLab, owner: &Person, step: &str) {
    let wire = Wire::of(lab);
    for (name, method, path, body) in ASKED {
        let url = format!("{}{path}", wire.address);
        let mut command = wire.curl(owner, &["-i", "-X", method, &url]);
        if !body.is_empty() {
            command.args(["-H", "Content-Type: application/json", "-d", body]);
        }
        let output = command.output().unwrap();
        let said = text(&output.stdout);
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {said:?} {}", text(&output.stderr)));
        let (status, headers) = head.split_once("\r\n").unwrap();
        day.note(&format!("{step}-{name}/status"), status);
        for header in headers.lines() {
            let (key, value) = header.split_once(": ").unwrap();
            day.note(&format!("{step}-{name}/header/{key}"), &format!("is {value}"));
        }
        day.note(&format!("{step}-{name}/body"), body);
    }
}
