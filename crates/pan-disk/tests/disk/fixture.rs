//! A pool of each format version, as it was written then. It is read for as long as that version is.

use pan_disk::faulty::FaultyDisk;
use pan_disk::{DiskError, Durability, Extent, Fence, FlushMark, Layout, Medium, Member, Name, Pool, SnapshotId, Source, Span, Write};
use pan_model::mirror::{Fill, Since};
use pan_model::{Lineage, Session, VolumeEpoch, VolumeId};

use crate::steps::new_volume;

const IMAGE_1: &str = include_str!("../fixtures/format-1.image");
const IMAGE: &str = include_str!("../fixtures/format-2.image");
const ROW: usize = 32;

/// Every row of each file that is not zeros, in hexadecimal.
fn dump(disk: &FaultyDisk) -> String {
    let mut text = String::new();
    for name in disk.names().unwrap() {
        let bytes = disk.content(name);
        text += &format!("{name} {}\n", bytes.len());
        for (at, row) in bytes.chunks(ROW).enumerate().filter(|(_, row)| row.iter().any(|byte| *byte != 0)) {
            let hex: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
            text += &format!("  {:x} {hex}\n", at * ROW);
        }
    }
    text
}

fn load(text: &str) -> FaultyDisk {
    let disk = FaultyDisk::default();
    let mut file: Option<(Name, Vec<u8>)> = None;
    for line in text.lines() {
        let (left, right) = line.trim().split_once(' ').unwrap();
        if let Some(name) = Name::parse(left) {
            file.take().into_iter().for_each(|(name, bytes)| disk.put(name, &bytes));
            file = Some((name, vec![0; right.parse().unwrap()]));
            continue;
        }
        let at = usize::from_str_radix(left, 16).unwrap();
        let bytes = &mut file.as_mut().unwrap().1;
        for (index, pair) in right.as_bytes().chunks(2).enumerate() {
            bytes[at + index] = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
    }
    file.into_iter().for_each(|(name, bytes)| disk.put(name, &bytes));
    disk
}

const VOLUME: VolumeId = VolumeId(1);

/// Something of everything: carried home, in the journal, a snapshot, an intent, an absent member.
fn make() -> FaultyDisk {
    let disk = FaultyDisk::default();
    let pool = Pool::format(disk.clone(), Layout { salt: 42, half_bytes: 128 << 10 }).unwrap();
    pool.create(new_volume(VOLUME, 200)).unwrap();
    let sparse = |content: u64| [content.to_le_bytes().to_vec(), vec![0; 4088]].concat();
    pool.write(VOLUME, Write { offset: 0, data: &sparse(1) }, Durability::Flushed).unwrap();
    pool.write(VOLUME, Write { offset: 64 << 10, data: &sparse(2).repeat(32) }, Durability::Flushed).unwrap();
    pool.snapshot(VOLUME, SnapshotId(3)).unwrap();
    pool.settle(VOLUME, &[Extent(0)]).unwrap();
    pool.begin_absence(VOLUME, Member(5), Since(8), &[Span { offset: 0, length: 4096 }]).unwrap();
    pool.fence(VOLUME, Fence { lineage: Lineage(2), epoch: VolumeEpoch(3), session: Session(4), fill: Fill::Partial }).unwrap();
    pool.flush(VOLUME, FlushMark { epoch: VolumeEpoch(3), count: 4 }).unwrap();
    pool.checkpoint().unwrap();
    pool.begin_absence(VOLUME, Member(6), Since(9), &[Span { offset: 12 << 16, length: 1 << 15 }]).unwrap();
    pool.write(VOLUME, Write { offset: 4096, data: &sparse(4) }, Durability::Flushed).unwrap();
    pool.zero(VOLUME, Span { offset: 64 << 10, length: 64 << 10 }, Durability::Flushed).unwrap();
    pool.flush(VOLUME, FlushMark { epoch: VolumeEpoch(3), count: 5 }).unwrap();
    disk
}

/// Not run by itself: an image that was released is never written again.
#[test]
#[ignore = "makes the image of a format version that has none yet"]
#[expect(clippy::disallowed_methods, reason = "the image is a file of the source")]
fn write_the_image() {
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/format-2.image"), dump(&make())).unwrap();
}

fn contents(pool: &Pool<FaultyDisk>) {
    let read = |from, at: u64| {
        let mut bytes = vec![0; 4096];
        pool.read(from, at * 4096, &mut bytes).unwrap();
        assert!(bytes[8..].iter().all(|byte| *byte == 0));
        u64::from_le_bytes(bytes[..8].try_into().unwrap())
    };
    let live = [0, 1, 16, 32, 47, 48].map(|at| read(Source::Volume(VOLUME), at));
    assert_eq!(live, [1, 4, 0, 2, 2, 0]);
    let kept = [0, 1, 16, 32, 47, 48].map(|at| read(Source::Snapshot(SnapshotId(3)), at));
    assert_eq!(kept, [1, 0, 2, 2, 2, 0]);
    assert_eq!(pool.superblock(VOLUME).unwrap().size, 200 * 4096);
    assert_eq!(pool.intents(VOLUME).unwrap(), [Extent(0), Extent(1)]);
}

#[test]
fn a_pool_of_format_version_1_is_read_and_opened_again() {
    let disk = load(IMAGE_1);
    for _ in 0..2 {
        let pool = Pool::open(disk.clone()).unwrap();
        contents(&pool);
        let superblock = pool.superblock(VOLUME).unwrap();
        let flushed = FlushMark { epoch: VolumeEpoch(0), count: 5 };
        assert_eq!((superblock.last_flush, superblock.epoch, superblock.fill), (flushed, VolumeEpoch(1), Fill::Whole));
        assert_eq!(pool.absent(VOLUME).unwrap(), [(Member(6), Since::NEVER)]);
        assert_eq!(pool.missed(VOLUME, Member(6)).unwrap(), [Span { offset: 0, length: 128 << 10 }]);
    }
}

#[test]
fn a_pool_of_format_version_2_is_read() {
    let pool = Pool::open(load(IMAGE)).unwrap();
    contents(&pool);
    let superblock = pool.superblock(VOLUME).unwrap();
    let flushed = FlushMark { epoch: VolumeEpoch(3), count: 5 };
    assert_eq!((superblock.last_flush, superblock.epoch, superblock.fill), (flushed, VolumeEpoch(3), Fill::Partial));
    assert_eq!(pool.absent(VOLUME).unwrap(), [(Member(5), Since(8)), (Member(6), Since(9))]);
    let [written, missed] = [(0, 128 << 10), (12 << 16, 200 * 4096 - (12 << 16))].map(|(offset, length)| Span { offset, length });
    assert_eq!(pool.missed(VOLUME, Member(5)).unwrap(), [written]);
    assert_eq!(pool.missed(VOLUME, Member(6)).unwrap(), [written, missed]);
}

#[test]
fn the_format_is_still_that_of_the_image() {
    let (now, then) = (dump(&make()), dump(&load(IMAGE)));
    assert!(now == then, "what is written differs from the image: a new format version is due (docs/decisions/0016-the-disk-format.md)");
}

#[test]
fn another_version_is_named() {
    let disk = load(IMAGE);
    for side in pan_disk::Side::BOTH {
        let mut root = disk.content(Name::Root(side));
        root[12] = 9;
        let mut covered = root[12..16].to_vec();
        let length = u32::from_le_bytes(root[16..20].try_into().unwrap()) as usize;
        covered.extend(&root[24..24 + length]);
        root[8..12].copy_from_slice(&crc32c::crc32c(&covered).to_le_bytes());
        disk.put(Name::Root(side), &root);
    }
    let refused = Pool::open(disk).err();
    assert_eq!(refused, Some(DiskError::Version { name: Name::Root(pan_disk::Side::A), found: 9, known: 2 }));
}
