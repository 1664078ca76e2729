//! Snapshots, clones, sizes: what shares space and what does not.

use pan_disk::{BLOCK, DiskError, Durability, EXTENT, INTENTS_MAX, SnapshotId, Source, Span, Stretch, UNIT, Write};
use pan_model::VolumeId;

use crate::model::block;
use crate::steps::{BLOCKS, FIRST, World, new_volume};

const CLONE: VolumeId = VolumeId(9);
const SNAPSHOT: SnapshotId = SnapshotId(7);

fn read(world: &World, from: Source, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK as usize];
    world.pool().read(from, at * BLOCK, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_clone_takes_what_is_written_to_it_and_outlives_its_snapshot_and_its_origin() {
    let mut world = World::new(1);
    let half = Span { offset: 0, length: 20 * UNIT };
    world.write(FIRST, half, Durability::Now).unwrap();
    world.pool().snapshot(FIRST, SNAPSHOT).unwrap();
    world.pool().tidy().unwrap();
    let one = world.pool().usage().data;
    assert_eq!(one, half.length);
    world.pool().clone_snapshot(SNAPSHOT, new_volume(CLONE, BLOCKS + 16)).unwrap();
    world.pool().write(CLONE, Write { offset: 0, data: &block(77) }, Durability::Now).unwrap();
    world.pool().tidy().unwrap();
    assert_eq!(world.pool().usage().data, one + UNIT, "a unit is copied when a block of it changes");
    let (before, first) = (read(&world, Source::Snapshot(SNAPSHOT), 3), read(&world, Source::Snapshot(SNAPSHOT), 0));
    assert_eq!((read(&world, Source::Volume(CLONE), 0), read(&world, Source::Volume(FIRST), 0)), (block(77), first));
    world.pool().delete_snapshot(SNAPSHOT).unwrap();
    world.pool().delete(FIRST).unwrap();
    world.pool().tidy().unwrap();
    assert_eq!(world.pool().usage().data, one, "what only the origin had is given back");
    assert_eq!((read(&world, Source::Volume(CLONE), 0), read(&world, Source::Volume(CLONE), 3)), (block(77), before));
    world.pool().delete(CLONE).unwrap();
    assert_eq!(world.pool().usage().data, 0);
}

#[test]
fn a_new_volume_never_shows_what_another_one_left() {
    let mut world = World::new(1);
    world.write(FIRST, Span { offset: 0, length: BLOCKS * BLOCK }, Durability::Now).unwrap();
    world.pool().delete(FIRST).unwrap();
    world.pool().create(new_volume(CLONE, BLOCKS)).unwrap();
    world.pool().write(CLONE, Write { offset: 5 * BLOCK, data: &block(5) }, Durability::Now).unwrap();
    world.pool().tidy().unwrap();
    for at in (0..BLOCKS).filter(|at| *at != 5) {
        assert_eq!(read(&world, Source::Volume(CLONE), at), block(0), "block {at}");
    }
    let data = |offset, length, data| Stretch { span: Span { offset: offset * BLOCK, length: length * BLOCK }, data };
    let whole = world.pool().stretches(Source::Volume(CLONE), Span { offset: 0, length: BLOCKS * BLOCK }).unwrap();
    assert_eq!(whole, [data(0, 5, false), data(5, 1, true), data(6, BLOCKS - 6, false)]);
}

#[test]
fn a_volume_grows_with_zeros_and_does_not_shrink() {
    let mut world = World::new(1);
    let beyond = Write { offset: BLOCKS * BLOCK, data: &block(4) };
    let refused = world.pool().write(FIRST, beyond, Durability::Now);
    assert!(matches!(refused, Err(DiskError::OutOfRange { .. })), "{refused:?}");
    world.pool().resize(FIRST, (BLOCKS + 100) * BLOCK).unwrap();
    world.pool().write(FIRST, beyond, Durability::Now).unwrap();
    world.pool = None;
    world.pool = Some(pan_disk::Pool::open(world.disk.clone()).unwrap());
    assert_eq!(read(&world, Source::Volume(FIRST), BLOCKS), block(4));
    assert_eq!(read(&world, Source::Volume(FIRST), BLOCKS + 1), block(0));
    let refused = world.pool().resize(FIRST, BLOCKS * BLOCK);
    assert!(matches!(refused, Err(DiskError::Shrink { .. })), "{refused:?}");
    for size in [0, 1, u64::MAX, 1 << 45] {
        assert_eq!(world.pool().resize(FIRST, size), Err(DiskError::Size(size)));
    }
}

#[test]
fn ranges_that_cannot_be_are_refused() {
    let world = World::new(1);
    let refused =
        |offset, length: usize| world.pool().write(FIRST, Write { offset, data: &vec![1; length] }, Durability::Flushed).unwrap_err();
    assert!(matches!(refused(1, 4096), DiskError::Unaligned(_)));
    assert!(matches!(refused(0, 512), DiskError::Unaligned(_)));
    assert!(matches!(refused(u64::MAX - 4095, 8192), DiskError::OutOfRange { .. }));
    let mut bytes = [0; 4096];
    let nobody = world.pool().read(Source::Volume(VolumeId(8)), 0, &mut bytes).unwrap_err();
    assert_eq!(nobody, DiskError::NotFound(Source::Volume(VolumeId(8))));
    assert!(matches!(world.pool().create(new_volume(FIRST, 1)), Err(DiskError::Exists(_))));
}

#[test]
fn the_intent_log_is_bounded() {
    let world = World::new(1);
    let volume = VolumeId(2);
    world.pool().create(new_volume(volume, (INTENTS_MAX as u64 + 1) * EXTENT / BLOCK)).unwrap();
    let write = |extent: u64| world.pool().write(volume, Write { offset: extent * EXTENT, data: &block(1) }, Durability::Flushed);
    (0..INTENTS_MAX as u64).for_each(|extent| write(extent).unwrap());
    assert_eq!(write(INTENTS_MAX as u64), Err(DiskError::IntentsFull(volume)));
    write(3).unwrap();
    world.pool().settle(volume, &[pan_disk::Extent(0)]).unwrap();
    write(INTENTS_MAX as u64).unwrap();
    assert_eq!(world.pool().intents(volume).unwrap().len(), INTENTS_MAX);
}
