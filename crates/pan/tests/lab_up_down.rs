//! `pan up` and `pan down` against each other, in a network namespace that plays the machine.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::{Lab, LabHost, LabName, harness};
use pan_linux::netns::Netns;
use pan_linux::process::{PidFd, Signal};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use story::{SOON, text};

/// A machine and a user of their own, with one laboratory; gone when dropped.
struct Machine {
    netns: Netns,
    name: LabName,
    data: PathBuf,
}

impl Machine {
    fn new(test: &str) -> Self {
        let netns = Netns::create(&format!("pt{}-{test}", std::process::id())).unwrap();
        let name: LabName = format!("u{}{test}", std::process::id()).parse().unwrap();
        let data = Path::new("/var/tmp/pan-lab").join(name.as_str());
        netns.run(|| Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap()).unwrap();
        Self { netns, name, data }
    }

    fn pan(&self, arguments: &[&str]) -> Child {
        // As from a terminal: whoever runs tests by nohup(1), or behind a shell's `&`, has some of these ignored, and so would it.
        let mut command = Command::new("env");
        command.arg("--default-signal=INT,TERM,HUP").arg(harness::exe().unwrap());
        command.args(arguments).args(["--name", self.name.as_str()]).env("XDG_CONFIG_HOME", self.data.with_extension("config"));
        command.env_remove("PAN_CONTEXT").env_remove("PAN_LAB").env_remove("PAN_URL");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.netns.run(move || command.spawn().unwrap()).unwrap()
    }

    fn up(&self) -> Child {
        let data = self.data.to_str().unwrap();
        self.pan(&["up", "--nodes", "1", "--storage", "0", "--directors", "1", "--empty", "--data", data])
    }

    /// Nothing of it is in the kernel, on the disk or among the contexts.
    fn is_clean(&self) {
        let left = self.netns.run(|| harness::leftovers(self.name.as_str(), &self.data)).unwrap();
        assert!(left.is_empty(), "{left:?}");
        let contexts = std::fs::read_to_string(self.data.with_extension("config").join("pan/config.yaml")).unwrap_or_default();
        assert!(!contexts.contains(self.name.as_str()), "{contexts}");
        let hosts = self.ask(&["lab", "hosts"]);
        assert_eq!(hosts.status.code(), Some(3), "{}", words(&hosts));
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.pan(arguments).wait_with_output().unwrap()
    }
}

/// Reads what it says until a line has these words in it.
fn until_said(process: &mut Child, words: &str) -> BufReader<std::process::ChildStderr> {
    let mut said = BufReader::new(process.stderr.take().unwrap());
    let mut lines = String::new();
    while !lines.lines().last().is_some_and(|line| line.contains(words)) {
        assert_ne!(said.read_line(&mut lines).unwrap(), 0, "{words:?} was not said: {lines}");
    }
    said
}

fn send(process: &Child, signal: Signal) {
    PidFd::open(i32::try_from(process.id()).unwrap()).unwrap().kill(signal).unwrap();
}

fn rest(mut said: BufReader<std::process::ChildStderr>) -> String {
    let mut text = String::new();
    said.read_to_string(&mut text).unwrap();
    text
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.pan(&["down"]).wait();
        let _ = std::fs::remove_dir_all(self.data.with_extension("config"));
        let _ = Netns::remove(self.netns.path().unwrap().file_name().unwrap().to_str().unwrap());
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen within {SOON:?}");
        std::thread::yield_now();
    }
}

fn words(output: &Output) -> String {
    format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr))
}

#[test]
fn of_two_ups_one_makes_it_and_the_other_finds_it() {
    if !harness::can_run() {
        return;
    }
    let machine = Machine::new("two");
    let both = [machine.up(), machine.up()].map(|child| child.wait_with_output().unwrap());
    for output in &both {
        assert!(output.status.success() && text(&output.stdout).contains("is up: c1 n1 d1 outside"), "{}", words(output));
    }
    let made = both.iter().filter(|output| text(&output.stderr).contains("booting c1")).count();
    assert_eq!(made, 1, "{}{}", words(&both[0]), words(&both[1]));
    assert_eq!(Lab::load(&machine.name).unwrap().hosts().unwrap().len(), 4);
}

#[test]
fn a_down_ends_the_up_that_waits() {
    if !harness::can_run() {
        return;
    }
    let machine = Machine::new("down");
    let up = machine.up();
    let controller: LabHost = "c1".parse().unwrap();
    // With its controller standing still it cannot become ready.
    wait("the laboratory", || Lab::load(&machine.name).is_ok_and(|lab| lab.freeze(controller).is_ok()));
    let down = machine.pan(&["down"]).wait_with_output().unwrap();
    assert!(down.status.success(), "{}", words(&down));
    let gone = Instant::now();
    let up = up.wait_with_output().unwrap();
    assert!(gone.elapsed() < Duration::from_secs(20), "it waited on for {:?}", gone.elapsed());
    assert_eq!(up.status.code(), Some(1), "{}", words(&up));
    assert!(text(&up.stderr).contains("was taken down"), "{}", words(&up));
    let contexts = std::fs::read_to_string(machine.data.with_extension("config").join("pan/config.yaml")).unwrap_or_default();
    assert!(!contexts.contains(machine.name.as_str()), "{contexts}");
}

#[test]
fn an_interrupted_up_takes_back_what_it_made() {
    if !harness::can_run() {
        return;
    }
    let machine = Machine::new("stop");
    for (signal, exit, when) in [
        (Signal::SIGINT, 130, "booting c1"),
        (Signal::SIGHUP, 129, "building networks"),
        (Signal::SIGTERM, 143, "waiting for the controller"),
    ] {
        let mut up = machine.up();
        let said = until_said(&mut up, when);
        send(&up, signal);
        let code = up.wait().unwrap().code();
        let said = rest(said);
        assert_eq!(code, Some(exit), "{said}");
        assert!(said.contains("interrupted: taking back") && said.contains("is gone"), "{said}");
        machine.is_clean();
    }
}

#[test]
fn of_what_an_interrupted_up_found_the_disks_stay() {
    if !harness::can_run() {
        return;
    }
    let machine = Machine::new("kept");
    let kept = machine.data.join("pki/ca.pem");
    std::fs::create_dir_all(machine.data.join("pki")).unwrap();
    let mut up = machine.up();
    let said = until_said(&mut up, "booting c1");
    let authority = std::fs::read(&kept).unwrap();
    send(&up, Signal::SIGINT);
    assert_eq!(up.wait().unwrap().code(), Some(130));
    assert!(rest(said).contains("the data it had before stays in"));
    assert_eq!(std::fs::read(&kept).unwrap(), authority);
}

#[test]
fn a_second_interrupt_ends_at_once_and_says_what_is_to_be_done() {
    if !harness::can_run() {
        return;
    }
    let machine = Machine::new("twice");
    let mut up = machine.up();
    let said = until_said(&mut up, "waiting for the controller");
    // Whoever holds the lock is waited for before anything is taken back.
    let lock = OpenOptions::new().write(true).open(format!("/run/pan-lab/{}.lock", machine.name)).unwrap();
    lock.lock().unwrap();
    let mut said = said;
    send(&up, Signal::SIGINT);
    let mut first = String::new();
    said.read_line(&mut first).unwrap();
    assert!(first.contains(&format!("`pan down --name {}`", machine.name)), "{first}");
    let mut code = None;
    wait("its end", || {
        send(&up, Signal::SIGINT);
        code = up.try_wait().unwrap().map(|status| status.code());
        code.is_some()
    });
    assert_eq!(code, Some(Some(130)));
    let said = rest(said);
    assert!(said.contains("half gone") && said.contains(&format!("`pan down --name {}`", machine.name)), "{said}");
    drop(lock);
    let down = machine.ask(&["down"]);
    assert!(down.status.success(), "{}", words(&down));
    machine.is_clean();
}

#[test]
fn what_a_killed_up_left_half_made_is_told_and_removed() {
    if !harness::can_run() {
        return;
    }
    let machine = Machine::new("half");
    let half = || {
        let mut up = machine.up();
        let said = until_said(&mut up, "booting c1");
        up.kill().unwrap();
        up.wait().unwrap();
        drop(said);
        let hosts = machine.ask(&["lab", "hosts"]);
        assert_eq!(hosts.status.code(), Some(1), "{}", words(&hosts));
        let down = format!("`pan down --name {}`", machine.name);
        assert!(text(&hosts.stderr).contains("half made") && text(&hosts.stderr).contains(&down), "{}", words(&hosts));
    };
    half();
    let down = machine.ask(&["down"]);
    assert!(down.status.success() && text(&down.stdout).contains("is gone"), "{}", words(&down));
    machine.is_clean();
    half();
    let up = machine.up().wait_with_output().unwrap();
    assert!(up.status.success() && text(&up.stderr).contains("left half made"), "{}", words(&up));
    let hosts = machine.ask(&["lab", "hosts"]);
    assert!(hosts.status.success(), "{}", words(&hosts));
}
