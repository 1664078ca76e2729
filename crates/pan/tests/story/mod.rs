//! What the stories share: a lab, the command line tool, and waiting for what it shows.
#![allow(dead_code, reason = "every story uses some of it")]

pub mod person;

use pan_lab::harness::{self, TestLab};
use pan_lab::{LabHost, LabSpec};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Long enough for a loaded machine; a condition that holds ends the wait at once.
pub const SOON: Duration = Duration::from_secs(30);

/// A lab with all nodes alive, or `None` where there can be none (said on standard error).
pub fn lab() -> Option<TestLab> {
    lab_of(|| harness::spec().unwrap())
}

/// The same of another shape.
pub fn lab_of(spec: impl FnOnce() -> LabSpec) -> Option<TestLab> {
    if !harness::can_run() {
        assert!(std::env::var_os("PAN_TEST_STRICT").is_none(), "stories must run here");
        return None;
    }
    let lab = TestLab::with(spec()).unwrap();
    lab.wait_ready(SOON).unwrap();
    Some(lab)
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Who leads, by what the controllers wrote: the latest term counts.
pub fn leader(lab: &TestLab) -> (u64, LabHost) {
    let mut best = None;
    for name in ["c1", "c2", "c3"] {
        let log = std::fs::read_to_string(lab.data().join("hosts").join(name).join("log").join("controller.log")).unwrap();
        let terms = log.lines().filter_map(|line| line.split_once("this controller leads term=")?.1.trim().parse::<u64>().ok());
        if let Some(term) = terms.max() {
            best = best.max(Some((term, name)));
        }
    }
    let (term, name) = best.expect("somebody leads");
    (term, name.parse().unwrap())
}

/// Runs `pan` and expects success.
pub fn pan(lab: &TestLab, arguments: &[&str]) -> String {
    let output = lab.pan(arguments).unwrap();
    assert!(output.status.success(), "pan {arguments:?}: {}{}\n{}", text(&output.stdout), text(&output.stderr), lab.logs());
    text(&output.stdout)
}

/// Runs `pan` and expects a refusal with an exit code; gives its words.
pub fn refused(lab: &TestLab, code: i32, arguments: &[&str]) -> String {
    let output = lab.pan(arguments).unwrap();
    assert_eq!(output.status.code(), Some(code), "pan {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

/// Runs `pan … -o json`.
pub fn json(lab: &TestLab, arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.extend(["-o", "json"]);
    let output = pan(lab, &all);
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("pan {all:?} printed no JSON: {error}\n{output}"))
}

/// Applies a text from a file of its own and waits until everything in it runs.
pub fn apply(lab: &TestLab, name: &str, yaml: &str) {
    let file = write(lab, name, yaml);
    pan(lab, &["apply", "-f", &file, "--wait=60s"]);
}

pub fn write(lab: &TestLab, name: &str, yaml: &str) -> String {
    let file = lab.data().join(name);
    std::fs::write(&file, yaml).unwrap();
    file.to_str().unwrap().to_owned()
}

pub fn example(name: &str) -> String {
    std::fs::read_to_string(repository().join("examples").join(name)).unwrap()
}

pub fn server(lab: &TestLab, partition: &str, name: &str) -> Value {
    json(lab, &["get", "server", name, "-p", partition])
}

/// Applies the demo. Gives web-1 as it is, and the node that it is on.
pub fn demo_on_a_node(lab: &TestLab) -> (Value, LabHost) {
    apply(lab, "demo.yaml", &example("demo.yaml"));
    let first = server(lab, "demo", "web-1");
    let node = str_of(&first, "node").parse().unwrap();
    (first, node)
}

pub fn str_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

pub fn wait_state(lab: &TestLab, partition: &str, name: &str, state: &str) {
    let wanted = format!("state={state}");
    pan(lab, &["wait", "server", name, "-p", partition, "--for", &wanted, "--timeout", "60s"]);
}

/// What the client outside gets from the demo's address.
pub fn ask(lab: &TestLab) -> Option<String> {
    let output = lab.exec_outside(&["curl", "-s", "-m", "2", "http://198.18.0.10/"]).unwrap();
    output.status.success().then(|| text(&output.stdout))
}

/// A program that runs beside the story; killed when dropped.
pub struct Beside {
    child: Child,
    log: PathBuf,
}

impl Beside {
    pub fn start(lab: &TestLab, mut command: Command, log: &str) -> Self {
        let log = lab.data().join(log);
        let file = File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    /// Ends it and gives what it printed.
    pub fn stop(mut self) -> String {
        self.child.kill().unwrap();
        self.output()
    }

    /// Waits for its end and gives what it printed.
    pub fn output(mut self) -> String {
        self.child.wait().unwrap();
        let mut all = String::new();
        File::open(&self.log).unwrap().read_to_string(&mut all).unwrap();
        all
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `wrk` from outside against the demo's address. Its report tells of requests that failed.
pub fn wrk(lab: &TestLab, seconds: u32, keep_alive: bool) -> Beside {
    let duration = format!("{seconds}s");
    let mut argv = vec!["wrk", "-t2", "-c16", "-d", &duration];
    if !keep_alive {
        argv.extend(["-H", "Connection: close"]);
    }
    argv.push("http://198.18.0.10/");
    let command = lab.exec(pan_lab::LabHost::OUTSIDE, &argv).unwrap();
    Beside::start(lab, command, if keep_alive { "wrk-keep.log" } else { "wrk-close.log" })
}

/// The requests of a `wrk` report: how many were answered, and how many failed in any way.
pub fn requests(report: &str) -> (u64, u64) {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let answered = report.lines().find_map(|line| number(line.trim().split_once(" requests in ")?.0)).unwrap_or(0);
    let errors = report
        .lines()
        .find(|line| line.contains("Socket errors"))
        .map_or(0, |line| line.split(|c: char| !c.is_ascii_digit()).filter_map(number).sum());
    let bad = report.lines().find(|line| line.contains("Non-2xx")).and_then(|line| number(line.rsplit_once(':')?.1)).unwrap_or(0);
    (answered, errors + bad)
}

/// Whether a command of the machine is there.
pub fn has(program: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", &format!("command -v {program}")]).output().is_ok_and(|output: Output| output.status.success());
    if !found {
        eprintln!("SKIP: there is no {program} on this machine; ./setup.sh test installs it");
        assert!(std::env::var_os("PAN_TEST_STRICT").is_none(), "{program} is missing");
    }
    found
}
