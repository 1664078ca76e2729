//! What is hidden from a caller and what does not exist are answered alike: the same status, the same headers, the same bytes, and after the
//! same time. Eight microseconds more for one of them are seen. So are imports of either, which lead nowhere.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;
#[path = "story/two_samples.rs"]
mod two_samples;

use pan_lab::LabSpec;
use pan_lab::harness::{self, TestLab};
use rustls::{ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;
use story::{json, lab_of, pan, str_of};
use two_samples::{Random, compare};

const TWO: &str = "
api: pan/v1
kind: Partition
name: PARTITION
spec: {network: 10.0.0.0/24, hostImage: allow, quota: {requests: 100000}}
---
api: pan/v1
kind: Cluster
partition: PARTITION
name: web
spec: {servers: 1, image: host, command: [sleep, inf], resources: {cpu: 50m, memory: 16MiB}, stop: {signal: KILL, grace: 1s}}
---
api: pan/v1
kind: Service
partition: PARTITION
name: www
spec: {port: 80, cluster: web}
";

/// Own words about what is hidden, and about what is not there.
const IMPORT: &str = "
api: pan/v1
kind: Import
partition: acme
name: to-PARTITION
spec: {partition: PARTITION, service: www}
";

/// Pairs of look-ups of each kind, in each of two samples.
const PAIRS: usize = 1000;
/// A difference counts if both samples show it and chance would do so less often than this, in the same direction. Both are always taken, so it
/// is not asked again until the answer pleases; a PAN without a difference in any of the nine look-ups fails once in two thousand runs, one whose
/// answers differ by three in a hundred in nearly all.
const CHANCE: f64 = 0.01;
/// Each may ask 200 times a second, and one after the other they are asked for less than 12,800.
const TOKENS: usize = 64;

/// What is asked for; `PARTITION` and `TOKEN` are of another partition, or of none.
const LOOKUPS: [(&str, &str); 9] = [
    ("GET", "/v1/partitions/PARTITION"),
    ("GET", "/v1/partitions/PARTITION/clusters/web"),
    ("GET", "/v1/partitions/PARTITION/servers/web-1"),
    ("GET", "/v1/partitions/PARTITION/services"),
    ("GET", "/v1/partitions/PARTITION/events"),
    ("GET", "/v1/partitions/acme/imports/to-PARTITION"),
    ("GET", "/v1/partitions/PARTITION/audit"),
    ("GET", "/v1/tokens/TOKEN"),
    ("DELETE", "/v1/partitions/PARTITION/services/www"),
];

/// A connection of somebody with a token, word for word.
struct Caller {
    stream: StreamOwned<ClientConnection, TcpStream>,
    token: String,
}

impl Caller {
    fn new(address: &str, ca: &str, token: String) -> Self {
        let config = pan_api::tls::client_config(ca, None).unwrap();
        let (host, _) = address.rsplit_once(':').unwrap();
        let connection = ClientConnection::new(config, host.to_owned().try_into().unwrap()).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { stream: StreamOwned::new(connection, socket), token }
    }

    /// The whole answer but its date and its age, and how long it took to come, in nanoseconds.
    fn ask(&mut self, method: &str, path: &str) -> (String, u64) {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: pan\r\nAuthorization: Bearer {}\r\n\r\n", self.token);
        let begun = Instant::now();
        self.stream.write_all(request.as_bytes()).unwrap();
        let (mut answer, mut part) = (Vec::new(), [0; 16 << 10]);
        let whole = loop {
            let read = self.stream.read(&mut part).unwrap();
            assert!(read > 0, "the connection ended after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..read]);
            let text = String::from_utf8_lossy(&answer).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap();
            if body.len() == length {
                break text;
            }
        };
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap();
        (
            whole
                .lines()
                .filter(|line| !["date: ", "pan-age-ms: "].iter().any(|time| line.starts_with(time)))
                .map(|line| format!("{line}\n"))
                .collect(),
            took,
        )
    }
}

/// A name of the same length stands for what was asked for.
fn blind(answer: &str, asked: &[String]) -> String {
    let words = ["PARTITION", "TOKEN", "ADDRESS", "ADDRESS"];
    asked.iter().zip(words).fold(answer.to_owned(), |answer, (asked, word)| answer.replace(asked.as_str(), word))
}

/// What is asked for, with the addresses of its import, which are as long as those of the other's.
fn asked(lab: &TestLab, partition: &str, token: &str) -> Vec<String> {
    let import = json(lab, &["get", "import", &format!("to-{partition}"), "-p", "acme"]);
    let addresses = import["addresses"].as_array().unwrap().iter().map(|address| address.as_str().unwrap().to_owned());
    [partition.to_owned(), token.to_owned()].into_iter().chain(addresses).collect()
}

fn callers(lab: &TestLab) -> Vec<Caller> {
    let command = lab.pan_command(&[]).unwrap();
    let set = |name: &str| {
        let value = command.get_envs().find_map(|(key, value)| value.filter(|_| key == name));
        value.unwrap().to_str().unwrap().to_owned()
    };
    let url = set("PAN_URL");
    let address = url.split(',').next().unwrap().strip_prefix("https://").unwrap().to_owned();
    let ca = std::fs::read_to_string(set("PAN_CA")).unwrap();
    let token = |_| str_of(&json(lab, &["token", "create", "--role", "administrator", "-p", "acme"]), "token").to_owned();
    (0..TOKENS).map(token).map(|token| Caller::new(&address, &ca, token)).collect()
}

#[test]
fn the_test_tells_a_difference_from_none() {
    two_samples::check();
}

#[test]
fn what_is_hidden_and_what_is_not_there_are_one() {
    let Some(lab) = lab_of(|| LabSpec { nodes: 2, directors: 1, ..harness::spec().unwrap() }) else { return };
    for partition in ["acme", "rival"] {
        story::apply(&lab, &format!("{partition}.yaml"), &TWO.replace("PARTITION", partition));
    }
    let made = json(&lab, &["token", "create", "--role", "monitor", "-p", "rival"]);
    for partition in ["rival", "river"] {
        story::apply(&lab, &format!("import-{partition}.yaml"), &IMPORT.replace("PARTITION", partition));
    }
    let (hidden, absent) = (asked(&lab, "rival", str_of(&made, "id")), asked(&lab, "river", "0123456789abcdef"));
    let mut callers = callers(&lab);
    let mut random = Random(0x05ee_d0fa);
    let mut failed = Vec::new();
    for (method, lookup) in LOOKUPS {
        let path = |of: &[String]| lookup.replace("PARTITION", &of[0]).replace("TOKEN", &of[1]);
        let (there, nowhere) = (path(&hidden), path(&absent));
        let expected = blind(&callers[0].ask(method, &nowhere).0, &absent);
        let status = if lookup.contains("imports") { 200 } else { 404 };
        assert!(expected.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {nowhere}: {expected}");
        let samples = [(); 2].map(|()| {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            // Those before them warm what is cold.
            for round in 0..PAIRS + 50 {
                let caller = &mut callers[round % TOKENS];
                let mut ask = |of: &[String], path: &str| {
                    let (answer, took) = caller.ask(method, path);
                    assert_eq!(blind(&answer, of), expected, "{method} {path}");
                    took
                };
                let pair = if random.next().is_multiple_of(2) {
                    let took = ask(&hidden, &there);
                    (took, ask(&absent, &nowhere))
                } else {
                    let took = ask(&absent, &nowhere);
                    (ask(&hidden, &there), took)
                };
                if round >= 50 {
                    first.push(pair.0);
                    second.push(pair.1);
                }
            }
            compare(&first, &second)
        });
        println!("{method} {lookup}: {:.4} and {:.4}", samples[0].p, samples[1].p);
        let [one, other] = samples;
        if one.p.max(other.p) <= CHANCE && (one.above > 0.5) == (other.above > 0.5) {
            failed.push(format!("{method} {lookup}: {samples:?}"));
        }
    }
    assert!(failed.is_empty(), "how long an answer takes tells what there is: {failed:#?}");
    pan(&lab, &["audit", "--verify", "-p", "acme"]);
}
