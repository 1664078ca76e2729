//! `pan up` and `pan down` against each other, in a network namespace that plays the machine.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod story;

use pan_lab::{Lab, LabHost, LabName, harness};
use pan_linux::netns::Netns;
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
        let mut command = Command::new(harness::exe().unwrap());
        command.args(arguments).args(["--name", self.name.as_str()]).env("XDG_CONFIG_HOME", self.data.with_extension("config"));
        command.env_remove("PAN_CONTEXT").env_remove("PAN_LAB").env_remove("PAN_URL");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.netns.run(move || command.spawn().unwrap()).unwrap()
    }

    fn up(&self) -> Child {
        let data = self.data.to_str().unwrap();
        self.pan(&["up", "--nodes", "1", "--storage", "0", "--directors", "1", "--empty", "--data", data])
    }
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
