//! Revocations and confirmations, answer by answer.

use std::collections::BTreeSet;
use std::time::Duration;

use pan_model::{Admission, HostName};

use super::*;
use crate::profile::Profile;
use crate::rules::Rules;
use crate::term::Term;
use crate::tick::Tick;
use crate::wire::{ASKED_MAX, Heard, Message, Nonce, Refused, Revoke, Revoked};

fn at(millis: u64) -> Tick {
    Tick(millis * 1_000_000)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn name(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn office() -> Office {
    Office {
        leader: name("c1"),
        term: Term(5),
        lessors: ["x", "y", "z"].map(name).to_vec(),
        timing: Profile::Lan.timing(7),
        nonce: Nonce(u64::MAX - 1),
        rules: Rules::SOUND,
    }
}

/// Of what is due: to whom, and what, in short.
fn brief(due: &[(HostName, Message)]) -> Vec<String> {
    let show = |(to, message): &(HostName, Message)| match message {
        Message::Revoke(revoke) => format!("{to} revoke {} {}", revoke.host, revoke.through),
        Message::Ask(ask) => format!("{to} ask {}", ask.hosts.len()),
        other => panic!("a leader never sends {other:?}"),
    };
    due.iter().map(show).collect()
}

fn revoke_for<'a>(due: &'a [(HostName, Message)], lessor: &str) -> &'a Revoke {
    let found = due.iter().find_map(|(to, message)| match message {
        Message::Revoke(revoke) if to.as_str() == lessor => Some(revoke),
        _ => None,
    });
    found.expect("was asked")
}

fn said(due: &[(HostName, Message)], lessor: &str, open: u64) -> Message {
    let Revoke { term, nonce, host, through, .. } = revoke_for(due, lessor).clone();
    let (open, heard) = (ms(open), ms(300));
    Message::Revoked(Revoked { lessor: name(lessor), term, nonce, host, through, open, heard })
}

#[test]
fn a_majority_says_when_to_start() {
    let mut revocations = Revocations::new(office());
    revocations.begin(name("n1"), Admission(3));
    let due = revocations.due(at(1000));
    let revokes = ["x revoke n1 3", "y revoke n1 3", "z revoke n1 3", "x ask 0", "y ask 0", "z ask 0"];
    assert_eq!(brief(&due), revokes);
    assert_eq!(revocations.next_deadline(), Some(at(1010)));
    assert_eq!(revocations.answer(&said(&due, "y", 254), at(1001)), Outcome::Noted);
    let again = revocations.due(at(1010));
    assert_eq!(brief(&again), ["x revoke n1 3", "z revoke n1 3"], "those that did not answer");
    let after = |millis: u64, open: u64| StartAfter { through: Admission(3), at: at(millis).plus(ms(open)) };
    let host = name("n1");
    assert_eq!(revocations.answer(&said(&due, "x", 224), at(1012)), Outcome::Revoked { host: host.clone(), after: after(1001, 254) });
    assert!(revocations.due(at(1030)).is_empty(), "a majority is enough");
    // Any majority will do, so the best one counts.
    assert_eq!(revocations.answer(&said(&again, "z", 204), at(1013)), Outcome::Revoked { host, after: after(1012, 224) });
    revocations.end(&name("n1"));
    assert_eq!(revocations.start_after(&name("n1")), None);
}

#[test]
fn for_a_truly_dead_host_nobody_waits() {
    let mut revocations = Revocations::new(office());
    revocations.begin(name("n1"), Admission(1));
    let due = revocations.due(at(1000));
    revocations.answer(&said(&due, "x", 0), at(1001));
    revocations.answer(&said(&due, "y", 0), at(1002));
    assert_eq!(revocations.start_after(&name("n1")).unwrap().at, at(1002));
}

#[test]
fn what_answers_no_question_is_ignored() {
    let mut revocations = Revocations::new(office());
    revocations.begin(name("n1"), Admission(1));
    let due = revocations.due(at(1000));
    let Message::Revoked(right) = said(&due, "x", 0) else { panic!() };
    let wrong = [
        Revoked { nonce: Nonce(999), ..right.clone() },
        Revoked { lessor: name("q"), ..right.clone() },
        Revoked { host: name("n2"), ..right.clone() },
        Revoked { through: Admission(9), ..right.clone() },
    ];
    for wrong in wrong {
        assert_eq!(revocations.answer(&Message::Revoked(wrong), at(1001)), Outcome::Ignored);
    }
    assert_eq!(revocations.answer(&Message::Revoked(right.clone()), at(1001)), Outcome::Noted);
    assert_eq!(revocations.answer(&Message::Revoked(right.clone()), at(1002)), Outcome::Noted, "the same lessor twice");
    // A higher admission begins anew.
    revocations.begin(name("n1"), Admission(2));
    assert_eq!(revocations.answer(&Message::Revoked(right), at(1003)), Outcome::Ignored);
    assert_eq!(brief(&revocations.due(at(1003))), ["x revoke n1 2", "y revoke n1 2", "z revoke n1 2"]);
}

#[test]
fn a_lessor_that_knows_better_deposes() {
    let mut revocations = Revocations::new(office());
    revocations.begin(name("n1"), Admission(1));
    let due = revocations.due(at(1000));
    let nonce = revoke_for(&due, "x").nonce;
    let refused = Refused { lessor: name("x"), term: Term(6), nonce, asked: Term(5) };
    let deposed = Outcome::Deposed { lessor: name("x"), term: Term(6) };
    assert_eq!(revocations.answer(&Message::Refused(refused), at(1001)), deposed);
}

#[test]
fn a_lessor_that_forgets_the_term_is_noticed_and_not_told_again() {
    let mut revocations = Revocations::new(office());
    let told = asked(&revocations.due(at(1000)));
    let heard = |(lessor, nonce, _): &(HostName, Nonce, usize), term| {
        Message::Heard(Heard { lessor: lessor.clone(), term: Term(term), nonce: *nonce, ages: Vec::new() })
    };
    for ask in &told[..2] {
        assert_eq!(revocations.answer(&heard(ask, 5), at(1001)), Outcome::Noted);
    }
    assert_eq!(brief(&revocations.due(at(1500))), ["z ask 0"], "who has not answered is told again");
    let due = revocations.due(at(2001));
    let terms: Vec<_> =
        due.iter().map(|(to, message)| (to.as_str(), matches!(message, Message::Ask(ask) if ask.term == Term(0)))).collect();
    assert_eq!(terms, [("z", false), ("x", true), ("y", true)], "who has is asked, in no term that it could take over");
    assert_eq!(revocations.next_deadline(), Some(at(2501)));
    let [z, x, y] = asked(&due).try_into().unwrap();
    let refuses = |(lessor, nonce, _): &(HostName, Nonce, usize), term| {
        Message::Refused(Refused { lessor: lessor.clone(), term: Term(term), nonce: *nonce, asked: Term(0) })
    };
    assert_eq!(revocations.answer(&refuses(&x, 5), at(2002)), Outcome::Ignored, "it knows");
    let forgot = |lessor, term| Outcome::Forgot { lessor: name(lessor), term: Term(term) };
    assert_eq!(revocations.answer(&refuses(&x, 4), at(2003)), forgot("x", 4), "an older copy of its disk");
    assert_eq!(revocations.answer(&heard(&y, 0), at(2003)), forgot("y", 0), "a new disk");
    assert_eq!(revocations.answer(&refuses(&z, 4), at(2003)), Outcome::Ignored, "it was never known to know");
    revocations.begin(name("n1"), Admission(1));
    let told = ["x ask 0", "x revoke n1 1", "y ask 0", "y revoke n1 1", "z revoke n1 1"];
    assert_eq!(brief(&revocations.due(at(2400))), told, "before a revocation tells it the term");
    assert_eq!(brief(&revocations.due(at(2410))), ["x revoke n1 1", "y revoke n1 1", "z revoke n1 1"], "once is enough");
}

fn asked(due: &[(HostName, Message)]) -> Vec<(HostName, Nonce, usize)> {
    let asks = due.iter().map(|(to, message)| match message {
        Message::Ask(ask) => (to.clone(), ask.nonce, ask.hosts.len()),
        other => panic!("a confirmation never sends {other:?}"),
    });
    asks.collect()
}

#[test]
fn a_majority_confirms_that_nobody_is_heard() {
    let hosts: BTreeSet<HostName> = (0..=ASKED_MAX).map(|number| name(&format!("n{number}"))).collect();
    let mut confirmation = Confirmation::new(office(), &hosts);
    let answer = |(lessor, nonce, count): &(HostName, Nonce, usize), age: u64| Heard {
        lessor: lessor.clone(),
        term: Term(5),
        nonce: *nonce,
        ages: vec![ms(age); *count],
    };
    let first = asked(&confirmation.due(at(0)));
    assert_eq!(first.len(), 6, "two datagrams for each of three lessors");
    for ask in &first[..4] {
        // One of y's datagrams says that somebody is heard.
        let age = if *ask == first[3] { 269 } else { 270 };
        assert_eq!(confirmation.heard(&answer(ask, age), at(1)), Confirmed::NotYet);
    }
    let short = Heard { ages: Vec::new(), ..answer(&first[4], 270) };
    assert_eq!(confirmation.heard(&short, at(2)), Confirmed::NotYet);
    assert_eq!(confirmation.next_deadline(), Some(at(10)));
    // All are asked again: who heard nobody may hear somebody by now.
    let again = asked(&confirmation.due(at(10)));
    assert_eq!(again.len(), 6);
    assert_eq!(confirmation.heard(&answer(&again[3], 270), at(11)), Confirmed::Yes);
    assert_eq!(confirmation.heard(&answer(&first[3], 269), at(12)), Confirmed::Yes, "an answer to an earlier question, overtaken");
    assert_eq!(confirmation.confirmed(at(80)), Confirmed::Yes);
    assert_eq!(confirmation.confirmed(at(81)), Confirmed::NotYet, "x was asked more than eight turns ago");
    assert_eq!(confirmation.heard(&answer(&again[0], 269), at(13)), Confirmed::NotYet, "x hears somebody now");
}
