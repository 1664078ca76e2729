//! A lease, acknowledgement by acknowledgement.

use std::time::Duration;

use pan_model::host::Fabric;
use pan_model::{Admission, HostName};

use super::relative::{Command, Driver, Gone, Model};
use super::*;
use crate::frame::BootId;
use crate::rules::{Mutant, Rules};
use crate::term::Term;
use crate::tick::Tick;
use crate::wire::{Ack, Verdict};

const LEASE: Duration = Duration::from_millis(240);
const BOOT: BootId = BootId(7);

fn at(millis: u64) -> Tick {
    Tick(millis * 1_000_000)
}

fn name(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

struct Bench {
    holder: Holder,
    now: u64,
}

impl Bench {
    /// Admitted as 1 at 1000 ms by three lessors.
    fn new() -> Self {
        Self::with_rules(Rules::SOUND)
    }

    fn with_rules(rules: Rules) -> Self {
        let lessors = ["x", "y", "z"].map(name);
        let mut holder = Holder::with_rules(BOOT, &lessors, LEASE, rules);
        holder.admitted(Admission(1), at(1000));
        Self { holder, now: 1000 }
    }

    fn sent(&mut self, now: u64, sequence: u64) {
        self.now = now;
        self.holder.sent(sequence, at(now));
    }

    fn ack(&mut self, now: u64, lessor: &str, sequence: u64) -> Outcome {
        self.hear(now, lessor, sequence, Verdict::Granted, 1)
    }

    fn hear(&mut self, now: u64, lessor: &str, sequence: u64, verdict: Verdict, term: u64) -> Outcome {
        self.now = now;
        let admission = self.holder.admission();
        let ack = Ack { lessor: name(lessor), term: Term(term), boot: BOOT, sequence, fabric: Fabric::A, admission, verdict };
        self.holder.ack(&ack, at(now))
    }

    fn state(&self, now: u64) -> State {
        self.holder.state(at(now))
    }

    /// Held until 1240 ms, granted by x and y.
    fn held() -> Self {
        let mut bench = Self::new();
        bench.sent(1000, 1);
        assert_eq!(bench.ack(1001, "x", 1), Outcome::Counted);
        assert_eq!(bench.ack(1002, "y", 1), Outcome::Opened { until: at(1240) });
        bench
    }
}

#[test]
fn a_majority_for_one_heartbeat_opens_and_renews() {
    let mut bench = Bench::held();
    assert_eq!(bench.state(1239), State::Held { until: at(1240) });
    assert_eq!(bench.state(1240), State::Expired { since: at(1240) });
    bench.sent(1020, 2);
    bench.sent(1040, 3);
    assert_eq!(bench.ack(1041, "x", 2), Outcome::Counted);
    assert_eq!(bench.ack(1042, "y", 3), Outcome::Counted, "two lessors, but not for the same heartbeat");
    assert_eq!(bench.ack(1043, "y", 3), Outcome::Counted, "the same lessor over the other fabric");
    assert_eq!(bench.ack(1044, "x", 3), Outcome::Renewed { until: at(1280) });
    assert_eq!(bench.ack(1045, "y", 2), Outcome::Counted, "an older heartbeat takes nothing back");
    assert_eq!(bench.holder.deadline(), Some(at(1280)));
}

#[test]
fn what_comes_late_counts_from_when_it_was_sent() {
    let mut bench = Bench::held();
    bench.sent(1020, 2);
    assert_eq!(bench.ack(1250, "x", 2), Outcome::Counted);
    assert_eq!(bench.ack(1255, "z", 2), Outcome::Opened { until: at(1260) });
    bench.sent(1300, 3);
    assert_eq!(bench.ack(1540, "x", 3), Outcome::Counted);
    assert_eq!(bench.ack(1540, "z", 3), Outcome::Counted, "its lease is over");
    assert_eq!(bench.state(1540), State::Expired { since: at(1260) });
}

#[test]
fn silence_alone_needs_no_new_admission() {
    let mut bench = Bench::held();
    assert!(!bench.holder.wants_admission(at(5000)));
    bench.sent(5000, 9);
    bench.ack(5001, "y", 9);
    assert_eq!(bench.ack(5001, "z", 9), Outcome::Opened { until: at(5240) });
}

#[test]
fn a_majority_that_revokes_fences_at_once() {
    let mut bench = Bench::held();
    assert_eq!(bench.hear(1010, "x", 1, Verdict::Revoked, 1), Outcome::Doubted);
    assert!(bench.holder.wants_admission(at(1010)));
    assert_eq!(bench.state(1010), State::Held { until: at(1240) });
    assert_eq!(bench.hear(1011, "z", 1, Verdict::Revoked, 1), Outcome::Fenced);
    assert_eq!((bench.state(1011), bench.holder.deadline()), (State::Fenced, None));
    bench.sent(1020, 2);
    for lessor in ["x", "y", "z"] {
        assert_eq!(bench.ack(1021, lessor, 2), Outcome::Ignored(Ignored::Fenced));
    }
    bench.holder.admitted(Admission(1), at(1030));
    assert_eq!(bench.state(1030), State::Fenced, "not under the same admission");
    bench.holder.admitted(Admission(2), at(1030));
    assert_eq!(bench.state(1030), State::Expired { since: at(1030) });
    assert_eq!(bench.ack(1031, "x", 2), Outcome::Ignored(Ignored::UnknownHeartbeat), "sent under the old admission");
    bench.sent(1040, 3);
    bench.ack(1041, "x", 3);
    assert_eq!(bench.ack(1041, "y", 3), Outcome::Opened { until: at(1280) });
}

#[test]
fn one_that_revokes_fences_what_is_not_held() {
    let mut bench = Bench::held();
    assert_eq!(bench.hear(1240, "x", 1, Verdict::Revoked, 1), Outcome::Fenced);
    let mut bench = Bench::held();
    bench.hear(1010, "x", 1, Verdict::Revoked, 1);
    bench.sent(1239, 2);
    assert_eq!(bench.state(1240), State::Fenced, "it ran out in doubt");
    assert_eq!(bench.ack(1241, "y", 2), Outcome::Ignored(Ignored::Fenced));
}

#[test]
fn a_half_done_revocation_is_healed_without_a_gap() {
    let mut bench = Bench::held();
    bench.hear(1010, "x", 1, Verdict::Revoked, 1);
    bench.holder.admitted(Admission(2), at(1100));
    assert_eq!(bench.state(1100), State::Held { until: at(1240) });
    assert!(!bench.holder.wants_admission(at(1100)));
    bench.sent(1100, 2);
    bench.ack(1101, "x", 2);
    assert_eq!(bench.ack(1101, "y", 2), Outcome::Renewed { until: at(1340) });
}

#[test]
fn a_lessor_that_forgot_is_not_counted() {
    let grants = |rules| {
        let mut bench = Bench::with_rules(rules);
        bench.sent(1000, 1);
        bench.hear(1001, "x", 1, Verdict::Granted, 5);
        bench.hear(1001, "y", 1, Verdict::Granted, 5);
        bench.sent(2000, 2);
        bench.hear(2001, "z", 2, Verdict::Granted, 5);
        bench.hear(2001, "y", 2, Verdict::Granted, 4)
    };
    assert_eq!(grants(Rules::SOUND), Outcome::Ignored(Ignored::Forgetful));
    assert_eq!(grants(Rules::broken_by(Mutant::StaleTermCounts)), Outcome::Opened { until: at(2240) });

    let mut bench = Bench::new();
    bench.sent(1000, 1);
    assert_eq!(bench.hear(1001, "x", 1, Verdict::Granted, 5), Outcome::Counted);
    assert_eq!(bench.holder.term_floor(), Term(0));
    // One lessor ahead of the others is a leader that has just begun to ask, and must cost nobody his lease.
    assert_eq!(bench.hear(1002, "y", 1, Verdict::Granted, 4), Outcome::Opened { until: at(1240) });
    assert_eq!(bench.holder.term_floor(), Term(4));
    assert_eq!(bench.hear(1003, "z", 1, Verdict::Granted, 3), Outcome::Ignored(Ignored::Forgetful));
}

#[test]
fn what_does_not_concern_us_is_ignored() {
    let mut bench = Bench::held();
    bench.sent(1020, 2);
    let ack = |lessor: &str, boot, admission| Ack {
        lessor: name(lessor),
        term: Term(1),
        boot: BootId(boot),
        sequence: 2,
        fabric: Fabric::B,
        admission: Admission(admission),
        verdict: Verdict::Granted,
    };
    let mut hear = |ack: Ack| bench.holder.ack(&ack, at(1021));
    assert_eq!(hear(ack("x", 8, 1)), Outcome::Ignored(Ignored::OtherBoot));
    assert_eq!(hear(ack("q", 7, 1)), Outcome::Ignored(Ignored::Stranger));
    assert_eq!(hear(ack("x", 7, 2)), Outcome::Ignored(Ignored::OtherAdmission));
    assert_eq!(hear(Ack { verdict: Verdict::NotReady, ..ack("x", 7, 1) }), Outcome::Ignored(Ignored::NotReady));
    assert_eq!(hear(Ack { sequence: 77, ..ack("x", 7, 1) }), Outcome::Ignored(Ignored::UnknownHeartbeat));
    let ages = Fabric::BOTH.map(|fabric| bench.holder.acknowledged(fabric, at(1030)));
    assert_eq!(ages, [Some(Duration::from_millis(28)), Some(Duration::from_millis(9))]);
}

#[test]
fn nobody_is_admitted_by_himself() {
    let mut holder = Holder::new(BOOT, &[name("x")], LEASE);
    holder.sent(1, at(0));
    let ack =
        |verdict| Ack { lessor: name("x"), term: Term(1), boot: BOOT, sequence: 1, fabric: Fabric::A, admission: Admission::NONE, verdict };
    assert_eq!(holder.ack(&ack(Verdict::Granted), at(1)), Outcome::Ignored(Ignored::OtherAdmission));
    assert_eq!(holder.ack(&ack(Verdict::Revoked), at(1)), Outcome::Ignored(Ignored::OtherAdmission));
    assert_eq!(holder.state(at(1)), State::None);
    assert!(holder.wants_admission(at(1)));
}

/// A process that opens its gate, then computes a renewal, is stopped, and applies it at `late`.
fn stopped(rules: Rules, late: u64) -> (Result<(), Gone>, Option<u64>) {
    let (mut driver, mut kernel) = (Driver::new(LEASE), Model::new(rules));
    let arm = driver.prepare().unwrap();
    driver.applied(arm, kernel.apply(arm, at(0)));
    let open = driver.grant(at(240), at(1)).unwrap();
    assert_eq!(open, Command::Open { timeout: Duration::from_millis(239) });
    driver.applied(open, kernel.apply(open, at(1)));
    assert_eq!(driver.prepare(), None);
    let renew = driver.grant(at(260), at(20)).unwrap();
    let result = kernel.apply(renew, at(late));
    driver.applied(renew, result);
    (result, (late..2000).find(|now| !kernel.is_open(at(*now))))
}

#[test]
fn a_stopped_process_renews_only_what_is_open() {
    assert_eq!(stopped(Rules::SOUND, 21), (Ok(()), Some(261)));
    assert_eq!(stopped(Rules::SOUND, 239), (Ok(()), Some(479)), "before 260 + 240");
    assert_eq!(stopped(Rules::SOUND, 240), (Err(Gone), Some(240)));
    assert_eq!(stopped(Rules::broken_by(Mutant::RenewalAfterExpiry), 1000), (Ok(()), Some(1240)));
}

#[test]
fn a_stopped_process_opens_only_while_its_token_lives() {
    let (mut driver, mut kernel) = (Driver::new(LEASE), Model::new(Rules::SOUND));
    let arm = driver.prepare().unwrap();
    driver.applied(arm, kernel.apply(arm, at(0)));
    let open = driver.grant(at(240), at(1)).unwrap();
    assert_eq!(kernel.apply(open, at(240)), Err(Gone));
    driver.applied(open, Err(Gone));
    assert!(!kernel.is_open(at(240)));
    assert_eq!(driver.prepare(), Some(arm), "it begins again");
    assert_eq!(driver.grant(at(240), at(240)), None);
}

/// The same holder in another process: a dialogue must not tell the difference.
fn handed(bench: &mut Bench) {
    let fresh = Holder::new(BOOT, &["x", "y", "z"].map(name), LEASE);
    let memory = bench.holder.memory();
    bench.holder = fresh.resume(&memory).unwrap();
    assert_eq!(bench.holder.memory(), memory);
}

#[test]
fn a_holder_that_follows_counts_the_acknowledgements_of_its_predecessors_heartbeats() {
    let mut bench = Bench::new();
    bench.sent(1000, 1);
    assert_eq!(bench.ack(1001, "x", 1), Outcome::Counted);
    handed(&mut bench);
    assert_eq!(bench.ack(1002, "y", 1), Outcome::Opened { until: at(1240) });
    bench.sent(1020, 2);
    handed(&mut bench);
    assert_eq!(bench.ack(1021, "x", 2), Outcome::Counted);
    assert_eq!(bench.ack(1022, "y", 2), Outcome::Renewed { until: at(1260) });
    // Nobody follows for longer than the lease: what opens then is an opening, never a renewal.
    bench.sent(1040, 3);
    bench.ack(1041, "x", 3);
    handed(&mut bench);
    assert_eq!(bench.holder.state(at(1260)), State::Expired { since: at(1260) });
    bench.sent(1270, 4);
    bench.ack(1271, "x", 4);
    assert_eq!(bench.ack(1272, "y", 4), Outcome::Opened { until: at(1510) });
    // What was revoked before stays so, and a late grant of an earlier heartbeat takes the deadline nowhere.
    assert_eq!(bench.ack(1273, "z", 3), Outcome::Counted);
    assert_eq!(bench.hear(1274, "x", 4, Verdict::Revoked, 2), Outcome::Doubted);
    handed(&mut bench);
    assert!(bench.holder.wants_admission(at(1280)));
    assert_eq!(bench.hear(1281, "y", 4, Verdict::Revoked, 2), Outcome::Fenced);
    handed(&mut bench);
    assert_eq!(bench.holder.state(at(1282)), State::Fenced);
}

#[test]
fn a_ring_that_went_round_is_handed_over_whole() {
    let mut bench = Bench::new();
    for sequence in 1..=45 {
        bench.sent(1000 + sequence, sequence);
    }
    handed(&mut bench);
    let sent = bench.holder.memory().sent;
    assert_eq!((sent.len(), sent[0].sequence, sent[31].sequence), (32, 14, 45));
    assert_eq!(bench.ack(1050, "x", 14), Outcome::Counted);
    assert_eq!(bench.ack(1050, "x", 13), Outcome::Ignored(Ignored::UnknownHeartbeat));
}

#[test]
fn another_boot_and_other_lessors_do_not_follow() {
    let memory = Bench::new().holder.memory();
    assert!(Holder::new(BootId(8), &["x", "y", "z"].map(name), LEASE).resume(&memory).is_none());
    assert!(Holder::new(BOOT, &["x", "z", "y"].map(name), LEASE).resume(&memory).is_none());
    assert!(Holder::new(BOOT, &["x", "y"].map(name), LEASE).resume(&memory).is_none());
}
