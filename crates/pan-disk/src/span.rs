//! The sizes everything is counted in, and the numbers things are told apart by.

use std::fmt;

use pan_model::{SnapshotId, VolumeEpoch, VolumeId};

/// What has a checksum of its own, and the alignment of every operation.
pub const BLOCK: u64 = 4096;
/// What is allocated, shared between snapshots, and given back; also what a bit of a missed-write bitmap stands for.
pub const UNIT: u64 = 64 * 1024;
/// What the write-intent log counts in.
pub const EXTENT: u64 = 128 * 1024;
/// Extents of a volume that may be in its write-intent log at once. It bounds what must be made equal before a volume can be
/// read after a failover: 32 MiB, a third of a second at 100 MB/s.
pub const INTENTS_MAX: usize = 256;

pub(crate) const UNIT_BLOCKS: u64 = UNIT / BLOCK;
/// A volume has at most 16 TiB: the pages of its map then have numbers of 32 bits with room to spare.
pub(crate) const VOLUME_BYTES_MAX: u64 = 1 << 44;
pub(crate) const VOLUME_UNITS_MAX: u64 = VOLUME_BYTES_MAX / UNIT;

macro_rules! number {
    ($(#[$doc:meta])* $type:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub $inner);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(/// A member of a volume's replicas that is away, as the caller numbers them.
    Member(u64));
number!(/// An extent of a volume: the one that begins at this many times [`EXTENT`].
    Extent(u64));
number!(/// One map in the tree of maps that volumes, snapshots and clones are made of; never given twice within a pool.
    Layer(u32));
number!(/// A unit of the data file, counted from 1.
    Place(u64));
number!(/// The place of a record in the order of all records of a pool.
    Seq(u64));

/// How far a volume was flushed, as the caller counts: what replicas are compared by when all of them were restarted. Ordered by
/// epoch first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushMark {
    /// Of whose flushes.
    pub epoch: VolumeEpoch,
    /// Up to which of that writer's requests.
    pub count: u64,
}

/// What can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A volume, as it is now.
    Volume(VolumeId),
    /// A snapshot, as it was.
    Snapshot(SnapshotId),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(volume) => write!(f, "volume {volume}"),
            Self::Snapshot(snapshot) => write!(f, "snapshot {snapshot}"),
        }
    }
}

/// A range of bytes of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Its first byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

impl Span {
    /// One past its last byte.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    pub(crate) const fn of_blocks(block: u64, count: u64) -> Self {
        Self { offset: block * BLOCK, length: count * BLOCK }
    }

    pub(crate) const fn blocks(self) -> std::ops::Range<u64> {
        self.offset / BLOCK..self.end().div_ceil(BLOCK)
    }

    pub(crate) const fn units(self) -> std::ops::Range<u64> {
        self.offset / UNIT..self.end().div_ceil(UNIT)
    }

    pub(crate) const fn extents(self) -> std::ops::Range<u64> {
        self.offset / EXTENT..self.end().div_ceil(EXTENT)
    }

    pub(crate) const fn aligned(self) -> bool {
        self.offset.is_multiple_of(BLOCK) && self.length.is_multiple_of(BLOCK)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.offset, self.length)
    }
}
