//! A lessor, request by request.

use std::time::Duration;

use pan_model::host::Fabric;
use pan_model::{Admission, HostName};

use super::*;
use crate::frame::BootId;
use crate::profile::{Gate, Profile, Tenure, Timing};
use crate::rules::{Mutant, Rules};
use crate::term::Term;
use crate::tick::Tick;
use crate::wire::{Ask, Message, Nonce, Revoke, Verdict};

/// Milliseconds after a moment when nothing that was acknowledged before the start of the process counts any more.
fn at(millis: u64) -> Tick {
    Tick((millis + 10_000) * 1_000_000)
}

/// What a node of `lan` has.
const TENURE: Tenure = Tenure { gate: Gate::Absolute, lease: Duration::from_millis(240) };

fn lan() -> Timing {
    Profile::Lan.timing(7)
}

fn name(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn ready() -> Lessor {
    let mut lessor = Lessor::new(name("x"), lan());
    lessor.load(Durable::default(), Tick(0));
    lessor
}

fn beat(lessor: &mut Lessor, now: u64, admission: u64) -> Option<Verdict> {
    let host = name("n1");
    let (fabric, boot, sequence, admission) = (Fabric::A, BootId(1), now, Admission(admission));
    let heartbeat = Heartbeat { host: &host, fabric, boot, sequence, admission, tenure: TENURE, received: at(now) };
    lessor.heartbeat(&heartbeat, at(now)).map(|ack| ack.verdict)
}

fn revoke(term: u64, nonce: u64, through: u64) -> Revoke {
    Revoke { leader: name("c1"), term: Term(term), nonce: Nonce(nonce), host: name("n1"), through: Admission(through) }
}

/// The age of the acknowledgement of a `lan` heartbeat by which a gate may be open for so long yet.
fn age(open: Duration) -> String {
    let bound = lan().bound_of(TENURE);
    match bound.checked_sub(open) {
        Some(age) if open > Duration::ZERO => format!("{age:?}"),
        Some(_) => "over".into(),
        None => format!("{} ms more than lan", (open - bound).as_millis()),
    }
}

/// In short: what was answered (nonce, and age of the last acknowledgement or the lessor's term), or written.
fn brief(effects: &[Effect]) -> Vec<String> {
    let show = |effect: &Effect| match effect {
        Effect::Persist { state, .. } => {
            format!("write {} {:?}", state.term, state.revoked.values().map(|through| through.0).collect::<Vec<_>>())
        }
        Effect::Answer { message: Message::Revoked(said), .. } => format!("revoked {} {}", said.nonce.0, age(said.open)),
        Effect::Answer { message: Message::Refused(said), .. } => format!("refused {} {}<{}", said.nonce.0, said.asked, said.term),
        Effect::Answer { message: Message::Heard(said), .. } => format!("heard {} {:?}", said.nonce.0, said.ages),
        Effect::Answer { message, .. } => panic!("a lessor never says {message:?}"),
    };
    effects.iter().map(show).collect()
}

fn ticket(effects: &[Effect]) -> Ticket {
    let found = effects.iter().find_map(|effect| match effect {
        Effect::Persist { ticket, .. } => Some(*ticket),
        Effect::Answer { .. } => None,
    });
    found.expect("something is written")
}

#[test]
fn nothing_is_acknowledged_before_the_disk_was_read() {
    let mut lessor = Lessor::new(name("x"), lan());
    assert_eq!(beat(&mut lessor, 1, 1), Some(Verdict::NotReady));
    assert!(lessor.revoke(revoke(1, 1, 1), at(2)).is_empty());
    let found = Durable { term: Term(3), revoked: [(name("n1"), Admission(1))].into() };
    lessor.load(found, at(3));
    assert_eq!(lessor.term(), Term(3));
    assert_eq!(beat(&mut lessor, 4, 1), Some(Verdict::Revoked));
    assert_eq!(beat(&mut lessor, 5, 2), Some(Verdict::Granted));
    assert_eq!(beat(&mut lessor, 6, 0), Some(Verdict::Revoked), "not admitted is not acknowledged");
}

#[test]
fn a_revocation_holds_at_once_and_is_answered_when_it_is_durable() {
    let mut lessor = ready();
    assert_eq!(beat(&mut lessor, 100, 1), Some(Verdict::Granted));
    let effects = lessor.revoke(revoke(5, 1, 1), at(110));
    assert_eq!(brief(&effects), ["write 5 [1]"]);
    assert_eq!(beat(&mut lessor, 120, 1), Some(Verdict::Revoked));
    assert_eq!(lessor.term(), Term(0), "not on the disk yet");
    assert!(lessor.revoke(revoke(5, 2, 1), at(130)).is_empty(), "the same again, with the write under way");
    let effects = lessor.persisted(ticket(&effects), at(150));
    assert_eq!(brief(&effects), ["revoked 2 50ms"]);
    assert_eq!(lessor.term(), Term(5));
    assert_eq!(brief(&lessor.revoke(revoke(5, 3, 1), at(160))), ["revoked 3 60ms"], "again, at once");
    assert_eq!(beat(&mut lessor, 170, 2), Some(Verdict::Granted));
    assert_eq!(brief(&lessor.revoke(revoke(5, 4, 1), at(180))), ["revoked 4 80ms"], "the later admission has its own time");
}

#[test]
fn what_comes_during_a_write_goes_into_the_next() {
    let mut lessor = ready();
    let first = lessor.revoke(revoke(5, 1, 1), at(10));
    assert!(lessor.revoke(Revoke { host: name("n2"), ..revoke(5, 2, 7) }, at(11)).is_empty());
    assert!(lessor.revoke(Revoke { host: name("n3"), ..revoke(5, 3, 8) }, at(12)).is_empty());
    let second = lessor.persisted(ticket(&first), at(20));
    assert_eq!(brief(&second), ["revoked 1 over", "write 5 [1, 7, 8]"]);
    assert_eq!(brief(&lessor.persisted(ticket(&second), at(30))), ["revoked 2 over", "revoked 3 over"]);
}

#[test]
fn a_failed_write_is_tried_again_when_asked_again() {
    let mut lessor = ready();
    let first = lessor.revoke(revoke(5, 1, 1), at(10));
    lessor.persist_failed(ticket(&first));
    assert_eq!(beat(&mut lessor, 15, 1), Some(Verdict::Revoked));
    let second = lessor.revoke(revoke(5, 2, 1), at(20));
    assert_eq!(brief(&second), ["write 5 [1]"]);
    assert_eq!(brief(&lessor.persisted(ticket(&second), at(30))), ["revoked 2 over"]);
}

#[test]
fn a_later_leader_is_heeded_and_an_earlier_one_refused() {
    let mut lessor = ready();
    let first = lessor.revoke(revoke(5, 1, 1), at(10));
    let ask = Ask { leader: name("c2"), term: Term(6), nonce: Nonce(2), hosts: vec![name("n1"), name("n9")] };
    assert!(lessor.ask(ask, at(11)).is_empty());
    let second = lessor.persisted(ticket(&first), at(20));
    assert_eq!(brief(&second), ["refused 1 5<6", "write 6 [1]"]);
    assert_eq!(brief(&lessor.revoke(revoke(5, 3, 1), at(21))), ["refused 3 5<6"]);
    assert_eq!(brief(&lessor.persisted(ticket(&second), at(40))), ["heard 2 [10.04s, 10.04s]"]);
}

#[test]
fn after_a_restart_a_gate_may_be_open_for_as_long_as_any() {
    let restarted = |rules| {
        let mut lessor = Lessor::with_rules(name("x"), lan(), rules);
        lessor.load(Durable { term: Term(5), revoked: [(name("n1"), Admission(1))].into() }, at(1000));
        let said = brief(&lessor.revoke(revoke(5, 1, 1), at(1030)));
        (said, beat(&mut lessor, 1031, 1))
    };
    let more = (lan().bound_of(Tenure::LONGEST) - lan().bound_of(TENURE) - Duration::from_millis(30)).as_millis();
    assert_eq!(restarted(Rules::SOUND), (vec![format!("revoked 1 {more} ms more than lan")], Some(Verdict::Revoked)));
    let forgetful = Rules::broken_by(Mutant::RevocationForgotten);
    let mut lessor = Lessor::with_rules(name("x"), lan(), forgetful);
    lessor.load(Durable { term: Term(5), revoked: [(name("n1"), Admission(1))].into() }, at(1000));
    assert_eq!(beat(&mut lessor, 1031, 1), Some(Verdict::Granted));
}

#[test]
fn who_was_never_a_lessor_knows_that_nobody_was_acknowledged() {
    let mut lessor = Lessor::new(name("x"), lan());
    lessor.begin(at(1000));
    let effects = lessor.revoke(revoke(5, 1, 1), at(1030));
    let said = lessor.persisted(ticket(&effects), at(1040));
    assert_eq!(brief(&said), ["revoked 1 over"]);
    let Effect::Answer { message: Message::Revoked(said), .. } = &said[0] else { panic!() };
    assert_eq!(said.heard, Duration::from_millis(40), "nor can it have heard anybody");
    let mut next = Lessor::new(name("x"), lan());
    next.resume(&lessor.memory().unwrap());
    assert_eq!(brief(&next.revoke(revoke(5, 2, 1), at(1050))), ["revoked 2 over"]);
}

#[test]
fn a_heartbeat_that_comes_again_is_not_acknowledged_again() {
    let mut lessor = ready();
    assert_eq!(beat(&mut lessor, 100, 1), Some(Verdict::Granted));
    assert_eq!(beat(&mut lessor, 100, 1), None);
    let effects = lessor.revoke(revoke(1, 1, 1), at(400));
    assert_eq!(brief(&lessor.persisted(ticket(&effects), at(400))), ["revoked 1 over"]);
}

fn beat_of(lessor: &mut Lessor, boot: u64, sequence: u64, admission: u64) -> Option<Verdict> {
    let host = name("n1");
    let (fabric, admission) = (Fabric::A, Admission(admission));
    let heartbeat = Heartbeat { host: &host, fabric, boot: BootId(boot), sequence, admission, tenure: TENURE, received: at(sequence) };
    lessor.heartbeat(&heartbeat, at(sequence)).map(|ack| ack.verdict)
}

#[test]
fn who_is_not_admitted_takes_nobodys_place() {
    let mut lessor = ready();
    assert_eq!(beat_of(&mut lessor, 1, 10, 1), Some(Verdict::Granted));
    // A second machine with the keys, or a program that was started beside the first: no number, so no place.
    assert_eq!(beat_of(&mut lessor, 2, 5, 0), Some(Verdict::Revoked));
    assert_eq!(beat_of(&mut lessor, 2, 5, 0), None, "what comes again is not answered");
    assert_eq!(beat_of(&mut lessor, 1, 20, 1), Some(Verdict::Granted));
    // Really booted: it gets a number of its own, and from then on the one before it is past.
    assert_eq!(beat_of(&mut lessor, 2, 30, 2), Some(Verdict::Granted));
    assert_eq!(beat_of(&mut lessor, 1, 40, 1), None);
    assert_eq!(beat_of(&mut lessor, 2, 42, 2), Some(Verdict::Granted));
    // If that was none, and what sent it was recorded: the host is let in anew, and holds a number that nobody could have recorded.
    assert_eq!(beat_of(&mut lessor, 1, 43, 3), Some(Verdict::Granted));
    assert_eq!(beat_of(&mut lessor, 2, 44, 2), None);
}

#[test]
fn of_two_boots_with_one_number_the_one_that_is_heard_has_the_place() {
    let mut lessor = ready();
    let silent = u64::try_from(lan().suspect_after().as_millis()).unwrap();
    assert_eq!(beat_of(&mut lessor, 1, 100, 1), Some(Verdict::Granted));
    // It was booted before any controller noticed, and got the number that it had; or somebody recorded its former life.
    assert_eq!(beat_of(&mut lessor, 2, 110, 1), Some(Verdict::Granted), "of use to whoever sent it");
    assert_eq!(beat_of(&mut lessor, 1, 120, 1), Some(Verdict::Granted));
    assert_eq!(beat_of(&mut lessor, 2, 120 + silent, 1), Some(Verdict::Granted));
    assert_eq!(beat_of(&mut lessor, 1, 121 + silent, 1), None, "its place is taken");
}

#[test]
fn what_was_recorded_of_an_earlier_boot_takes_nobodys_place_at_a_lessor_that_forgot_it() {
    // It begins anew, hears the present boot, and then what somebody recorded.
    let mut lessor = ready();
    assert_eq!(beat_of(&mut lessor, 2, 10, 2), Some(Verdict::Granted));
    assert_eq!(beat_of(&mut lessor, 1, 500, 1), Some(Verdict::Granted), "nobody revoked it, and it is of use to nobody");
    assert_eq!(beat_of(&mut lessor, 2, 20, 2), Some(Verdict::Granted));
    // The other way round.
    let mut lessor = ready();
    assert_eq!(beat_of(&mut lessor, 1, 500, 1), Some(Verdict::Granted));
    assert_eq!(beat_of(&mut lessor, 2, 10, 2), Some(Verdict::Granted));
    assert_eq!(beat_of(&mut lessor, 1, 501, 1), None);
    assert_eq!(beat_of(&mut lessor, 2, 20, 2), Some(Verdict::Granted));
}

#[test]
fn silence_is_told_by_when_the_kernel_received() {
    let mut lessor = ready();
    let host = name("n1");
    let (fabric, boot, admission) = (Fabric::A, BootId(1), Admission(1));
    let heartbeat = Heartbeat { host: &host, fabric, boot, sequence: 1, admission, tenure: TENURE, received: at(100) };
    lessor.heartbeat(&heartbeat, at(180)).unwrap();
    let ask = |nonce| Ask { leader: name("c1"), term: Term(0), nonce: Nonce(nonce), hosts: vec![name("n1")] };
    assert_eq!(brief(&lessor.ask(ask(1), at(200))), ["heard 1 [100ms]"]);
    let effects = lessor.revoke(revoke(0, 2, 1), at(200));
    let said = lessor.persisted(ticket(&effects), at(200));
    assert_eq!(brief(&said), ["revoked 2 20ms"], "the lease counts from when it was acknowledged");
}

#[test]
fn a_lessor_that_follows_remembers_whom_it_acknowledged_and_what_it_revoked() {
    let mut first = ready();
    assert_eq!(beat(&mut first, 100, 1), Some(Verdict::Granted));
    let writing = first.revoke(revoke(3, 1, 1), at(110));
    assert!(first.memory().is_none(), "a write is under way");
    first.persisted(ticket(&writing), at(120));
    let memory = first.memory().unwrap();
    let mut next = Lessor::new(name("x"), lan());
    next.resume(&memory);
    assert_eq!(next.memory().unwrap(), memory);
    assert_eq!(beat(&mut next, 100, 1), None, "it came before");
    assert_eq!(beat(&mut next, 130, 1), Some(Verdict::Revoked));
    assert_eq!(brief(&next.revoke(revoke(3, 2, 1), at(150))), ["revoked 2 50ms"], "by the predecessor's acknowledgement");
    assert_eq!(brief(&next.revoke(revoke(2, 3, 1), at(150))), ["refused 3 2<3"]);
}

#[test]
fn what_the_disk_refused_is_written_by_the_lessor_that_follows() {
    let mut first = ready();
    let writing = first.revoke(revoke(3, 1, 1), at(110));
    first.persist_failed(ticket(&writing));
    let mut next = Lessor::new(name("x"), lan());
    next.resume(&first.memory().unwrap());
    assert_eq!(beat(&mut next, 130, 1), Some(Verdict::Revoked), "it holds at once");
    assert_eq!(brief(&next.revoke(revoke(3, 2, 1), at(150))), ["write 3 [1]"]);
}

#[test]
fn a_lease_is_as_long_as_its_holder_says() {
    let host = name("n1");
    let mut lessor = ready();
    let mut beat = |sequence, now, tenure| {
        let (fabric, boot, admission) = (Fabric::A, BootId(1), Admission(1));
        lessor.heartbeat(&Heartbeat { host: &host, fabric, boot, sequence, admission, tenure, received: at(now) }, at(now)).unwrap();
    };
    // A node of another profile, which is brought to this PAN's: what was acknowledged before lasts as long as it does.
    beat(1, 100, Tenure { gate: Gate::Absolute, lease: Duration::from_millis(600) });
    beat(2, 200, TENURE);
    let first = lessor.revoke(revoke(1, 1, 1), at(200));
    let Effect::Answer { message: Message::Revoked(said), .. } = &lessor.persisted(ticket(&first), at(300))[0] else { panic!() };
    // 600 ms stretched by two clocks that are off by 1 %, and 20 ms, 200 ms later.
    assert_eq!(said.open.as_millis(), 432);
    let relative = Tenure { gate: Gate::Relative, lease: Duration::from_millis(240) };
    assert_eq!(lan().bound_of(relative).as_millis(), 509, "a relative gate may be open for twice as long");
}
