//! The real cores of arbiter, head and replica against each other: every order of messages, broken connections, power failures,
//! claims and lost answers that a few operations leave room for.
//!
//! After every step: no replica is changed for an epoch older than one it was fenced for (I1); no read returns what cannot be
//! there, and nothing acknowledged is lost while one replica in sync kept its power since it was last made equal (I2); what was flushed is never lost.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a test may be told where to look")]

mod model {
    pub mod disk;
    pub mod explore;
    pub mod judge;
    pub mod world;
}

use model::explore::{explore, walk};
use model::world::{Budget, World};
use pan_replica::{Mutant, Rules};

fn budget() -> Budget {
    Budget { blocks: 1, members: 2, heads: 2, writes: vec![1, 1], reads: vec![0, 1], flushes: vec![0, 0], ..Budget::default() }
}

/// Small worlds, each about one part of the protocol.
fn worlds() -> Vec<(&'static str, Budget)> {
    vec![
        ("takeover", Budget { breaks: 1, reads: vec![0, 2], ..budget() }),
        ("takeover with a power failure", Budget { crashes: 1, reads: vec![0, 1], ..budget() }),
        ("flush and two power failures", Budget { heads: 1, writes: vec![1], reads: vec![1], flushes: vec![1], crashes: 2, ..budget() }),
        ("shrink and grow", Budget { heads: 1, writes: vec![2], reads: vec![1], flushes: vec![0], breaks: 1, ..budget() }),
        (
            "grow with an answer lost",
            Budget {
                heads: 1,
                members: 1,
                outside: 1,
                writes: vec![1],
                reads: vec![1],
                flushes: vec![0],
                breaks: 1,
                doubts: 1,
                ..budget()
            },
        ),
        (
            "a new replica while somebody claims",
            Budget { members: 1, outside: 1, writes: vec![1, 0], reads: vec![0, 1], breaks: 1, ..budget() },
        ),
    ]
}

#[test]
fn every_order_of_events_is_safe() {
    let mut total = 0;
    for (name, budget) in worlds() {
        let (states, found) = explore(&budget, 250_000);
        println!("{name}: {states} states");
        if let Some(found) = found {
            panic!("{name}: {found}");
        }
        total += states;
    }
    println!("{total} states in all");
    assert!(total >= 1_000_000, "only {total} states");
}

fn long() -> Budget {
    Budget {
        blocks: 2,
        members: 2,
        outside: 1,
        heads: 3,
        writes: vec![4, 4, 4],
        reads: vec![4, 4, 4],
        flushes: vec![2, 2, 2],
        breaks: 4,
        crashes: 3,
        doubts: 2,
        replaced: 0,
        ..Budget::default()
    }
}

#[test]
fn long_ways_are_safe_and_end_well() {
    // The shortest way to the first trouble says most.
    let ways = trying().into_iter().enumerate().flat_map(|(number, budget)| seeds().map(move |seed| (number, seed, budget.clone())));
    let found = ways
        .filter_map(|(number, seed, budget)| walk(&budget, seed, 400).err().map(|found| (found.lines().count(), (number, seed), found)));
    let found = found.min();
    if let Some((_, seed, found)) = found {
        panic!("seed {seed:?}: {found}");
    }
}

/// Ways on which each rule has its turn.
fn trying() -> Vec<Budget> {
    let two = Budget { outside: 0, heads: 2, ..long() };
    let roomy = Budget { blocks: 3, room: Some(4), ..long() };
    vec![
        long(),
        Budget { replaced: 1, ..long() },
        Budget { rollbacks: 2, crashes: 1, ..long() },
        two.clone(),
        Budget { crashes: 1, breaks: 1, ..two.clone() },
        Budget { outside: 0, ..roomy.clone() },
        Budget { members: 3, outside: 0, crashes: 2, ..roomy },
    ]
}

#[test]
fn without_any_one_rule_something_is_lost() {
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        let broken = |budget: Budget| Budget { rules: Rules::without(mutant), mutant: Some(mutant), ..budget };
        let budgets: Vec<Budget> = trying().into_iter().map(broken).collect();
        let ways = (0..50_000).flat_map(|seed| budgets.iter().map(move |budget| (seed, budget)));
        let lucky = || ways.enumerate().find_map(|(number, (seed, budget))| walk(budget, seed, 400).err().map(|found| (number, found)));
        let long = || World::joins_in_doubt(&broken(in_doubt())).and_then(|()| World::goes_back(&broken(gone_back())));
        let found = long().err().map(|found| (0, found)).or_else(lucky);
        match found {
            Some((number, found)) => println!("{mutant:?}: way {number}: {}", found.lines().last().unwrap_or_default()),
            None => survivors.push(mutant),
        }
    }
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}

fn in_doubt() -> Budget {
    Budget {
        blocks: 2,
        members: 2,
        heads: 2,
        writes: vec![1, 0],
        reads: vec![0, 1],
        flushes: vec![2, 0],
        breaks: 2,
        doubts: 1,
        ..Budget::default()
    }
}

fn gone_back() -> Budget {
    Budget {
        blocks: 2,
        members: 2,
        heads: 1,
        writes: vec![2],
        reads: vec![1],
        flushes: vec![2],
        breaks: 1,
        rollbacks: 1,
        ..Budget::default()
    }
}

#[test]
fn a_copy_whose_disk_went_back_is_given_everything() {
    World::goes_back(&gone_back()).unwrap();
}

/// A way that is too long to be found by chance.
#[test]
fn a_member_that_may_be_in_is_waited_for() {
    World::joins_in_doubt(&in_doubt()).unwrap();
}

/// `MODEL_WAYS`: how many ways of each kind, `MODEL_FIRST`: from which seed on; more and others in long runs.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let first = number("MODEL_FIRST").unwrap_or(0);
    first..first + number("MODEL_WAYS").unwrap_or(10_000)
}

/// `MODEL_SEED=KIND,N MODEL_TRACE=1` shows a way step by step.
#[test]
fn one_way() {
    let given = std::env::var("MODEL_SEED").unwrap_or_default();
    let Some((kind, seed)) = given.split_once(',').and_then(|(kind, seed)| Some((kind.parse::<usize>().ok()?, seed.parse().ok()?))) else {
        return;
    };
    walk(&trying()[kind], seed, 400).unwrap();
}
