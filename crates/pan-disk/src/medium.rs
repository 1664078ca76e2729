//! What the engine asks of a disk. Everything it does to the outside goes through here.

use std::fmt;

use pan_model::VolumeId;

use crate::Layer;

/// One of the two places of what is kept twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// A file of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// What exists and where the journal begins; kept twice.
    Root(Side),
    /// The two superblocks of a volume.
    Super(VolumeId),
    /// One half of the journal.
    Journal(Side),
    /// The units of all volumes.
    Data,
    /// Space that is there to be given up when the disk is full.
    Reserve,
    /// Where the units of a layer are, and their checksums.
    Map(Layer),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(side) => write!(f, "root-{}", side.index()),
            Self::Super(volume) => write!(f, "super-{volume}"),
            Self::Journal(side) => write!(f, "journal-{}", side.index()),
            Self::Data => f.write_str("data"),
            Self::Reserve => f.write_str("reserve"),
            Self::Map(layer) => write!(f, "map-{layer}"),
        }
    }
}

impl Name {
    /// Reads what [`Display`](fmt::Display) writes; nothing else is a file of a pool.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let side = |text: &str| Side::BOTH.into_iter().find(|side| side.index().to_string() == text);
        let name = match text.split_once('-') {
            None if text == "data" => Self::Data,
            None if text == "reserve" => Self::Reserve,
            Some(("root", rest)) => Self::Root(side(rest)?),
            Some(("journal", rest)) => Self::Journal(side(rest)?),
            Some(("super", rest)) => Self::Super(VolumeId(rest.parse().ok()?)),
            Some(("map", rest)) => Self::Map(Layer(rest.parse().ok()?)),
            _ => return None,
        };
        (name.to_string() == text).then_some(name)
    }
}

/// Why a disk did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No space is left; the same may work when some was given back.
    #[error("no space is left")]
    Full,
    /// Anything else, in the system's words.
    #[error("{0}")]
    Failed(String),
}

/// A disk, as files with names. All calls block, and may come from several threads at once.
///
/// A write is in the file when the call returns, and survives the end of the process; it survives a loss of power once
/// [`sync`](Self::sync) returned. Until then any part of it may be there or not.
pub trait Medium: Send + Sync {
    /// Fills `into` from `offset` on. What was never written, also past the end and in a file that does not exist, is zeros.
    ///
    /// # Errors
    /// What the disk says.
    fn read_at(&self, name: Name, offset: u64, into: &mut [u8]) -> Result<(), Fault>;

    /// Fills `into` as [`read_at`](Self::read_at) does, if that takes no longer than copying from memory. `Ok(false)`: it would, or nobody
    /// knows; `into` then holds nothing of use.
    ///
    /// # Errors
    /// What the disk says.
    fn read_at_once(&self, _name: Name, _offset: u64, _into: &mut [u8]) -> Result<bool, Fault> {
        Ok(false)
    }

    /// Writes all of `bytes`, and makes the file where it does not exist, also for no bytes at all.
    ///
    /// # Errors
    /// What the disk says; any part of `bytes` may then be there.
    fn write_at(&self, name: Name, offset: u64, bytes: &[u8]) -> Result<(), Fault>;

    /// Makes everything written to the file durable, its length too (fdatasync).
    ///
    /// # Errors
    /// What the disk says. What was written before may then be lost, whatever later calls return.
    fn sync(&self, name: Name) -> Result<(), Fault>;

    /// Gives the space of a range back; it reads as zeros from now on.
    ///
    /// # Errors
    /// What the disk says.
    fn punch(&self, name: Name, offset: u64, length: u64) -> Result<(), Fault>;

    /// How long a file is; 0 where it does not exist.
    ///
    /// # Errors
    /// What the disk says.
    fn length(&self, name: Name) -> Result<u64, Fault>;

    /// Removes a file; it may be gone already.
    ///
    /// # Errors
    /// What the disk says.
    fn remove(&self, name: Name) -> Result<(), Fault>;

    /// All files there are.
    ///
    /// # Errors
    /// What the disk says.
    fn names(&self) -> Result<Vec<Name>, Fault>;

    /// Makes durable which files there are.
    ///
    /// # Errors
    /// What the disk says.
    fn sync_names(&self) -> Result<(), Fault>;
}
