//! Bits that flip: what was damaged is an error that names it, never other data.

use pan_disk::faulty::{Dice, Faults, FaultyDisk};
use pan_disk::{BLOCK, DiskError, Durability, Layout, Medium, Name, Pool, Source, Span, Write};
use pan_model::VolumeId;

use crate::model::{Damage, block};
use crate::steps::{FIRST, World, new_volume};

/// A world in which everything is durable, and the journal says so.
fn flushed(seed: u64) -> World {
    let mut world = World::new(seed);
    world.run(60).unwrap();
    world.flush(FIRST).unwrap();
    world.flush(FIRST).unwrap();
    world
}

fn flip(disk: &FaultyDisk, dice: &mut Dice, name: Name) {
    let length = disk.length(name).unwrap();
    if length > 0 {
        disk.flip(name, dice.below(length), dice.below(8) as u8);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_no_wrong_data() {
    for seed in 0..600 {
        let mut world = flushed(seed);
        let names = world.disk.names().unwrap();
        let name = names[world.dice.below(names.len() as u64) as usize];
        let open = world.dice.once_in(2);
        flip(&world.disk, &mut world.dice, name);
        if !open {
            world.pool = None;
            match Pool::open(world.disk.clone()) {
                Ok(pool) => world.pool = Some(pool),
                Err(DiskError::Damaged { name: found, .. }) => {
                    assert!(matches!(found, Name::Journal(_)), "seed {seed}: all else has a twin or is data, {found}");
                    continue;
                }
                Err(error) => panic!("seed {seed}: {name}: {error}"),
            }
        }
        for (volume, model) in &world.volumes {
            let damage = model.check_damaged(world.pool(), Source::Volume(*volume));
            assert_eq!(damage.stale, 0, "seed {seed}: a bit of {name} made something older come back");
        }
        for (snapshot, model) in &world.snapshots {
            let damage = model.check_damaged(world.pool(), Source::Snapshot(*snapshot));
            assert_eq!(damage.stale, 0, "seed {seed}: a bit of {name} made something older come back");
        }
    }
}

#[test]
fn scrub_finds_every_rotten_block_and_writing_makes_it_good() {
    for seed in 0..100 {
        let mut world = flushed(seed);
        world.pool().tidy().unwrap();
        flip(&world.disk, &mut world.dice, Name::Data);
        let model = world.volumes[&FIRST].clone();
        let damage = model.check_damaged(world.pool(), Source::Volume(FIRST));
        let found = scrub(world.pool());
        let mine: Vec<Span> = found.iter().filter(|(from, _)| *from == Source::Volume(FIRST)).map(|(_, span)| *span).collect();
        if world.snapshots.is_empty() {
            assert_eq!(mine.len() as u64, damage.rotten, "seed {seed}: {found:?}");
        }
        for span in mine {
            world.write(FIRST, span, Durability::Now).unwrap();
        }
        if world.snapshots.is_empty() {
            let healed = world.volumes[&FIRST].check_damaged(world.pool(), Source::Volume(FIRST));
            assert_eq!(healed, Damage::default(), "seed {seed}");
        }
    }
}

fn scrub(pool: &Pool<FaultyDisk>) -> Vec<(Source, Span)> {
    let mut found = Vec::new();
    let mut next = Some(pan_disk::ScrubAt::default());
    while let Some(at) = next {
        let done = pool.scrub(at, 100_000).unwrap();
        found.extend(done.rot.into_iter().map(|rot| (rot.from, rot.span)));
        next = done.next;
    }
    found
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out_or_shows_what_was_there_once() {
    for seed in 0..400 {
        let mut world = World::new(seed);
        world.run(30).unwrap();
        world.disk.set(Faults { lies: true, ..Faults::NONE });
        world.run(40).unwrap();
        world.pool = None;
        world.disk.lose_power(&mut world.dice);
        let Ok(pool) = Pool::open(world.disk.clone()) else { continue };
        for info in pool.volumes().into_iter().filter(|info| info.superblock.is_some()) {
            if let Some(model) = world.volumes.get(&info.volume) {
                model.check_damaged(&pool, Source::Volume(info.volume));
            }
        }
    }
}

#[test]
fn the_error_names_the_range() {
    let world = World::new(0);
    let data: Vec<u8> = (1..=3).flat_map(block).collect();
    world.pool().write(FIRST, Write { offset: 5 * BLOCK, data: &data }, Durability::Now).unwrap();
    world.pool().tidy().unwrap();
    for at in [6, 7] {
        // The unit is the only one, so its place is the first.
        world.disk.flip(Name::Data, at * BLOCK + 100, 3);
    }
    let mut bytes = vec![0; 10 * BLOCK as usize];
    let error = world.pool().read(Source::Volume(FIRST), 0, &mut bytes).unwrap_err();
    let span = Span { offset: 6 * BLOCK, length: 2 * BLOCK };
    assert_eq!(error, DiskError::Rotten { from: Source::Volume(FIRST), span });
    assert_eq!(error.to_string(), "volume 1 does not match its checksum at 24576+8192");
    assert_eq!(scrub(world.pool()), [(Source::Volume(FIRST), span)]);
}

/// What describes one volume is gone, and then what says where its data are. Only that volume is damaged, it says so, and it can be removed and made anew.
#[test]
fn a_volume_that_is_damaged_says_so_and_no_other_one_is() {
    let other = VolumeId(7);
    let made = || {
        let disk = FaultyDisk::default();
        let pool = Pool::format(disk.clone(), Layout { salt: 3, half_bytes: 128 << 10 }).unwrap();
        for (volume, byte) in [(FIRST, 1), (other, 2)] {
            pool.create(new_volume(volume, 2000)).unwrap();
            pool.write(volume, Write { offset: 0, data: &[byte; 1 << 16] }, Durability::Flushed).unwrap();
        }
        pool.tidy().unwrap();
        disk
    };
    let maps = |disk: &FaultyDisk| disk.names().unwrap().into_iter().find(|name| matches!(name, Name::Map(_))).unwrap();
    for of_map in [false, true] {
        let disk = made();
        let name = if of_map { maps(&disk) } else { Name::Super(FIRST) };
        let (content, mut dice) = (disk.content(name), Dice::new(9));
        disk.put(name, &content.iter().map(|byte| byte ^ dice.below(256) as u8).collect::<Vec<_>>());
        let pool = Pool::open(disk).unwrap();
        assert!(pool.is_damaged(FIRST) && !pool.is_damaged(other), "{name}");
        let mut bytes = vec![0; 1 << 16];
        pool.read(Source::Volume(other), 0, &mut bytes).unwrap();
        assert!(bytes == [2; 1 << 16]);
        pool.read(Source::Volume(FIRST), 0, &mut bytes).unwrap_err();
        pool.delete(FIRST).unwrap();
        pool.create(new_volume(FIRST, 2000)).unwrap();
        assert!(!pool.is_damaged(FIRST), "{name}");
        pool.read(Source::Volume(FIRST), 0, &mut bytes).unwrap();
        assert!(bytes == [0; 1 << 16]);
    }
}

/// What is said of a volume is what is known of it: the disk is not asked for a report. What reads well again is damaged no more, and so is a volume
/// that has a page itself which only its snapshot lacks.
#[test]
fn whether_a_volume_is_damaged_is_remembered() {
    let disk = FaultyDisk::default();
    let pool = Pool::format(disk.clone(), Layout { salt: 3, half_bytes: 128 << 10 }).unwrap();
    pool.create(new_volume(FIRST, 2000)).unwrap();
    let write = |byte| pool.write(FIRST, Write { offset: 0, data: &[byte; 1 << 16] }, Durability::Flushed).unwrap();
    write(1);
    let (kept, clone) = (pan_disk::SnapshotId(5), VolumeId(7));
    pool.snapshot(FIRST, kept).unwrap();
    write(2);
    pool.tidy().unwrap();
    drop(pool);
    let maps: Vec<Name> = disk.names().unwrap().into_iter().filter(|name| matches!(name, Name::Map(_))).collect();
    let [lower, upper] = maps[..] else { panic!("{maps:?}") };
    for (name, damaged) in [(lower, false), (upper, true)] {
        let disk = disk.copy();
        let (content, mut dice) = (disk.content(name), Dice::new(9));
        let rotten: Vec<u8> = content.iter().map(|byte| byte ^ dice.below(256) as u8).collect();
        let pool = Pool::open(disk.clone()).unwrap();
        // It has whatever the snapshot has.
        pool.clone_snapshot(kept, new_volume(clone, 2000)).unwrap();
        let is = |pool: &Pool<FaultyDisk>| (pool.is_damaged(FIRST), pool.is_damaged(clone));
        let (well, ill) = ((false, false), (damaged, !damaged));
        disk.put(name, &rotten);
        assert_eq!(is(&pool), well, "{name}: nobody looked");
        scrub(&pool);
        assert_eq!(is(&pool), ill, "{name}");
        disk.set(Faults { unread_for: Some((0, 1)), ..Faults::NONE });
        assert_eq!(is(&pool), ill, "{name}");
        disk.read_at(Name::Data, 0, &mut [0]).expect_err("something was read for that");
        disk.put(name, &content);
        assert_eq!(is(&pool), ill, "{name}: nobody looked");
        scrub(&pool);
        assert_eq!(is(&pool), well, "{name}");
        disk.put(name, &rotten);
        let of = Source::Volume(if damaged { FIRST } else { clone });
        let mut block = vec![0; BLOCK as usize];
        pool.read(of, 0, &mut block).unwrap_err();
        assert_eq!(is(&pool), ill, "{name}");
        disk.put(name, &content);
        pool.read(of, 0, &mut block).unwrap();
        assert_eq!(is(&pool), well, "{name}");
        drop(pool);

        // Nobody kept what it named when the pool was opened without it: it must not come back.
        disk.put(name, &rotten);
        let pool = Pool::open(disk.clone()).unwrap();
        assert_eq!(is(&pool), ill, "{name}");
        disk.put(name, &content);
        scrub(&pool);
        pool.read(of, 0, &mut block).unwrap_err();
        assert_eq!(is(&pool), ill, "{name}");
    }
}

/// A disk that does not give what it has for a moment, at any read of an opening: that opening fails, and the next one has everything. Nothing is
/// taken for damaged, or for free.
#[test]
fn a_read_that_fails_while_a_pool_is_opened_loses_nothing() {
    let mut world = flushed(11);
    // Records that are done again need their pages.
    world.run(20).unwrap();
    world.pool = None;
    let mut failed = 0;
    for after in 0.. {
        let disk = world.disk.copy();
        disk.set(Faults { unread_for: Some((after, 1)), ..Faults::NONE });
        match Pool::open(disk.clone()) {
            Err(DiskError::Read { .. }) => failed += 1,
            Err(error) => panic!("read {after}: {error}"),
            Ok(_) => {
                disk.read_at(Name::Data, 0, &mut [0]).expect_err("no read of the opening is left that could have failed");
                break;
            }
        }
        disk.set(Faults::NONE);
        let pool = Pool::open(disk).unwrap();
        for (volume, model) in &world.volumes {
            assert!(!pool.is_damaged(*volume), "read {after}");
            assert_eq!(model.check_damaged(&pool, Source::Volume(*volume)), Damage::default(), "read {after}");
        }
        for (snapshot, model) in &world.snapshots {
            assert_eq!(model.check_damaged(&pool, Source::Snapshot(*snapshot)), Damage::default(), "read {after}");
        }
    }
    let layers = world.disk.names().unwrap().iter().filter(|name| matches!(name, Name::Map(_))).count();
    assert!(failed > 4 + 2 * world.volumes.len() + layers, "{failed} reads: the roots, the journal, superblocks and maps are among them");
}
