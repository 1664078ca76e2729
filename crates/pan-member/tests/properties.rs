//! What holds of the detector whatever happens.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pan_member::{Admission, Beat, BootId, Change, Detector, Profile, Settings, Tick, Timing};
use pan_model::HostName;
use pan_model::host::Fabric;
use proptest::prelude::*;

const HOSTS: usize = 4;
const GRACE: Duration = Duration::from_millis(400);

/// Something that happens to a detector of [`HOSTS`] hosts.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// Time passes; the detector is run whenever it asked to be.
    Watch {
        millis: u64,
    },
    /// Time passes; the detector is not run.
    Stall {
        millis: u64,
    },
    Beat {
        host: usize,
        fabric: Fabric,
    },
    /// An old heartbeat comes again.
    Replay {
        host: usize,
        fabric: Fabric,
    },
    Reboot {
        host: usize,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let fabric = || prop_oneof![Just(Fabric::A), Just(Fabric::B)];
    let op = prop_oneof![
        6 => (0..HOSTS, fabric()).prop_map(|(host, fabric)| Op::Beat { host, fabric }),
        3 => (0..30_u64).prop_map(|millis| Op::Watch { millis }),
        1 => (0..400_u64).prop_map(|millis| Op::Watch { millis }),
        1 => (0..400_u64).prop_map(|millis| Op::Stall { millis }),
        1 => (0..HOSTS, fabric()).prop_map(|(host, fabric)| Op::Replay { host, fabric }),
        1 => (0..HOSTS).prop_map(|host| Op::Reboot { host }),
    ];
    prop::collection::vec(op, 0..200)
}

/// The last heartbeat of one host on one fabric.
#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Tick,
    boot: u64,
    sequence: u64,
}

/// A detector with the plainest possible record of what really happened beside it.
struct Bench {
    now: Tick,
    timing: Timing,
    detector: Detector,
    names: Vec<HostName>,
    boots: Vec<u64>,
    /// A machine that boots is silent until then: for as long as makes it suspect.
    away: Vec<Tick>,
    sequence: u64,
    heard: BTreeMap<(usize, Fabric), Heard>,
    log: Vec<(Tick, Change)>,
}

impl Bench {
    fn new() -> Self {
        let timing = Profile::Lan.timing(HOSTS);
        // As many failures promised as there are hosts: the brake has tests of its own.
        let settings = Settings { timing, grace: GRACE, protected_failures: HOSTS };
        let now = Tick(1_000_000_000);
        let mut detector = Detector::new(settings, now);
        let names: Vec<HostName> = (0..HOSTS).map(|host| HostName::new(format!("n{host}")).unwrap()).collect();
        names.iter().for_each(|name| detector.add_host(name.clone(), now));
        let (boots, away, heard, log) = (vec![1; HOSTS], vec![now; HOSTS], BTreeMap::new(), Vec::new());
        Self { now, timing, detector, names, boots, away, sequence: 1, heard, log }
    }

    fn run(mut self, ops: &[Op]) -> Self {
        ops.iter().for_each(|op| self.apply(*op));
        self
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Watch { millis } => self.watch(Duration::from_millis(millis)),
            Op::Stall { millis } => self.now = self.now.plus(Duration::from_millis(millis)),
            Op::Beat { host, .. } if self.now < self.away[host] => {}
            Op::Beat { host, fabric } => {
                self.sequence += 1;
                let heard = Heard { at: self.now, boot: self.boots[host], sequence: self.sequence };
                self.heard.insert((host, fabric), heard);
                self.beat(host, fabric, heard);
            }
            Op::Replay { host, fabric } => {
                if let Some(heard) = self.heard.get(&(host, fabric)).copied() {
                    self.beat(host, fabric, heard);
                }
            }
            Op::Reboot { host } => {
                self.boots[host] += 1;
                self.away[host] = self.now.plus(self.timing.suspect_after());
            }
        }
    }

    fn beat(&mut self, host: usize, fabric: Fabric, Heard { boot, sequence, .. }: Heard) {
        let (host, boot, received) = (&self.names[host], BootId(boot), self.now);
        let beat = Beat {
            host,
            fabric,
            boot,
            sequence,
            admission: Admission::NONE,
            agent_age: Duration::ZERO,
            lag: Duration::ZERO,
            period: None,
            received,
        };
        let changes = self.detector.on_beat(&beat);
        self.say(changes);
    }

    fn watch(&mut self, duration: Duration) {
        let end = self.now.plus(duration);
        while self.detector.next_deadline() <= end {
            self.now = self.now.max(self.detector.next_deadline());
            let changes = self.detector.tick(self.now);
            self.say(changes);
        }
        self.now = self.now.max(end);
    }

    fn say(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.check(&change);
            self.log.push((self.now, change));
        }
    }

    /// Judges one change by what really happened.
    fn check(&self, change: &Change) {
        let number = |name: &HostName| self.names.iter().position(|known| known == name).unwrap();
        let silence = |host: usize, fabric| self.heard.get(&(host, fabric)).map(|heard| self.now.since(heard.at));
        let silence_of_both = |name| Fabric::BOTH.into_iter().filter_map(|fabric| silence(number(name), fabric)).min();
        match change {
            Change::Dead { host, .. } => match silence_of_both(host) {
                Some(silence) => assert!(silence >= self.timing.dead_after(), "{change} after {silence:?}"),
                None => assert!(self.now.since(Tick(1_000_000_000)) >= GRACE, "{change} within the grace"),
            },
            Change::Suspect { host, .. } => {
                let silence = silence_of_both(host).expect("a suspect host was heard once");
                assert!(silence >= self.timing.suspect_after(), "{change} after {silence:?}");
            }
            Change::FabricDown { host, fabric, .. } => {
                let here = silence(number(host), *fabric);
                assert!(here.is_none_or(|here| here >= self.timing.link_down_after()), "{change} after {here:?}");
            }
            Change::Alive { host, .. } | Change::FabricUp { host, .. } => {
                assert_eq!(silence_of_both(host), Some(Duration::ZERO), "{change} without a heartbeat");
            }
            Change::Brake { .. } | Change::BrakeReleased { .. } => panic!("{change}: every failure is promised"),
            Change::Rebooted { .. } | Change::AgentDown { .. } | Change::AgentUp { .. } => {}
        }
    }

    fn beat_all_for(&mut self, duration: Duration) {
        let end = self.now.plus(duration);
        while self.now < end {
            for host in 0..HOSTS {
                for fabric in Fabric::BOTH {
                    self.apply(Op::Beat { host, fabric });
                }
            }
            self.watch(self.timing.period);
        }
    }
}

proptest! {
    /// Every change is justified by what was really heard; the checks are in [`Bench::check`].
    #[test]
    fn nothing_is_said_without_a_reason(ops in ops()) {
        let bench = Bench::new().run(&ops);
        let mut state: BTreeMap<HostName, &str> = BTreeMap::new();
        for (_, change) in &bench.log {
            let (host, now, allowed): (_, _, &[&str]) = match change {
                Change::Alive { host, .. } => (host, "alive", &["new", "suspect", "dead"]),
                Change::Suspect { host, .. } => (host, "suspect", &["alive"]),
                Change::Dead { host, .. } => (host, "dead", &["new", "suspect"]),
                _ => continue,
            };
            let before = state.insert(host.clone(), now).unwrap_or("new");
            prop_assert!(allowed.contains(&before), "{} after {}", change, before);
        }
    }

    /// Whatever happened, a second of heartbeats on both fabrics puts everything right.
    #[test]
    fn what_heals_is_alive(ops in ops()) {
        let mut bench = Bench::new().run(&ops);
        bench.beat_all_for(Duration::from_secs(1));
        let (mut links, mut alive) = (BTreeMap::new(), BTreeSet::new());
        for (_, change) in &bench.log {
            match change {
                Change::Alive { host, .. } => drop(alive.insert(host.clone())),
                Change::Suspect { host, .. } | Change::Dead { host, .. } => drop(alive.remove(host)),
                Change::FabricUp { host, fabric } => drop(links.insert((host.clone(), *fabric), "up")),
                Change::FabricDown { host, fabric, .. } => drop(links.insert((host.clone(), *fabric), "down")),
                _ => {}
            }
        }
        prop_assert_eq!(links.len(), 2 * HOSTS);
        prop_assert!(links.values().all(|link| *link == "up"), "{:?}", links);
        prop_assert_eq!(alive.len(), HOSTS);
    }

    /// With the detector run on time, silence becomes death at the deadline, and nobody else is touched.
    #[test]
    fn a_death_is_said_in_time(dies in 0..HOSTS, after in 0..500_u64, jitters in prop::collection::vec(0..19_u64, 300)) {
        let mut bench = Bench::new();
        let end_of_life = bench.now.plus(Duration::from_millis(after));
        let mut jitters = jitters.into_iter().cycle();
        let start = bench.now;
        for period in 0..60 {
            let due = start.plus(bench.timing.period * period);
            let mut arrivals: Vec<(Tick, usize)> = (0..HOSTS)
                .map(|host| (due.plus(Duration::from_millis(jitters.next().unwrap())), host))
                .collect();
            arrivals.sort();
            for (arrival, host) in arrivals {
                bench.watch(arrival.since(bench.now));
                if host != dies || arrival < end_of_life {
                    Fabric::BOTH.into_iter().for_each(|fabric| bench.apply(Op::Beat { host, fabric }));
                }
            }
        }
        let last = Fabric::BOTH.into_iter().filter_map(|fabric| bench.heard.get(&(dies, fabric))).map(|heard| heard.at).max();
        let deadline = last.map_or(start.plus(GRACE), |last| last.plus(bench.timing.dead_after()));
        let said: Vec<&(Tick, Change)> = bench
            .log
            .iter()
            .filter(|(_, change)| matches!(change, Change::Dead { .. } | Change::Suspect { .. }))
            .collect();
        let victim = |change: &Change| match change {
            Change::Dead { host, .. } | Change::Suspect { host, .. } => *host == bench.names[dies],
            _ => false,
        };
        prop_assert!(said.iter().all(|(_, change)| victim(change)), "{:?}", said);
        let deaths: Vec<Tick> =
            said.iter().filter(|(_, change)| matches!(change, Change::Dead { .. })).map(|(tick, _)| *tick).collect();
        prop_assert_eq!(deaths, [deadline]);
    }

    /// A heartbeat heard twice is heard once.
    #[test]
    fn duplicates_change_nothing(ops in ops()) {
        let once = Bench::new().run(&ops);
        let mut twice = Bench::new();
        for op in &ops {
            twice.apply(*op);
            if let Op::Beat { host, fabric } = *op {
                let before = twice.log.len();
                twice.apply(Op::Replay { host, fabric });
                prop_assert_eq!(twice.log.len(), before);
            }
        }
        prop_assert_eq!(once.log, twice.log);
    }
}
