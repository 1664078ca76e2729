//! One controller, step by step.

use pan_model::HostName;

use super::super::*;
use crate::frame::BootId;
use crate::profile::Profile;
use crate::rules::{Mutant, Rules};
use crate::term::Term;
use crate::tick::Tick;
use crate::wire::{LeaderBeat, Nonce, PreVoteAsk, PreVoteSay, Vote};

fn at(millis: u64) -> Tick {
    Tick(millis * 1_000_000)
}

fn name(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn candidate(controllers: &[&str], rules: Rules) -> Candidate {
    Candidate {
        me: name("c1"),
        instance: BootId(1),
        controllers: controllers.iter().copied().map(name).collect(),
        timing: Profile::Lan.timing(7),
        nonce: Nonce(0),
        rules,
    }
}

fn record(leader: &str, instance: u64, term: u64, revision: u64) -> Option<LeaderRecord> {
    Some(LeaderRecord { leader: name(leader), instance: BootId(instance), term: Term(term), revision: Revision(revision) })
}

/// Runs until `end`, with no back-off, and says what was wanted when.
fn run(campaign: &mut Campaign, end: u64) -> Vec<(u64, Effect)> {
    let mut wanted = Vec::new();
    while campaign.next_deadline() <= at(end) {
        let now = campaign.next_deadline();
        let effects = campaign.tick(now, 0);
        wanted.extend(effects.into_iter().map(|effect| (now.0 / 1_000_000, effect)));
    }
    wanted
}

/// One of three, which has read that c2 leads in term 5.
fn follower(rules: Rules) -> Campaign {
    let mut campaign = Campaign::new(candidate(&["c1", "c2", "c3"], rules), at(0));
    assert_eq!(run(&mut campaign, 20), [(15, Effect::ReadRecord)]);
    let follow = Effect::Follow { leader: name("c2"), term: Term(5) };
    assert_eq!(campaign.observed(record("c2", 2, 5, 50), at(20)), [follow]);
    campaign
}

fn say(voter: &str, nonce: u64, vote: Vote) -> PreVoteSay {
    PreVoteSay { voter: name(voter), term: Term(6), nonce: Nonce(nonce), silent_for: std::time::Duration::ZERO, vote }
}

/// Leads in term 6 since 160 ms.
fn leader() -> Campaign {
    let mut campaign = follower(Rules::SOUND);
    assert_eq!(run(&mut campaign, 160).len(), 1);
    assert_eq!(campaign.said(&say("c3", 1, Vote::Yes)).len(), 1);
    let lead = Effect::Lead { term: Term(6), revision: Revision(60) };
    let beat = Effect::Beat(LeaderBeat { leader: name("c1"), term: Term(6), sequence: 1 });
    assert_eq!(campaign.taken(Taken::Done { revision: Revision(60) }, at(160)), [lead, beat]);
    assert_eq!(campaign.may_act(), Some((Term(6), Revision(60))));
    campaign
}

#[test]
fn alone_one_leads_at_once() {
    let mut campaign = Campaign::new(candidate(&["c1"], Rules::SOUND), at(0));
    assert_eq!(run(&mut campaign, 15), [(15, Effect::ReadRecord)]);
    assert_eq!(campaign.observed(record("c1", 9, 5, 50), at(20)), [], "a former life");
    let take = Effect::TakeRecord { expected: Some(Revision(50)), term: Term(6) };
    assert_eq!(run(&mut campaign, 30), [(30, take)]);
    let lead = Effect::Lead { term: Term(6), revision: Revision(51) };
    assert_eq!(campaign.taken(Taken::Done { revision: Revision(51) }, at(31)), [lead]);
    assert_eq!(run(&mut campaign, 9000), [], "and has nobody to tell");
    campaign.tick(at(90_000), 0);
    assert!(campaign.may_act().is_some(), "nobody else can have taken the record");
}

#[test]
fn silence_heard_by_a_majority_makes_a_candidate() {
    let mut campaign = follower(Rules::SOUND);
    let ask = PreVoteAsk { candidate: name("c1"), term: Term(6), nonce: Nonce(1) };
    assert_eq!(run(&mut campaign, 160), [(150, Effect::AskPreVotes(ask))]);
    assert_eq!(campaign.said(&say("c3", 1, Vote::No)), []);
    assert_eq!(campaign.said(&say("c3", 0, Vote::Yes)), [], "an answer to another question");
    assert_eq!(campaign.said(&say("c1", 1, Vote::Yes)), [], "our own voice is counted already");
    let take = Effect::TakeRecord { expected: Some(Revision(50)), term: Term(6) };
    assert_eq!(campaign.said(&say("c3", 1, Vote::Yes)), [take]);
}

#[test]
fn without_the_others_nothing_is_taken() {
    let takes = |rules| {
        let wanted = run(&mut follower(rules), 2000);
        wanted.iter().filter(|(_, effect)| matches!(effect, Effect::TakeRecord { .. })).count()
    };
    assert_eq!(takes(Rules::SOUND), 0);
    assert_eq!(takes(Rules::broken_by(Mutant::NoPreVote)), 1);
}

#[test]
fn beats_keep_a_follower_quiet_and_old_ones_do_not() {
    let mut campaign = follower(Rules::SOUND);
    let beat = |sequence, term| LeaderBeat { leader: name("c2"), term: Term(term), sequence };
    for sequence in 1..20 {
        assert_eq!(run(&mut campaign, 20 + sequence * 100), []);
        assert_eq!(campaign.beat(&beat(sequence, 5), at(20 + sequence * 100)), []);
    }
    campaign.beat(&beat(19, 5), at(2000));
    campaign.beat(&beat(99, 4), at(2000));
    assert_eq!(run(&mut campaign, 2080).len(), 1, "silence since 1920");
    // A beat of a term we have not read of makes us read.
    assert_eq!(campaign.beat(&beat(1, 6), at(2080)), [Effect::ReadRecord]);
}

#[test]
fn a_young_leader_is_given_more_time() {
    let mut campaign = follower(Rules::SOUND);
    let stood_after = |campaign: &mut Campaign, revision: u64, now: u64| {
        run(campaign, now);
        campaign.observed(record("c3", 3, revision, revision), at(now));
        let wanted = run(campaign, now + 3000);
        wanted.iter().find(|(_, effect)| matches!(effect, Effect::AskPreVotes(_))).unwrap().0 - now
    };
    let waits = [60, 61, 62].map(|revision| stood_after(&mut campaign, revision, (revision - 50) * 200));
    assert!(waits[0] >= 300 && waits[0] < 330, "{waits:?}");
    let mut flapping = follower(Rules::SOUND);
    flapping.observed(record("c2", 2, 6, 51), at(30));
    flapping.observed(record("c3", 3, 7, 52), at(40));
    let wait = stood_after(&mut flapping, 53, 50);
    assert!((1980..2020).contains(&wait), "{wait}");
}

#[test]
fn who_hears_the_leader_votes_no() {
    let mut campaign = follower(Rules::SOUND);
    let ask = |term| PreVoteAsk { candidate: name("c3"), term: Term(term), nonce: Nonce(7) };
    let vote = |campaign: &Campaign, term, now| campaign.asked(&ask(term), at(now)).vote;
    run(&mut campaign, 140);
    assert_eq!(vote(&campaign, 6, 140), Vote::No);
    run(&mut campaign, 150);
    assert_eq!(vote(&campaign, 6, 150), Vote::Yes);
    assert_eq!(vote(&campaign, 5, 150), Vote::No, "not for a term that there was");
    assert_eq!(vote(&campaign, 6, 900), Vote::No, "we slept: beats may be waiting");
    assert_eq!(vote(&leader(), 7, 161), Vote::No);
}

#[test]
fn a_leader_that_slept_looks_before_it_acts() {
    let mut campaign = leader();
    campaign.tick(at(170), 0);
    assert_eq!(campaign.tick(at(1000), 0), [Effect::ReadRecord]);
    assert_eq!(campaign.may_act(), None);
    assert_eq!(campaign.observed(record("c1", 1, 6, 60), at(1001)), [Effect::Resume { term: Term(6) }]);
    assert!(campaign.may_act().is_some());
    campaign.tick(at(1010), 0);
    campaign.tick(at(2000), 0);
    let follow = Effect::Follow { leader: name("c2"), term: Term(7) };
    assert_eq!(campaign.observed(record("c2", 2, 7, 70), at(2001)), [Effect::StepDown(Reason::Superseded), follow]);
    assert_eq!(campaign.may_act(), None);
}

#[test]
fn a_leader_steps_down_for_each_reason() {
    let mut campaign = leader();
    let refused = campaign.commit_refused(at(170));
    assert_eq!(refused, [Effect::StepDown(Reason::CommitRefused), Effect::ReadRecord]);
    let mut campaign = leader();
    assert_eq!(campaign.later_term(Term(6), at(170)), []);
    let deposed = campaign.later_term(Term(7), at(170));
    assert_eq!(deposed, [Effect::StepDown(Reason::LaterTerm(Term(7))), Effect::ReadRecord]);
    let mut campaign = leader();
    assert_eq!(campaign.deaf(at(170)), [Effect::StepDown(Reason::Deaf), Effect::ReadRecord]);
    assert_eq!(campaign.deaf(at(180)), [], "who follows has nothing to give up");
    let mut campaign = leader();
    campaign.store_reached(at(400));
    let wanted = run(&mut campaign, 1420);
    let down = wanted.iter().find(|(_, effect)| matches!(effect, Effect::StepDown(_))).unwrap();
    assert_eq!(down.1, Effect::StepDown(Reason::StoreUnreachable));
    assert!((1400..1416).contains(&down.0), "{down:?}");
    assert!(wanted.iter().any(|(_, effect)| *effect == Effect::ReadRecord), "it tried");
}

#[test]
fn a_record_taken_in_doubt_is_ours_when_it_is_read() {
    let doubting = || {
        let mut campaign = follower(Rules::SOUND);
        run(&mut campaign, 160);
        campaign.said(&say("c3", 1, Vote::Yes));
        assert_eq!(campaign.taken(Taken::InDoubt, at(200)), [Effect::ReadRecord]);
        campaign
    };
    let lead = Effect::Lead { term: Term(6), revision: Revision(60) };
    assert_eq!(doubting().observed(record("c1", 1, 6, 60), at(210))[0], lead);
    assert_eq!(doubting().observed(record("c1", 8, 6, 60), at(210)), [], "another process of this name took it");
    let mut early = follower(Rules::SOUND);
    run(&mut early, 160);
    early.said(&say("c3", 1, Vote::Yes));
    assert_eq!(early.observed(record("c1", 1, 6, 60), at(190)), [], "the store is still asked");
    assert_eq!(early.taken(Taken::InDoubt, at(200)), [Effect::ReadRecord]);
    assert_eq!(early.observed(record("c1", 1, 6, 60), at(210))[0], lead, "though it was read before");
    let mut late = doubting();
    assert_eq!(late.observed(record("c2", 2, 5, 50), at(210)), [], "not yet");
    assert_eq!(late.observed(record("c1", 1, 6, 60), at(220))[0], lead, "but then");
}
