//! Whatever is on a disk: opening and reading it ends, in bounds, without a panic.

use pan_disk::faulty::{Dice, FaultyDisk};
use pan_disk::{BLOCK, DiskError, Durability, Medium, Name, Pool, Side, Source, Write};
use pan_model::VolumeId;

use crate::steps::{FIRST, World};

fn noise(dice: &mut Dice, length: u64) -> Vec<u8> {
    (0..length).map(|_| dice.roll() as u8).collect()
}

/// Opens and uses it; errors are fine.
fn use_it(disk: &FaultyDisk) {
    let Ok(pool) = Pool::open(disk.clone()) else { return };
    let mut bytes = vec![0; 64 * BLOCK as usize];
    for info in pool.volumes() {
        let _ = pool.read(Source::Volume(info.volume), 0, &mut bytes);
        let _ = pool.write(info.volume, Write { offset: 0, data: &bytes }, Durability::Now);
    }
    let _ = pool.scrub(pan_disk::ScrubAt::default(), u64::MAX);
    let _ = pool.checkpoint();
    let _ = pool.close();
}

#[test]
fn noise_in_any_file_is_survived() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        world.run(50).unwrap();
        world.pool = None;
        let names = world.disk.names().unwrap();
        for _ in 0..=world.dice.below(3) {
            let name = names[world.dice.below(names.len() as u64) as usize];
            let mut content = world.disk.content(name);
            let from = world.dice.below(content.len() as u64 + 1) as usize;
            let noise = noise(&mut world.dice, 1 + seed % 3 * 2000);
            match seed % 4 {
                0 => content.truncate(from),
                1 => content.clear(),
                _ => content.splice(from.., noise).for_each(drop),
            }
            world.disk.put(name, &content);
        }
        use_it(&world.disk);
    }
}

/// Whatever is cut off held records, or could have: what is left is no journal that ends there, and none at all is no empty one.
#[test]
fn a_journal_that_was_cut_off_is_damage() {
    let mut world = World::new(3);
    world.run(60).unwrap();
    world.flush(FIRST).unwrap();
    world.pool = None;
    for side in Side::BOTH {
        let journal = world.disk.content(Name::Journal(side));
        for left in [0, 512, 4096, journal.len() / 2, journal.len() - 1] {
            let disk = world.disk.copy();
            disk.put(Name::Journal(side), &journal[..left]);
            let opened = Pool::open(disk.clone()).err();
            assert!(
                matches!(&opened, Some(DiskError::Damaged { name, .. }) if *name == Name::Journal(side)),
                "{side:?} {left}: {opened:?}"
            );
            // Nothing was made of it that could be taken for a journal later.
            assert!(Pool::open(disk).is_err(), "{side:?} {left}");
        }
    }
    assert!(Pool::open(world.disk.copy()).is_ok());
}

/// A pool whose making was broken off has no journal yet.
#[test]
fn a_pool_that_was_being_made_may_lack_a_journal() {
    use pan_disk::faulty::Faults;
    let layout = pan_disk::Layout { salt: 1, half_bytes: 128 << 10 };
    let whole = FaultyDisk::default();
    Pool::format(whole.clone(), layout).unwrap();
    let (mut made, mut short) = (0, 0);
    for moment in 0..whole.changes() {
        let disk = FaultyDisk::default();
        disk.set(Faults { power_for: Some(moment), ..Faults::NONE });
        assert!(Pool::format(disk.clone(), layout).is_err());
        disk.lose_power(&mut Dice::new(moment));
        disk.set(Faults::NONE);
        let cut_off = Side::BOTH.into_iter().any(|side| disk.length(Name::Journal(side)).unwrap() < layout.half_bytes);
        match Pool::open(disk) {
            Ok(_) => (made, short) = (made + 1, short + u64::from(cut_off)),
            Err(error) => assert!(!matches!(error, DiskError::Damaged { name: Name::Journal(_), .. }), "moment {moment}: {error}"),
        }
    }
    assert!(made > 0 && short > 0, "{made} of {} were pools, {short} without a whole journal", whole.changes());
}

#[test]
fn files_of_noise_are_no_pool() {
    let mut dice = Dice::new(1);
    let disk = FaultyDisk::default();
    assert!(matches!(Pool::open(disk.clone()), Err(DiskError::NoPool)));
    for name in [Name::Root(Side::A), Name::Root(Side::B), Name::Journal(Side::A), Name::Data, Name::Super(VolumeId(1))] {
        disk.put(name, &noise(&mut dice, 9000));
    }
    assert!(matches!(Pool::open(disk), Err(DiskError::Damaged { name: Name::Root(_), .. })));
}

#[test]
fn a_pool_is_not_made_where_one_is() {
    let world = World::new(1);
    let layout = pan_disk::Layout { salt: 1, half_bytes: 128 << 10 };
    assert!(matches!(Pool::format(world.disk.clone(), layout), Err(DiskError::PoolExists(_))));
    let layout = pan_disk::Layout { salt: 1, half_bytes: 1000 };
    assert!(matches!(Pool::format(FaultyDisk::default(), layout), Err(DiskError::Layout(1000))));
}

#[test]
fn records_that_a_tenant_writes_are_data() {
    let mut world = World::new(5);
    world.run(40).unwrap();
    // A copy of the journal itself, as one who had read the disk could write it.
    let journal = world.disk.content(Name::Journal(Side::A));
    let data = &journal[..journal.len() / 4096 * 4096];
    let part = &data[..data.len().min(100 * 4096)];
    world.pool().write(FIRST, Write { offset: 0, data: part }, Durability::Now).unwrap();
    world.pool = None;
    world.disk.lose_power(&mut world.dice);
    let pool = Pool::open(world.disk.clone()).unwrap();
    let mut bytes = vec![0; part.len()];
    pool.read(Source::Volume(FIRST), 0, &mut bytes).unwrap();
    assert!(bytes == part);
}
