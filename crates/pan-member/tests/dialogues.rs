//! Dialogues: a script of what happens, then the whole log of what the detector said about it.
//!
//! Each file of `tests/scenarios` is a script, a line of dashes, and the expected log. With `UPDATE_GOLDEN=1` in the
//! environment the logs are written anew, to be read in the diff.
//!
//! A script line is `MILLISECOND VERB ARGUMENTS`:
//! `profile P`, `protect N`, `expect HOST…` (known to the detector), `on HOST…` and `off HOST…` (power; a new
//! boot each time), `cut HOST FABRIC…` and `heal HOST…` (links), `agent HOST down|up`, `replay HOST [BOOT]`
//! (heartbeats of two periods ago come again, or the first ones of an earlier boot), `stall MS` (the detector is not run; datagrams wait), `deaf MS`
//! (as stall, but they are lost), `end`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a test reads its scenarios; the crate reads nothing")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use pan_member::{Admission, Beat, BootId, Change, Detector, Profile, Settings, Tick, Timing};
use pan_model::HostName;
use pan_model::host::Fabric;

struct Machine {
    powered: bool,
    boot: u64,
    sequence: u64,
    cut: Vec<Fabric>,
    agent_silent_since: Option<u64>,
}

struct World {
    now: u64,
    timing: Timing,
    detector: Detector,
    machines: BTreeMap<HostName, Machine>,
    waiting: Vec<(HostName, Fabric, u64, u64, Duration, u64)>,
    stalled_until: u64,
    deaf_until: u64,
    log: String,
}

fn at(millis: u64) -> Tick {
    Tick(millis * 1_000_000)
}

impl World {
    fn new(profile: Profile) -> Self {
        let timing = profile.timing(7);
        let settings = Settings { timing, grace: Duration::from_secs(1), protected_failures: 0 };
        Self {
            now: 0,
            timing,
            detector: Detector::new(settings, at(0)),
            machines: BTreeMap::new(),
            waiting: Vec::new(),
            stalled_until: 0,
            deaf_until: 0,
            log: String::new(),
        }
    }

    fn say(&mut self, changes: Vec<Change>) {
        for change in changes {
            writeln!(self.log, "{:>6} {change}", self.now).unwrap();
        }
    }

    fn run_until(&mut self, end: u64) {
        while self.now < end {
            self.send();
            if self.now >= self.stalled_until {
                self.receive();
            }
            self.now += 1;
        }
    }

    fn send(&mut self) {
        let period = u64::try_from(self.timing.period.as_millis()).unwrap();
        if !self.now.is_multiple_of(period) {
            return;
        }
        for (name, machine) in &mut self.machines {
            if !machine.powered {
                continue;
            }
            machine.sequence += 1;
            let age = machine.agent_silent_since.map_or(0, |since| self.now - since);
            for fabric in Fabric::BOTH {
                if self.now >= self.deaf_until && !machine.cut.contains(&fabric) {
                    let age = Duration::from_millis(age);
                    self.waiting.push((name.clone(), fabric, machine.boot, machine.sequence, age, self.now));
                }
            }
        }
    }

    fn receive(&mut self) {
        for (host, fabric, boot, sequence, agent_age, received) in std::mem::take(&mut self.waiting) {
            let (boot, received) = (BootId(boot), at(received));
            let beat = Beat {
                host: &host,
                fabric,
                boot,
                sequence,
                admission: Admission::NONE,
                agent_age,
                lag: Duration::ZERO,
                period: None,
                received,
            };
            let changes = self.detector.on_beat(&beat);
            self.say(changes);
        }
        if at(self.now) >= self.detector.next_deadline() {
            let changes = self.detector.tick(at(self.now));
            self.say(changes);
        }
    }

    fn act(&mut self, verb: &str, arguments: &[&str]) {
        let hosts = || arguments.iter().map(|name| HostName::new(*name).unwrap());
        let number = || arguments[0].parse::<u64>().unwrap();
        match verb {
            "protect" => self.detector.set_protected_failures(arguments[0].parse().unwrap()),
            "expect" => hosts().for_each(|host| self.detector.add_host(host, at(self.now))),
            "on" => hosts().for_each(|host| self.power_on(host)),
            "off" => hosts().for_each(|host| self.machine(&host).powered = false),
            "heal" => hosts().for_each(|host| self.machine(&host).cut.clear()),
            "cut" => {
                let fabric = |text: &&str| if *text == "a" { Fabric::A } else { Fabric::B };
                self.machine(&hosts().next().unwrap()).cut = arguments[1..].iter().map(fabric).collect();
            }
            "agent" => {
                let since = (arguments[1] == "down").then_some(self.now);
                self.machine(&hosts().next().unwrap()).agent_silent_since = since;
            }
            "replay" => {
                let boot = arguments.get(1).map(|boot| boot.parse().unwrap());
                self.replay(HostName::new(arguments[0]).unwrap(), boot);
            }
            "stall" => self.stalled_until = self.now + number(),
            "deaf" => {
                self.stalled_until = self.now + number();
                self.deaf_until = self.stalled_until;
            }
            "end" => {}
            other => panic!("unknown verb {other:?}"),
        }
    }

    fn machine(&mut self, host: &HostName) -> &mut Machine {
        self.machines.get_mut(host).unwrap()
    }

    fn power_on(&mut self, host: HostName) {
        let new = Machine { powered: false, boot: 0, sequence: 0, cut: Vec::new(), agent_silent_since: None };
        let machine = self.machines.entry(host).or_insert(new);
        (machine.powered, machine.boot, machine.sequence) = (true, machine.boot + 1, 0);
    }

    fn replay(&mut self, host: HostName, earlier: Option<u64>) {
        let machine = self.machine(&host);
        let (boot, sequence) = match earlier {
            Some(boot) => (boot, 1),
            None => (machine.boot, machine.sequence - 2),
        };
        for fabric in Fabric::BOTH {
            self.waiting.push((host.clone(), fabric, boot, sequence, Duration::ZERO, self.now));
        }
    }
}

fn play(script: &str) -> String {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    let profile = lines.iter().find(|line| line[1] == "profile").map_or(Profile::Lan, |line| line[2].parse().unwrap());
    let mut world = World::new(profile);
    for line in lines.iter().filter(|line| line[1] != "profile") {
        let when = line[0].parse().unwrap();
        assert!(when >= world.now, "script goes back in time: {line:?}");
        world.run_until(when);
        world.act(line[1], &line[2..]);
    }
    let counters = world.detector.counters();
    writeln!(world.log, "{counters:?}").unwrap();
    world.log
}

fn check(file: &Path) -> Result<(), String> {
    const LINE: &str = "\n----\n";
    let text = std::fs::read_to_string(file).unwrap();
    let (script, expected) = text.split_once(LINE).unwrap_or((&text, ""));
    let log = play(script);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, format!("{}{LINE}{log}", script.trim_end())).unwrap();
        return Ok(());
    }
    if log == expected { Ok(()) } else { Err(format!("{}: the log is now\n{log}", file.display())) }
}

#[test]
fn every_scenario_has_the_log_it_had() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no scenarios found");
    let failures: Vec<String> = files.iter().filter_map(|file| check(file).err()).collect();
    assert!(failures.is_empty(), "{}\nUPDATE_GOLDEN=1 rewrites them", failures.join("\n"));
}
