//! A disk that fills up: errors that say so, nothing acknowledged is lost, and it goes on once space was given back.

use pan_disk::faulty::Faults;
use pan_disk::{BLOCK, Condition, DiskError, Durability, Source, Span};

use crate::steps::{BLOCKS, FIRST, World};

/// What one write, its map and the reserve may take.
const ENOUGH: u64 = 512 << 10;

/// Until the disk is full: why it was, and how large it is.
fn fill(world: &mut World) -> (DiskError, u64) {
    let capacity = world.disk.used() + (world.dice.below(40) << 15);
    world.disk.set(Faults { capacity, ..Faults::NONE });
    for _ in 0..2000 {
        if let Err(error) = world.step() {
            return (error, capacity);
        }
    }
    (DiskError::Full("never"), capacity)
}

#[test]
fn a_full_disk_is_readable_and_goes_on_after_space_was_given_back() {
    let (mut seen, mut enough) = (0, 0);
    for seed in 0..400 {
        let mut world = World::new(seed);
        world.run(20).unwrap();
        let (error, capacity) = fill(&mut world);
        assert!(matches!(error, DiskError::Full(_)), "seed {seed}: {error}");
        if world.pool().condition() != Condition::Full {
            continue;
        }
        seen += 1;
        world.decide();
        // What was refused may be there or not; everything can be read.
        let mut bytes = vec![0; (BLOCKS * BLOCK) as usize];
        world.pool().read(Source::Volume(FIRST), 0, &mut bytes).unwrap();
        if world.dice.once_in(2) {
            world.disk.lose_power(&mut world.dice);
            world.reopen();
        }
        for volume in world.volumes.keys().copied().collect::<Vec<_>>() {
            let whole = Span { offset: 0, length: BLOCKS * BLOCK };
            let given_back = world.pool().zero(volume, whole, Durability::Flushed);
            given_back.unwrap_or_else(|error| panic!("seed {seed}: giving back: {error}"));
            (0..BLOCKS).for_each(|at| world.volumes.get_mut(&volume).unwrap().write(at, 0));
        }
        for snapshot in world.pool().snapshots() {
            let deleted = world.pool().delete_snapshot(snapshot.snapshot);
            assert_eq!(deleted, Ok(()), "seed {seed}: {snapshot:?}, {:?}", world.pool().usage());
            world.snapshots.remove(&snapshot.snapshot);
        }
        // Where too little was there to be given back, some other file went.
        let _ = world.pool().tidy();
        let freed = capacity.saturating_sub(world.disk.used());
        enough += u64::from(freed >= ENOUGH);
        world.disk.set(Faults { capacity: capacity + ENOUGH.saturating_sub(freed), ..Faults::NONE });
        let span = Span { offset: 0, length: 8 * BLOCK };
        world.write(FIRST, span, Durability::Now).unwrap_or_else(|error| panic!("seed {seed}: going on: {error}"));
        world.pool().tidy().unwrap_or_else(|error| panic!("seed {seed}: carrying home: {error}"));
        assert_eq!(world.pool().condition(), Condition::Good, "seed {seed}");
        world.volumes[&FIRST].check_now(world.pool(), Source::Volume(FIRST), 0..BLOCKS);
    }
    assert!(seen > 100 && enough > 50, "{seen} disks were filled, and {enough} had something to give back");
}

#[test]
fn space_is_given_back_and_reads_as_zeros() {
    let mut world = World::new(3);
    let whole = Span { offset: 0, length: BLOCKS * BLOCK };
    world.pool().tidy().unwrap();
    let empty = world.disk.used();
    world.write(FIRST, whole, Durability::Now).unwrap();
    world.pool().tidy().unwrap();
    assert!(world.disk.used() > empty + 2_000_000, "it takes what was written");
    world.pool().zero(FIRST, whole, Durability::Now).unwrap();
    world.pool().tidy().unwrap();
    // The journal, which is kept, and the map.
    assert!(world.disk.used() <= empty + (1 << 20) + 65536, "{} after {empty}", world.disk.used());
    let mut bytes = vec![1; (BLOCKS * BLOCK) as usize];
    world.pool().read(Source::Volume(FIRST), 0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
}
