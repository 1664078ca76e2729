//! What can go wrong, one variant for each thing that a caller would do something else about.

use pan_model::{VolumeEpoch, VolumeId};

use crate::{BLOCK, Fault, INTENTS_MAX, Name, Source, Span};

/// The outcome of an operation on a pool.
pub type Result<T, E = DiskError> = std::result::Result<T, E>;

/// Why an operation was not done. Nothing of it was acknowledged, though parts of it may be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The disk holds no pool.
    #[error("there is no pool on this disk: make one first")]
    NoPool,
    /// The disk holds one already.
    #[error("there is a pool on this disk already ({0} exists): it is not overwritten")]
    PoolExists(Name),
    /// A layout that cannot be used.
    #[error("a journal of two halves of {0} bytes: each must be a multiple of 4096 from 128 KiB to 256 MiB")]
    Layout(u64),
    /// Written by a version that is not known here.
    #[error("{name} has format version {found}; this program reads {known}")]
    Version {
        /// Which file.
        name: Name,
        /// What it says.
        found: u32,
        /// What is known.
        known: u32,
    },
    /// What describes the pool, or a volume, or the order of writes, is cut off or does not match its checksum. It cannot be used any more; what
    /// it held has to come from other replicas.
    #[error("{name} is not what was written ({what}): what it describes cannot be read and has to come from other replicas")]
    Damaged {
        /// Which file.
        name: Name,
        /// In what way.
        what: String,
    },
    /// Data that do not match their checksum. Written anew, the range is good again.
    #[error("{from} does not match its checksum at {span}")]
    Rotten {
        /// Of what.
        from: Source,
        /// Where.
        span: Span,
    },
    /// Where the blocks of a range are is not known any more: the map does not match its checksum. Writing to it does not help.
    #[error("the map of {from} does not match its checksum at {span}: make this replica anew")]
    MapRotten {
        /// Of what.
        from: Source,
        /// Which range of it that page describes.
        span: Span,
    },
    /// No such volume or snapshot.
    #[error("there is no {0} here")]
    NotFound(Source),
    /// One that exists already.
    #[error("there is a {0} here already")]
    Exists(Source),
    /// A range that is not made of whole blocks.
    #[error("{0} is not made of whole blocks of {BLOCK} bytes")]
    Unaligned(Span),
    /// A range that is not within the volume.
    #[error("{span} is not within the {size} bytes of {from}")]
    OutOfRange {
        /// Of what.
        from: Source,
        /// Asked for.
        span: Span,
        /// How big it is.
        size: u64,
    },
    /// A size that cannot be.
    #[error("a size of {0} bytes: it must be a multiple of {BLOCK}, more than nothing, and at most 16 TiB")]
    Size(u64),
    /// Volumes do not shrink: what is cut off could be in use.
    #[error("volume {volume} has {held} bytes and does not shrink to {asked}")]
    Shrink {
        /// Which.
        volume: VolumeId,
        /// Its size.
        held: u64,
        /// The size asked for.
        asked: u64,
    },
    /// An epoch smaller than one seen.
    #[error("volume {volume} has seen epoch {held}, which is after {offered}")]
    Past {
        /// Which.
        volume: VolumeId,
        /// The one seen.
        held: VolumeEpoch,
        /// The one offered.
        offered: VolumeEpoch,
    },
    /// Too many extents are being written.
    #[error("volume {0} has {INTENTS_MAX} extents that are being written: settle some first")]
    IntentsFull(VolumeId),
    /// More volumes, snapshots or members than a pool keeps.
    #[error("{0}")]
    TooMany(&'static str),
    /// A member that was not said to be absent.
    #[error("volume {volume} does not keep what member {member} missed")]
    NotAbsent {
        /// Which.
        volume: VolumeId,
        /// Who.
        member: crate::Member,
    },
    /// The disk is full. Reading goes on, and so does everything else once space was given back.
    #[error("the disk is full: cannot {0}")]
    Full(&'static str),
    /// The disk refused to read.
    #[error("cannot read {name}: {fault}")]
    Read {
        /// Which file.
        name: Name,
        /// What the disk said.
        #[source]
        fault: Fault,
    },
    /// The disk failed: what it holds is not known. Nothing is served until the pool was opened anew.
    #[error("the disk failed ({0}): its replicas are out of service until it is opened anew")]
    Failed(String),
}
