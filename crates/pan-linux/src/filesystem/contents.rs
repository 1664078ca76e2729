//! What is on a device, from its first and last bytes. Pure.
//!
//! Empty means zeros, nothing less: a volume that was never written reads as zeros, and whatever puts something on a device
//! puts some of it here. Sources of the signatures: ext4(5) and the kernel's Documentation/filesystems/ext4,
//! libblkid's lists for the others.

use std::fmt;

/// Bytes that are looked at, at either end: past the first superblocks of all file systems there are, and the last ones of RAIDs.
pub(super) const LOOKED_AT: usize = 1 << 20;
/// Where ext2, ext3 and ext4 have their superblock, and in it the magic number and the state.
const EXT_SUPER: usize = 1024;
const EXT_MAGIC: usize = EXT_SUPER + 0x38;
const EXT_STATE: usize = EXT_SUPER + 0x3A;
/// In the state: the kernel found errors.
const EXT_ERRORS: u8 = 2;
/// What stands in a device's last block while a file system is being made on it, which thus was empty before.
pub(super) const BEING_MADE: &[u8; 32] = b"panloom: a file system is made 1";

/// File systems that volumes can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Zeros.
    Empty,
    /// The remains of a file system that was being made when something ended it.
    Unfinished,
    /// A file system of a kind that volumes can have.
    Filesystem(Kind, Condition),
    /// Something known by name that is not for volumes.
    Other(&'static str),
    /// Not zeros, and nothing known.
    Unknown,
}

/// What a file system says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing that its journal does not repair when it is mounted.
    Fine,
    /// Errors were found: it has to be checked before it is used.
    Errors,
}

impl Contents {
    /// Looks at the device's first and last bytes; of a small device the same ones.
    pub fn of(first: &[u8], last: &[u8]) -> Self {
        if block_holds(last, BEING_MADE) {
            return Self::Unfinished;
        }
        if let Some(known) = known(first) {
            return known;
        }
        let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        if zeros(first) && zeros(last) { Self::Empty } else { Self::Unknown }
    }
}

fn known(first: &[u8]) -> Option<Contents> {
    let at = |offset: usize, magic: &[u8]| first.get(offset..offset + magic.len()) == Some(magic);
    if at(0, b"XFSB") {
        return Some(Contents::Filesystem(Kind::Xfs, Condition::Fine));
    }
    if at(EXT_MAGIC, &[0x53, 0xEF]) {
        let errors = first.get(EXT_STATE).is_some_and(|state| state & EXT_ERRORS != 0);
        return Some(Contents::Filesystem(Kind::Ext4, if errors { Condition::Errors } else { Condition::Fine }));
    }
    let others: [(usize, &[u8], &str); 11] = [
        (0x1_0040, b"_BHRfS_M", "a btrfs"),
        (4086, b"SWAPSPACE2", "swap space"),
        (0, b"LUKS\xba\xbe", "an encrypted volume (LUKS)"),
        (512, b"LABELONE", "an LVM physical volume"),
        (512, b"EFI PART", "a partition table (GPT)"),
        (4096, b"EFI PART", "a partition table (GPT)"),
        (0, b"hsqs", "a squashfs"),
        (1024, b"\xe2\xe1\xf5\xe0", "an erofs"),
        (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
        (0x8001, b"CD001", "an ISO 9660 image"),
        (510, b"\x55\xaa", "a partition table or boot sector"),
    ];
    others.into_iter().find(|(offset, magic, _)| at(*offset, magic)).map(|(_, _, name)| Contents::Other(name))
}

/// Whether the last block begins so.
fn block_holds(last: &[u8], text: &[u8]) -> bool {
    last.len().checked_sub(super::make::BLOCK).is_some_and(|start| last[start..].starts_with(text))
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        })
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => out.write_str("nothing"),
            Self::Unfinished => out.write_str("an unfinished file system"),
            Self::Filesystem(kind, _) => kind.fmt(out),
            Self::Other(name) => out.write_str(name),
            Self::Unknown => out.write_str("data of an unknown kind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(offset: usize, bytes: &[u8]) -> Vec<u8> {
        let mut first = vec![0; LOOKED_AT];
        first[offset..offset + bytes.len()].copy_from_slice(bytes);
        first
    }

    #[test]
    fn only_zeros_are_empty() {
        let zeros = vec![0; LOOKED_AT];
        assert_eq!(Contents::of(&zeros, &zeros), Contents::Empty);
        for place in [0, 1, 511, 1024, 4095, 65536, LOOKED_AT - 1] {
            assert_eq!(Contents::of(&with(place, &[1]), &zeros), Contents::Unknown, "at {place}");
            assert_eq!(Contents::of(&zeros, &with(place, &[1])), Contents::Unknown, "at {place} of the end");
        }
    }

    #[test]
    fn what_is_there_is_named() {
        let zeros = vec![0; LOOKED_AT];
        let of = |first: &[u8]| Contents::of(first, &zeros);
        assert_eq!(of(&with(0, b"XFSB")), Contents::Filesystem(Kind::Xfs, Condition::Fine));
        assert_eq!(of(&with(EXT_MAGIC, &[0x53, 0xEF, 1, 0])), Contents::Filesystem(Kind::Ext4, Condition::Fine));
        assert_eq!(of(&with(EXT_MAGIC, &[0x53, 0xEF, 3, 0])), Contents::Filesystem(Kind::Ext4, Condition::Errors));
        assert_eq!(of(&with(0x1_0040, b"_BHRfS_M")), Contents::Other("a btrfs"));
        assert_eq!(of(&with(510, &[0x55, 0xAA])), Contents::Other("a partition table or boot sector"));
    }

    #[test]
    fn the_remains_of_our_own_making_are_known() {
        let mark = with(LOOKED_AT - super::super::make::BLOCK, BEING_MADE);
        let half = with(EXT_MAGIC, &[0x53, 0xEF, 1, 0]);
        assert_eq!(Contents::of(&half, &mark), Contents::Unfinished);
        assert_eq!(Contents::of(&half, &with(0, BEING_MADE)), Contents::Filesystem(Kind::Ext4, Condition::Fine), "elsewhere it is data");
    }
}
