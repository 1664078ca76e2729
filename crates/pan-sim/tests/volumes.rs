//! Volumes under a simulated clock, network and disks: the real head, the real arbiter's functions and the real storage host's vault over
//! `pan_disk`, with disks that tear and lose what was not synced, processes that die, links that are cut, heads that are deposed while
//! they stand still, and answers of the arbiter that get lost. Then all heals, and everything must be in sync, equal and served.
//!
//! `SIM_VOLUMES=N` seeds are run from a fresh one on; `SIM_VOLUME=SEED` runs one, with what happened.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "volumes/blocks.rs"]
mod blocks;
#[path = "volumes/store.rs"]
mod store;
#[path = "volumes/world.rs"]
mod world;

use pan_replica::{Mutant, Rules};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Once;
use world::{Extra, World};

/// Ways in `make test`: some 20 s on two cores.
const SEEDS: u64 = 300;

/// Ways that once showed something, the checkers' own mistakes among them.
const KNOWN: [u64; 1] = [208_169_688_339_846];

#[allow(clippy::disallowed_methods, reason = "what is pure is a run, not who asks for it")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What a run comes to, or the words with which it panicked, which nobody else is shown: tests run side by side, so the hook is set once for all
/// of them.
fn quietly<T>(run: impl FnOnce() -> T + std::panic::UnwindSafe) -> Result<T, String> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let outcome = std::panic::catch_unwind(run);
    QUIET.set(false);
    outcome.map_err(|payload| {
        let words = payload.downcast_ref::<String>().cloned();
        words.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}

#[test]
fn every_way_is_safe_and_heals() {
    if let Some(seed) = number("SIM_VOLUME") {
        let counts = World::new(seed, Rules::default(), true, Extra::None).run();
        return println!("{counts:?}");
    }
    let first = number("SIM_FIRST").unwrap_or_else(|| {
        use std::hash::{BuildHasher, RandomState};
        // A number that nobody chose.
        RandomState::new().hash_one(0) >> 16
    });
    println!("SIM_FIRST={first}");
    let mut total: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in KNOWN.into_iter().chain(first..first + number("SIM_VOLUMES").unwrap_or(SEEDS)) {
        let outcome = quietly(|| World::new(seed, Rules::default(), false, Extra::None).run());
        let counts = outcome.unwrap_or_else(|words| panic!("SIM_VOLUME={seed} shows it: {words}"));
        for (name, count) in counts {
            *total.entry(name).or_default() += count;
        }
    }
    println!("{total:?}");
    for name in [
        "takeovers",
        "head crashes",
        "frozen heads",
        "power losses",
        "crashes",
        "cuts",
        "evictions",
        "slow disks",
        "slow copies evicted",
        "additions",
        "flushes",
        "stale requests refused",
        "rot mended",
        "full disks",
        "liars replaced",
        "rooms without power",
        "snapshots",
    ] {
        assert!(total.get(name).is_some_and(|count| *count > 0), "no {name} in {total:?}");
    }
}

/// What is left out is found, by loss or by damage: so the checkers see something. Rules whose absence shows only where two rare things meet are
/// `pan-replica`'s model's to miss.
#[test]
fn rules_that_are_left_out_are_missed() {
    let rules = [
        Mutant::AckBeforeShrink,
        Mutant::NoReconcile,
        Mutant::ReadFromJoiner,
        Mutant::OneFenced,
        Mutant::CopyUnlocked,
        Mutant::NoRecopy,
        Mutant::NotedUnderWay,
    ];
    let rules = rules.into_iter().chain(Mutant::SIMULATED).map(|mutant| (format!("{mutant:?}"), Rules::without(mutant), Extra::None));
    let others = [Extra::RotAsData, Extra::LiarKept].map(|extra| (format!("{extra:?}"), Rules::default(), extra));
    let mut survivors = Vec::new();
    for (name, rules, extra) in rules.chain(others) {
        let found = (0..1000).find(|seed| quietly(|| World::new(*seed, rules, false, extra).run()).is_err());
        println!("{name}: found with seed {found:?}");
        if found.is_none() {
            survivors.push(name);
        }
    }
    assert!(survivors.is_empty(), "not found: {survivors:?}");
}
