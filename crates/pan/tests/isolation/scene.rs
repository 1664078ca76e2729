//! Two partitions with the same addresses on two nodes, the program, and ears everywhere.

use super::frames::{End, HOSTILE, INSIDE, Mac, hex};
use crate::story::{self, Beside, SOON, server, str_of, text};
use pan_api::metrics::{Sample, read};
use pan_lab::LabHost;
use pan_lab::harness::TestLab;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A folder that hosts and, with `image: host`, servers see as the machine's.
pub struct Program {
    folder: PathBuf,
}

impl Program {
    pub fn build() -> Self {
        let folder = PathBuf::from(format!("/opt/panloom-wire-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = Self { folder };
        let source = story::repository().join("crates/pan/tests/isolation/wire.c");
        let done = Command::new("gcc").args(["-O1", "-static", "-o", &program.path()]).arg(source).status();
        assert!(done.expect("gcc is installed: run ./setup.sh test").success());
        program
    }

    pub fn path(&self) -> String {
        self.folder.join("wire").to_str().unwrap().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A server, and where it is.
#[derive(Debug, Clone)]
pub struct Place {
    pub name: String,
    pub node: LabHost,
    pub netns: String,
    pub end: End,
}

impl Place {
    pub fn of(lab: &TestLab, partition: &str, name: &str) -> Self {
        let shown = server(lab, partition, name);
        let addresses: Vec<IpAddr> =
            shown["addresses"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().parse().unwrap()).collect();
        let v4 = addresses.iter().find_map(|one| if let IpAddr::V4(v4) = one { Some(*v4) } else { None });
        let v6 = addresses.iter().find_map(|one| if let IpAddr::V6(v6) = one { Some(*v6) } else { None });
        let end = End { mac: mac(str_of(&shown, "mac")), v4: v4.unwrap(), v6: v6.unwrap() };
        let node = lab.host(str_of(&shown, "node")).unwrap();
        Self { name: name.to_owned(), node, netns: format!("pan-{partition}.{name}"), end }
    }
}

pub fn mac(text: &str) -> Mac {
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// A program that prints what it hears.
pub struct Ear {
    what: String,
    file: PathBuf,
    _listens: Beside,
}

impl Ear {
    fn start(lab: &TestLab, host: LabHost, words: &[&str], what: &str) -> Self {
        let name = format!("ear-{what}.log");
        let ear = Self {
            what: what.to_owned(),
            file: lab.data().join(&name),
            _listens: Beside::start(lab, lab.exec(host, words).unwrap(), &name),
        };
        lab.wait_for(&format!("{what} to listen"), SOON, |_| ear.text().contains("ready")).unwrap();
        ear
    }

    /// At a server's own end of its cable.
    pub fn at(lab: &TestLab, program: &Program, place: &Place) -> Self {
        Self::start(lab, place.node, &["ip", "netns", "exec", &place.netns, &program.path(), "watch", "eth0"], &place.netns)
    }

    /// At all addresses of a host.
    pub fn of_host(lab: &TestLab, program: &Program, host: LabHost) -> Self {
        Self::start(lab, host, &[&program.path(), "listen", "9"], &host.to_string())
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap()
    }

    pub fn heard(&self, mark: &str) -> usize {
        let mark = hex(mark.as_bytes());
        self.text().lines().filter(|line| line.contains(&mark)).count()
    }

    /// Nothing that is marked but what is said to have been sent to it.
    pub fn heard_only(&self, expected: &[&str]) {
        let expected: Vec<String> = expected.iter().map(|text| hex(format!("{INSIDE}{text}").as_bytes())).collect();
        for line in self.text().lines().filter(|line| *line != "ready") {
            assert!(!line.contains(&hex(HOSTILE.as_bytes())), "{} got a hostile frame: {line}", self.what);
            assert!(expected.iter().any(|text| line.contains(text)), "{} got what is not its own: {line}", self.what);
        }
    }
}

/// Sends frames out of an interface, in a named network namespace of a host or in its own.
pub fn send(mut command: Command, frames: &[Vec<u8>]) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines: String = frames.iter().map(|frame| hex(frame) + "\n").collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout).trim(), format!("sent {}", frames.len()), "{}", text(&output.stderr));
}

/// Out of a server's own end of its cable, as somebody with all rights there.
pub fn send_from(lab: &TestLab, program: &Program, place: &Place, frames: &[Vec<u8>]) {
    let words = ["ip", "netns", "exec", &place.netns, &program.path(), "send", "eth0"];
    send(lab.exec(place.node, &words).unwrap(), frames);
}

/// What a role says of itself to a controller.
pub fn metrics(lab: &TestLab, host: LabHost, port: u16) -> Vec<Sample> {
    let tls = |file: &str| lab.data().join("hosts/c1/etc/tls").join(file).to_str().unwrap().to_owned();
    let (ca, cert, key) = (tls("ca.pem"), tls("host.pem"), tls("host.key"));
    let url = format!("https://{}:{port}/metrics", own_address(host));
    let argv = ["curl", "-sS", "-m", "5", "--cacert", &ca, "--cert", &cert, "--key", &key, &url];
    let output = lab.exec_in("c1".parse().unwrap(), &argv).unwrap();
    read(&text(&output.stdout)).unwrap_or_else(|error| panic!("{url}: {error}: {}", text(&output.stderr)))
}

pub fn count(samples: &[Sample], name: &str, reason: &str) -> u64 {
    let fits = |sample: &&Sample| sample.name == name && sample.labels.get("reason").is_some_and(|found| found == reason);
    samples.iter().filter(fits).map(|sample| sample.number as u64).sum()
}

pub fn total(samples: &[Sample], name: &str) -> u64 {
    samples.iter().filter(|sample| sample.name == name).map(|sample| sample.number as u64).sum()
}

/// The addresses of hosts follow from their names.
fn of_plan(host: LabHost, second: u8) -> Ipv4Addr {
    let base = match host.to_string().as_bytes()[0] {
        b'c' => 0,
        b'n' => 10,
        b's' => 100,
        _ => 200,
    };
    Ipv4Addr::new(10, second, 0, base + host.ordinal())
}

pub fn own_address(host: LabHost) -> Ipv4Addr {
    of_plan(host, 200)
}

pub fn v4_on_a(host: LabHost) -> Ipv4Addr {
    of_plan(host, 201)
}

pub fn mac_on_a(host: LabHost) -> Mac {
    let [a, b, c, d] = v4_on_a(host).octets();
    [2, 1, a, b, c, d]
}
