//! The detector's rules are needed, and lessors can release its brake.

use std::collections::BTreeSet;
use std::time::Duration;

use pan_model::host::Fabric;
use pan_model::{Admission, HostName};

use crate::detector::{Beat, Change, Detector, Settings};
use crate::frame::BootId;
use crate::profile::Profile;
use crate::rules::{Mutant, Rules};
use crate::tick::Tick;

fn at(millis: u64) -> Tick {
    Tick(millis * 1_000_000)
}

fn names() -> Vec<HostName> {
    ["n1", "n2", "n3", "n4", "n5"].map(|name| HostName::new(name).unwrap()).to_vec()
}

/// Five hosts that are heard until 1000 ms; then `heard` are, until `end`, unless the detector is not run.
struct Bench {
    detector: Detector,
    now: u64,
    lag: Duration,
    /// As it is said; the heartbeats come by it too.
    period: Option<u64>,
}

impl Bench {
    fn new(rules: Rules) -> Self {
        let settings = Settings { timing: Profile::Lan.timing(5), grace: Duration::from_secs(1), protected_failures: 1 };
        let mut detector = Detector::with_rules(settings, at(0), rules);
        names().into_iter().for_each(|name| detector.add_host(name, at(0)));
        let mut bench = Self { detector, now: 0, lag: Duration::ZERO, period: None };
        bench.run(1000, &names());
        bench
    }

    fn run(&mut self, end: u64, heard: &[HostName]) -> Vec<Change> {
        let mut changes = Vec::new();
        while self.now < end {
            if self.now.is_multiple_of(self.period.unwrap_or(20)) {
                for host in heard {
                    let (boot, sequence, received) = (BootId(1), self.now, at(self.now));
                    let (fabric, agent_age, lag) = (Fabric::A, Duration::ZERO, self.lag);
                    let beat = Beat {
                        host,
                        fabric,
                        boot,
                        sequence,
                        admission: Admission::NONE,
                        agent_age,
                        lag,
                        period: self.period.map(Duration::from_millis),
                        received,
                    };
                    changes.extend(self.detector.on_beat(&beat));
                }
            }
            if self.detector.next_deadline() <= at(self.now) {
                changes.extend(self.detector.tick(at(self.now)));
            }
            self.now += 1;
        }
        changes
    }
}

fn dead(changes: &[Change]) -> Vec<String> {
    let dead = |change: &Change| match change {
        Change::Dead { host, .. } => Some(host.to_string()),
        _ => None,
    };
    changes.iter().filter_map(dead).collect()
}

#[test]
fn without_the_brake_a_switch_failure_is_five_deaths() {
    let deaths = |rules| dead(&Bench::new(rules).run(3000, &[])).len();
    assert_eq!(deaths(Rules::SOUND), 0);
    assert_eq!(deaths(Rules::broken_by(Mutant::BrakeOff)), 5);
}

#[test]
fn without_compensation_our_own_stall_makes_suspects() {
    let deaths = |rules| {
        let mut bench = Bench::new(rules);
        // Whatever came in meanwhile was lost with the socket's queue.
        bench.now = 3000;
        dead(&bench.run(3100, &[])).len()
    };
    assert_eq!(deaths(Rules::SOUND), 0);
    // With the brake on as well, the stall would be a stampede held back; it is blamed on the hosts all the same.
    let mut blamed = Bench::new(Rules::broken_by(Mutant::OwnStallBlamed));
    blamed.now = 3000;
    let changes = blamed.run(3001, &[]);
    assert!(changes.iter().any(|change| matches!(change, Change::Suspect { .. })), "{changes:?}");
}

#[test]
fn after_our_own_stall_suspicion_begins_anew() {
    let mut bench = Bench::new(Rules::SOUND);
    bench.run(1019, &names());
    // Of 1000 ms they were heard. What came in until 1301 was lost with the socket's queue, and while it was, all but the
    // first have begun to beat every 50 ms, and have said so.
    bench.now = 1301;
    bench.period = Some(50);
    let changes = bench.run(1351, &names()[1..]);
    assert!(changes.is_empty(), "{changes:?}");
    let suspects = |changes: &[Change]| changes.iter().filter(|change| matches!(change, Change::Suspect { .. })).count();
    assert_eq!(suspects(&bench.run(1361, &names()[1..])), 0);
    let changes = bench.run(1362, &names()[1..]);
    assert!(matches!(&changes[..], [Change::Suspect { host, .. }] if *host == names()[0]), "{changes:?}");
    // Of the silence, the stall's 281 ms beyond the tick that it delayed are not counted: it dies no later for all this.
    assert_eq!(dead(&bench.run(1551, &names()[1..])), [""; 0]);
    assert_eq!(dead(&bench.run(1552, &names()[1..])), ["n1"]);
}

#[test]
fn who_stands_still_again_and_again_suspects_all_the_same() {
    let mut bench = Bench::new(Rules::SOUND);
    let mut suspects = Vec::new();
    for stall in 0..6 {
        // On from one heartbeat of the others to the third after it.
        bench.now += if stall == 0 { 60 } else { 59 };
        let changes = bench.run(bench.now + 1, &names()[1..]);
        suspects.extend(changes.into_iter().filter(|change| matches!(change, Change::Suspect { .. })).map(|_| stall));
    }
    assert_eq!(suspects, [2], "not before its third period of silence that counts, and once");
}

#[test]
fn lessors_release_the_brake() {
    let mut bench = Bench::new(Rules::SOUND);
    let changes = bench.run(1500, &names()[..2]);
    assert!(changes.iter().any(|change| matches!(change, Change::Brake { .. })), "{changes:?}");
    assert!(dead(&changes).is_empty());
    let held = bench.detector.held(at(1500));
    assert_eq!(held, names()[2..].iter().cloned().collect::<BTreeSet<_>>());
    let fewer: BTreeSet<HostName> = held.iter().skip(1).cloned().collect();
    assert!(bench.detector.confirm(&fewer, at(1500)).is_empty(), "one of them is heard by the lessors");
    assert_eq!(dead(&bench.detector.confirm(&held, at(1500))), ["n3", "n4", "n5"]);
    assert!(bench.detector.held(at(1500)).is_empty());
    assert!(dead(&bench.run(3000, &names()[..2])).is_empty(), "each dies once");
}

#[test]
fn who_hears_only_itself_is_the_one_cut_off() {
    let cut = |own: Option<&str>| {
        let mut bench = Bench::new(Rules::SOUND);
        bench.detector = own.into_iter().fold(bench.detector, |detector, own| detector.on(HostName::new(own).unwrap()));
        let mut changes = bench.run(10_900, &names()[..1]);
        assert!(!bench.detector.is_deaf());
        changes.extend(bench.run(30_000, &names()[..1]));
        assert_eq!(bench.detector.is_deaf(), own.is_some());
        let held = bench.detector.held(at(30_000));
        changes.extend(bench.detector.confirm(&held, at(30_000)));
        dead(&changes)
    };
    assert_eq!(cut(Some("n1")), [""; 0], "nor is its own lessor's word for it enough");
    assert_eq!(cut(None), ["n2", "n3", "n4", "n5"], "after the hold time, by somebody else that is heard");
    let mut alone = Detector::new(Settings { timing: Profile::Lan.timing(1), grace: Duration::from_secs(1), protected_failures: 1 }, at(0))
        .on(HostName::new("n1").unwrap());
    alone.add_host(HostName::new("n1").unwrap(), at(0));
    (0..2000).for_each(|round| drop(alone.tick(at(round * 20))));
    assert!(!alone.is_deaf(), "there is nobody to hear");
}

#[test]
fn a_host_that_says_it_is_late_gets_more_time() {
    let dies_at = |lag: u64| {
        let mut bench = Bench::new(Rules::SOUND);
        bench.lag = Duration::from_millis(lag);
        bench.run(1100, &names());
        let last = bench.now - 20;
        while dead(&bench.run(bench.now + 1, &names()[1..])).is_empty() {}
        bench.now - last
    };
    assert!((270..=272).contains(&dies_at(0)), "{}", dies_at(0));
    assert!((340..=342).contains(&dies_at(100)), "{}", dies_at(100));
    assert!((400..=402).contains(&dies_at(2000)), "{}", dies_at(2000));
}

#[test]
fn a_removed_host_is_a_stranger() {
    let mut bench = Bench::new(Rules::SOUND);
    bench.detector.remove_host(&names()[0]);
    assert!(bench.run(3000, &names()[1..]).is_empty(), "nobody misses it");
}

#[test]
fn a_host_is_suspected_by_the_period_it_says_and_dies_as_soon_as_ever() {
    let mut bench = Bench::new(Rules::SOUND);
    // The period is said before it is used, and again when it is short once more.
    for period in [Some(50), Some(35), Some(50), None] {
        bench.period = period;
        let changes = bench.run(bench.now + 1000, &names());
        assert!(changes.is_empty(), "{period:?}: {changes:?}");
    }
    let after = |period: Option<u64>| {
        let mut bench = Bench::new(Rules::SOUND);
        bench.period = period;
        bench.run(1101, &names());
        // The last heartbeat of all is of 1100 ms.
        let (mut suspect, mut died) = (None, None);
        while died.is_none() {
            let changes = bench.run(bench.now + 1, &names()[1..]);
            let suspects = changes.iter().any(|change| matches!(change, Change::Suspect { .. }));
            suspect = suspect.or(suspects.then_some(bench.now - 1 - 1100));
            died = (!dead(&changes).is_empty()).then_some(bench.now - 1 - 1100);
        }
        (suspect, died)
    };
    assert_eq!(after(None), (Some(60), Some(270)));
    assert_eq!(after(Some(50)), (Some(150), Some(270)));
}

#[test]
fn a_host_that_is_heard_is_not_put_out_of_its_place_by_what_it_said_in_an_earlier_life() {
    let name = HostName::new("n1").unwrap();
    let settings = Settings { timing: Profile::Lan.timing(1), grace: Duration::from_secs(3), protected_failures: 1 };
    let at = |millis: u64| Tick(millis * 1_000_000);
    let mut detector = Detector::new(settings, at(0));
    detector.add_host(name.clone(), at(0));
    let mut hear = |boot, admission, millis| {
        let (fabric, boot, admission, received) = (Fabric::A, BootId(boot), Admission(admission), at(millis));
        let (agent_age, lag) = (Duration::ZERO, Duration::ZERO);
        let beat = Beat { host: &name, fabric, boot, sequence: millis, admission, agent_age, lag, period: None, received };
        let before = detector.counters().retired_boots;
        let rebooted = detector.on_beat(&beat).iter().any(|change| matches!(change, Change::Rebooted { .. }));
        (rebooted, detector.counters().retired_boots > before)
    };
    const HEARD: (bool, bool) = (false, false);
    const REBOOTED: (bool, bool) = (true, false);
    const DROPPED: (bool, bool) = (false, true);
    assert_eq!(hear(2, 1, 1000), HEARD);
    // Recorded, or left in a queue while this machine stood still.
    assert_eq!(hear(1, 1, 1010), DROPPED);
    assert_eq!(hear(2, 1, 1020), HEARD);
    // It falls silent, and then nobody can tell: it may have been booted.
    assert_eq!(hear(1, 1, 1090), REBOOTED);
    assert_eq!(hear(2, 1, 1100), DROPPED);
    // Then it is given a new number, and whoever holds that is no recording.
    assert_eq!(hear(2, 2, 1110), REBOOTED);
    assert_eq!(hear(1, 1, 1300), DROPPED);
    assert_eq!(hear(2, 2, 1310), HEARD);
}
