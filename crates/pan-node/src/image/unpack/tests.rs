//! What is looked at while bytes are read.

use std::cell::Cell;

use pan_image::Bounds;

use super::*;

/// A member of gzip with nothing in it (RFC 1952): head, an empty block, and two zeros of a trailer.
const EMPTY_MEMBER: [u8; 20] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// A frame of zstd with nothing in it (RFC 8878): magic number, one segment of no byte, and an empty last block.
const EMPTY_FRAME: [u8; 9] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0];
/// One to be skipped, of no byte.
const SKIPPABLE: [u8; 8] = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];

/// Puts a layer of those bytes onto nothing, until the look of that number; tells how many there were.
fn put(bytes: &[u8], packed: Compression, last: usize, kind: io::ErrorKind) -> (Result<(), ImageError>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let root = Beneath::open(dir.path()).unwrap();
    let blob = Blob { digest: pan_image::digest(bytes), size: bytes.len() as u64 };
    let looks = Cell::new(0);
    let look = || {
        looks.set(looks.get() + 1);
        if looks.get() >= last { Err(kind.into()) } else { Ok(()) }
    };
    let done = layer(bytes, (&blob, packed), &mut Budget::new(Bounds::of(1 << 30)), &root, &look);
    (done, looks.get())
}

#[test]
fn bytes_of_which_nothing_comes_are_watched_too() {
    // The decoders read 32 KiB and 8 KiB at a time.
    for (what, piece, packed, length) in [
        ("members", &EMPTY_MEMBER[..], Compression::Gzip, 6 << 20),
        ("frames", &EMPTY_FRAME[..], Compression::Zstd, 2 << 20),
        ("what is skipped", &SKIPPABLE[..], Compression::Zstd, 2 << 20),
    ] {
        let bytes = piece.repeat(length / piece.len());
        let (done, looks) = put(&bytes, packed, usize::MAX, io::ErrorKind::TimedOut);
        done.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(looks >= 3, "{what}: {looks} looks");
        // Two are at the beginning: one at what goes in, one at what comes out.
        let (done, _) = put(&bytes, packed, 3, io::ErrorKind::TimedOut);
        assert!(matches!(&done, Err(ImageError::Refusal(Refusal::Read(_)))), "{what}: {done:?}");
        let (done, _) = put(&bytes, packed, 3, io::ErrorKind::StorageFull);
        assert!(matches!(&done, Err(ImageError::NoRoom)), "{what}: {done:?}");
    }
}

#[test]
fn room_that_is_promised_while_unpacking_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path().to_owned(), 0);
    let limits = Limits { until: Instant::now() + std::time::Duration::from_secs(60), disk: disk.clone() };
    let free = pan_linux::room::of(dir.path()).unwrap().free;
    let (most, look) = (Room { bytes: free / 3 * 2, files: 0 }, limits.room());
    look().unwrap();
    look().unwrap();
    drop(look);
    assert!(disk.promise(most).is_ok());
    let over = Limits { until: Instant::now() - std::time::Duration::from_secs(1), disk };
    assert_eq!(over.room()().unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn what_is_made_is_watched_if_no_byte_of_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = Beneath::open(dir.path()).unwrap();
    let looks = Cell::new(0);
    let look = || {
        looks.set(looks.get() + 1);
        Err(io::ErrorKind::StorageFull.into())
    };
    let mut onto = Onto { root: &root, look: &look, made: 0 };
    let made = (0..2 * MADE_MAX).take_while(|n| onto.parent(Path::new(&n.to_string())).is_ok()).count();
    assert_eq!((made as u64, looks.get()), (MADE_MAX, 1));
}
