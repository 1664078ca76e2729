//! What images take of a disk, what goes to make room for others, and what is free for writers. Pure.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use pan_model::image::Digest;

/// As many bytes to an inode as ext4 has by default (`inode_ratio`, mke2fs.conf(5)): a share of a disk in bytes is the same share of its
/// inodes.
const BYTES_PER_FILE: u64 = 16 << 10;
/// A block of a file system: the least that anything in it takes.
const BLOCK: u64 = 4096;
/// An image that was asked for this recently may be on its way into a server whose record does not say so yet.
pub(super) const CLAIMED: Duration = Duration::from_secs(600);

/// Room on a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Room {
    pub bytes: u64,
    /// Inodes.
    pub files: u64,
}

impl Room {
    /// So many bytes, and inodes in proportion.
    pub(super) const fn of(bytes: u64) -> Self {
        Self { bytes, files: bytes / BYTES_PER_FILE }
    }

    /// So many bytes of all that a disk has, and the same share of its inodes.
    pub(super) fn share(self, bytes: u64) -> Self {
        let files = u128::from(self.files) * u128::from(bytes) / u128::from(self.bytes.max(1));
        Self { bytes, files: u64::try_from(files).unwrap_or(u64::MAX) }
    }

    /// What is around an image's root file system: its folder, that of the root, and its note, which is as long as its words are.
    pub(super) const fn around(note: u64) -> Self {
        Self { bytes: note.div_ceil(BLOCK).saturating_add(2).saturating_mul(BLOCK), files: 3 }
    }

    pub(super) const fn plus(self, more: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(more.bytes), files: self.files.saturating_add(more.files) }
    }

    pub(super) const fn minus(self, less: Self) -> Self {
        Self { bytes: self.bytes.saturating_sub(less.bytes), files: self.files.saturating_sub(less.files) }
    }

    pub(super) const fn is_within(self, most: Self) -> bool {
        self.bytes <= most.bytes && self.files <= most.files
    }
}

/// Whether a writer may have more, beside those who were promised theirs and have not written it yet.
pub(super) const fn is_free(free: Room, promised: Room, more: Room, kept_free: Room) -> bool {
    kept_free.plus(promised).plus(more).is_within(free)
}

/// An image of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub digest: Digest,
    pub takes: Room,
    /// When it was wanted last.
    pub used: SystemTime,
}

/// Whether an image that no server has may go: it was used last more than `keep` ago, or before `since`, whichever is later.
pub(super) fn is_stale(used: SystemTime, since: SystemTime, keep: Duration, now: SystemTime) -> bool {
    // A clock that was set back makes everything used just now.
    now.duration_since(used.max(since)).is_ok_and(|unused| unused > keep.max(CLAIMED))
}

/// Which of a partition's images go to make room for another: those that no server has, the longest unused first, until no more than half
/// of what it may have is taken: the other half is for what may be wanted again.
pub(super) fn surplus(mut kept: Vec<Kept>, in_use: &BTreeSet<Digest>, most: Room, now: SystemTime) -> Vec<Digest> {
    let half = Room { bytes: most.bytes / 2, files: most.files / 2 };
    let mut taken = taken(&kept);
    kept.sort_by_key(|image| image.used);
    kept.retain(|image| !in_use.contains(&image.digest) && is_stale(image.used, SystemTime::UNIX_EPOCH, CLAIMED, now));
    let mut going = Vec::new();
    for image in kept {
        if taken.is_within(half) {
            break;
        }
        taken = taken.minus(image.takes);
        going.push(image.digest);
    }
    going
}

/// What images take together.
pub(super) fn taken(kept: &[Kept]) -> Room {
    kept.iter().fold(Room::default(), |sum, image| sum.plus(image.takes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + NOW
    }

    fn digest(n: u8) -> Digest {
        Digest::of(&[n; 32])
    }

    fn kept(n: u8, bytes: u64, files: u64, minutes_ago: u64) -> Kept {
        Kept { digest: digest(n), takes: Room { bytes, files }, used: now() - Duration::from_secs(60 * minutes_ago) }
    }

    #[track_caller]
    fn check(images: &[Kept], in_use: &[u8], most: (u64, u64), going: &[u8]) {
        let in_use = in_use.iter().map(|n| digest(*n)).collect();
        let most = Room { bytes: most.0, files: most.1 };
        assert_eq!(surplus(images.to_vec(), &in_use, most, now()), going.iter().map(|n| digest(*n)).collect::<Vec<_>>());
    }

    #[test]
    fn the_longest_unused_go_until_half_is_free() {
        let images = [kept(1, 40, 1, 20), kept(2, 40, 1, 60), kept(3, 40, 1, 30)];
        check(&images, &[], (240, 100), &[]);
        check(&images, &[], (200, 100), &[2]);
        check(&images, &[], (80, 100), &[2, 3]);
        check(&images, &[], (1, 100), &[2, 3, 1]);
        // What servers have stays, and so does what was asked for a moment ago.
        check(&images, &[2], (200, 100), &[3]);
        check(&images, &[1, 2, 3], (1, 100), &[]);
        check(&[kept(1, 40, 1, 9), kept(2, 40, 1, 11)], &[], (1, 100), &[2]);
        // Inodes count as bytes do.
        check(&images, &[], (240, 6), &[]);
        check(&images, &[], (240, 4), &[2]);
        // One whose time lies ahead was used just now.
        check(&[Kept { used: now() + NOW, ..kept(1, 40, 1, 0) }], &[], (1, 1), &[]);
    }

    #[test]
    fn an_image_is_stale_once_its_time_is_over_and_this_agent_has_watched_as_long() {
        let ago = |seconds: u64| now() - Duration::from_secs(seconds);
        let hour = Duration::from_secs(3600);
        assert!(is_stale(ago(3601), SystemTime::UNIX_EPOCH, hour, now()) && !is_stale(ago(3600), SystemTime::UNIX_EPOCH, hour, now()));
        assert!(!is_stale(ago(9000), ago(3600), hour, now()));
        assert!(!is_stale(ago(600), SystemTime::UNIX_EPOCH, Duration::ZERO, now()));
    }

    #[test]
    fn what_is_promised_to_writers_is_free_for_nobody_else() {
        let (free, kept_free, more) = (Room { bytes: 100, files: 100 }, Room { bytes: 40, files: 0 }, Room { bytes: 16, files: 0 });
        let writers = (0..64_u64).take_while(|n| is_free(free, Room { bytes: n * more.bytes, files: 0 }, more, kept_free)).count();
        assert_eq!(writers, 3, "16 each of 60, whoever looks at the same time");
        let inodes = Room { bytes: 0, files: 61 };
        assert!(!is_free(free, Room::default(), inodes, Room { files: 40, ..Room::default() }));
        assert!(is_free(free, Room::default(), inodes, Room { files: 39, ..Room::default() }));
        assert!(!is_free(free, Room::default(), more, Room::of(u64::MAX)), "no sum runs over");
    }

    #[test]
    fn an_image_of_nothing_takes_what_is_around_it() {
        assert_eq!(Room::around(1), Room { bytes: 3 * 4096, files: 3 });
        assert_eq!(Room::around(1 << 20).bytes, (1 << 20) + 2 * 4096);
        assert_eq!(Room::of(32 << 30).files, 2 << 20);
        // Of a disk with few inodes, few are left; of one that counts none, none.
        let disk = Room { bytes: 4 << 30, files: 16_384 };
        assert_eq!(disk.share(1 << 30), Room { bytes: 1 << 30, files: 4096 });
        assert_eq!(Room { files: 0, ..disk }.share(1 << 30).files, 0);
        assert_eq!(Room { bytes: 0, files: u64::MAX }.share(u64::MAX).files, u64::MAX);
    }
}
