//! Reads that wait for nothing: what they give is what other reads give, and they decline rather than give anything else.

use pan_disk::{BLOCK, DiskError, Durability, Layout, NewVolume, Pool, Source, Write};
use pan_model::{Lineage, Session, VolumeEpoch, VolumeId};
use pan_storage::files::Files;
use std::os::unix::fs::FileExt;

const VOLUME: VolumeId = VolumeId(1);
const SIZE: u64 = 8 << 20;

#[test]
fn a_read_at_once_is_like_any_other_or_declines() {
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::format(Files::open(dir.path()).unwrap(), Layout { salt: 7, half_bytes: 4 << 20 }).unwrap();
    let volume = NewVolume { volume: VOLUME, lineage: Lineage(1), epoch: VolumeEpoch(0), session: Session(0), size: SIZE };
    pool.create(volume).unwrap();
    let write =
        |offset: u64, length: usize, byte: u8| pool.write(VOLUME, Write { offset, data: &vec![byte; length] }, Durability::Now).unwrap();
    write(0, 1 << 20, 1);
    write(BLOCK, 2 * BLOCK as usize, 2);
    let from = Source::Volume(VOLUME);
    let mut served = 0;
    for (offset, length) in [(0, BLOCK), (0, 4 * BLOCK), (BLOCK, BLOCK), (0, 2 << 20), (SIZE - BLOCK, BLOCK)] {
        let (mut wanted, mut found) = (vec![9; length as usize], vec![8; length as usize]);
        pool.read(from, offset, &mut wanted).unwrap();
        if pool.read_at_once(from, offset, &mut found).unwrap() {
            served += 1;
            assert_eq!(wanted, found, "{length} bytes at {offset}");
        }
    }
    // What was never written is told from the map alone, whatever the file system can do.
    assert!(served > 0);
    assert!(matches!(pool.read_at_once(from, SIZE, &mut [0; 4096]), Err(DiskError::OutOfRange { .. })));
    let data = std::fs::File::options().write(true).open(dir.path().join("data")).unwrap();
    data.write_all_at(&[3; 1 << 20], 0).unwrap();
    let mut into = vec![0; BLOCK as usize];
    assert!(matches!(pool.read(from, 0, &mut into), Err(DiskError::Rotten { .. })));
    assert!(!pool.read_at_once(from, 0, &mut into).unwrap(), "what is rotten is for the other way to tell");
}
