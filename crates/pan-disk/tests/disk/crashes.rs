//! Crashes at any moment, from seeds.

use pan_disk::faulty::Faults;
use pan_disk::{BLOCK, DiskError, Durability, Result, Span};

use crate::steps::{FIRST, World};

/// Runs from this many seeds, each with several crashes; `PAN_DISK_SEEDS` at compile time asks for more.
const SEEDS: u64 = 300;

fn seeds() -> std::ops::Range<u64> {
    0..option_env!("PAN_DISK_SEEDS").and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

fn each(run: impl Fn(u64)) {
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        if let Err(panic) = outcome {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn what_was_flushed_is_there_and_nothing_else_is_half() {
    each(|seed| {
        let mut world = World::new(seed);
        for _ in 0..4 {
            let before = world.dice.below(60);
            world.run(before).unwrap();
            world.crash();
        }
        world.run(30).unwrap();
    });
}

type Step = fn(&mut World) -> Result<()>;

const fn blocks(first: u64, count: u64) -> Span {
    Span { offset: first * BLOCK, length: count * BLOCK }
}

/// A bit of everything, in an order in which each leans on what was before.
const SHORT_LIFE: [Step; 20] = [
    // Units at new places, and then a block of one of them, which is carried there.
    |world| world.write(FIRST, blocks(0, 48), Durability::Flushed),
    |world| world.write(FIRST, blocks(20, 1), Durability::Flushed),
    |world| world.flush(FIRST),
    |world| world.pool().checkpoint(),
    |world| world.absence(FIRST),
    |world| world.zero(FIRST, blocks(8, 16)),
    |world| world.write(FIRST, blocks(9, 2), Durability::Flushed),
    |world| world.settle(FIRST),
    World::fence,
    |world| world.write(FIRST, blocks(16, 32), Durability::Flushed),
    |world| world.snapshot(FIRST),
    |world| world.write(FIRST, blocks(17, 3), Durability::Now),
    |world| world.pool().checkpoint(),
    |world| world.write(FIRST, blocks(0, 64), Durability::Flushed),
    |world| world.flush(FIRST),
    |world| world.pool().tidy(),
    World::fence,
    World::delete_snapshot,
    |world| world.write(FIRST, blocks(0, 64), Durability::Flushed),
    |world| world.pool().tidy(),
];

fn short_life(world: &mut World) -> Result<()> {
    SHORT_LIFE.iter().try_for_each(|step| step(world))
}

#[test]
fn every_moment_of_a_short_life_can_be_the_last() {
    let mut whole = World::new(0);
    let before = whole.disk.changes();
    short_life(&mut whole).unwrap();
    let moments = whole.disk.changes() - before;
    assert!(moments > 60, "only {moments} moments");
    for moment in 0..=moments {
        for seed in 0..8 {
            let mut world = World::new(moment * 8 + seed);
            world.disk.set(Faults { power_for: Some(moment), ..Faults::NONE });
            let ended = short_life(&mut world);
            assert!(ended.is_ok() || world.disk.is_dark(), "moment {moment}, seed {seed}: {ended:?}");
            world.disk.lose_power(&mut world.dice);
            let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.reopen()));
            assert!(opened.is_ok(), "moment {moment}, seed {seed}");
        }
    }
}

/// Whatever is just being written: a block, a record, a map, one of two roots or superblocks. It goes on where it can; where it cannot, it says that the disk
/// failed, and a pool that is opened anew has everything that was flushed.
#[test]
fn every_moment_of_a_short_life_can_find_the_disk_full() {
    let mut whole = World::new(0);
    let before = whole.disk.changes();
    short_life(&mut whole).unwrap();
    let moments = whole.disk.changes() - before;
    let (mut full, mut failed) = (0, 0);
    for (moment, long) in (0..=moments).flat_map(|moment| [1, 2, 7].map(|long| (moment, long))) {
        let mut world = World::new(moment * 8 + long);
        world.disk.set(Faults { full_for: Some((moment, long)), ..Faults::NONE });
        for step in SHORT_LIFE {
            match step(&mut world) {
                Ok(()) => {}
                Err(DiskError::Full(_)) => {
                    full += 1;
                    world.decide();
                    world.volumes.get_mut(&FIRST).unwrap().check_refused(world.pool.as_ref().unwrap(), FIRST);
                }
                Err(DiskError::Failed(_)) => {
                    failed += 1;
                    world.disk.set(Faults::NONE);
                    world.reopen();
                }
                Err(error) => panic!("moment {moment} for {long}: {error}"),
            }
        }
        if world.dice.once_in(2) {
            world.disk.lose_power(&mut world.dice);
        }
        world.disk.set(Faults::NONE);
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.reopen();
            world.run(20).unwrap();
        }));
        assert!(opened.is_ok(), "moment {moment} for {long}");
    }
    assert!(full > 100, "{full} times full, {failed} times failed");
    println!("{moments} moments: {full} times full, {failed} times failed");
}

#[test]
fn a_disk_that_fails_loses_nothing_that_was_flushed() {
    each(|seed| {
        let mut world = World::new(seed);
        let before = world.dice.below(60);
        world.run(before).unwrap();
        let works_for = Some(world.dice.below(200));
        world.disk.set(Faults { works_for, ..Faults::NONE });
        let failed = world.run(1000);
        assert!(matches!(failed, Err(DiskError::Failed(_))), "{failed:?}");
        let again = world.flush(FIRST);
        assert!(matches!(again, Err(DiskError::Failed(_))), "nothing goes on after a failure: {again:?}");
        world.disk.set(Faults::NONE);
        world.reopen();
        world.run(30).unwrap();
    });
}

#[test]
fn closing_and_opening_changes_nothing() {
    each(|seed| {
        if seed % 8 != 0 {
            return;
        }
        let mut world = World::new(seed);
        for _ in 0..3 {
            world.run(60).unwrap();
            world.volumes.values_mut().for_each(crate::model::Model::flushed);
            let pool = world.pool.take().unwrap();
            pool.close().unwrap();
            world.pool = Some(pan_disk::Pool::open(world.disk.clone()).unwrap());
            world.reopen();
        }
    });
}

/// What each volume takes is counted as it comes and goes, and counted anew from the maps when a pool is opened.
#[test]
fn what_volumes_take_is_what_their_maps_say() {
    each(|seed| {
        let mut world = World::new(seed);
        for _ in 0..2 {
            world.run(40).unwrap();
            world.pool().tidy().unwrap();
            let used = |world: &World| world.volumes.keys().map(|volume| world.pool().used(*volume).unwrap()).collect::<Vec<_>>();
            let before = used(&world);
            world.reopen();
            assert_eq!(used(&world), before);
        }
    });
}
