//! The superblock of a replica: what it must know before anything else, in two slots of 4 KiB.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `PANSUPER` |
//! | 8..12 | CRC-32C of bytes 12..512 |
//! | 12..16 | format version |
//! | 16..24 | revision; the slot with the higher one counts |
//! | 24..88 | volume, lineage, epoch, session, size, incarnation, last flush, standing |
//! | 88..104 | epoch of the last flush, fill (0 whole, 1 partial, 2 catching up); zeros in version 1 |
//!
//! An update writes one slot, makes it durable, and then the other: a torn slot leaves the other, and a slot that rots
//! later has a twin, so an epoch that was acknowledged does not go back.

use pan_model::mirror::Fill;
use pan_model::{Lineage, Session, VolumeEpoch, VolumeId};

use super::VERSION;
use super::codec::{Decoder, Encoder, is_read, sum};
use crate::{FlushMark, Side};

/// Bytes from the beginning of one slot to that of the other.
pub const SLOT: u64 = 4096;
/// Bytes used of a slot: one sector, so that even a torn write leaves one slot or the other.
pub const BYTES: usize = 512;
const MAGIC: &[u8; 8] = b"PANSUPER";

/// How a replica was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Closed, with all that it was told durable.
    Clean,
    /// In use, or left by a crash.
    Open,
}

/// What a replica must know before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Which volume it is a replica of.
    pub volume: VolumeId,
    /// What it has in common with the other replicas.
    pub lineage: Lineage,
    /// The highest epoch it was fenced with.
    pub epoch: VolumeEpoch,
    /// The writer of that epoch.
    pub session: Session,
    /// Bytes of the volume.
    pub size: u64,
    /// Grows each time the pool is opened: whoever sees another one knows that unflushed writes may be lost.
    pub incarnation: u64,
    /// The last flush known when this was written; [`crate::Pool::superblock`] fills in the newest.
    pub last_flush: FlushMark,
    /// How it was left.
    pub standing: Standing,
    /// How much it has of its lineage.
    pub fill: Fill,
}

impl Superblock {
    /// The bytes of a slot.
    #[must_use]
    pub fn encode(&self, revision: u64) -> Vec<u8> {
        let mut body = Encoder::default();
        body.u32(VERSION).u64(revision);
        body.u64(self.volume.0).u64(self.lineage.0).u64(self.epoch.0).u64(self.session.0).u64(self.size);
        body.u64(self.incarnation).u64(self.last_flush.count).u64(match self.standing {
            Standing::Clean => 0,
            Standing::Open => 1,
        });
        body.u64(self.last_flush.epoch.0).u64(match self.fill {
            Fill::Whole => 0,
            Fill::Partial => 1,
            Fill::CatchingUp => 2,
        });
        body.0.resize(BYTES - 12, 0);
        let mut slot = Encoder::default();
        slot.bytes(MAGIC).u32(sum(&body.0)).bytes(&body.0);
        slot.0
    }
}

/// What a slot may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// A superblock, and its revision.
    Good(Superblock, u64),
    /// One of another format version.
    Version(u32),
    /// Nothing that could be read.
    Bad,
}

/// Reads a slot.
#[must_use]
pub fn decode(slot: &[u8]) -> Slot {
    let read = || {
        let mut whole = Decoder(slot.get(..BYTES)?);
        let (magic, crc) = (whole.bytes(8)?, whole.u32()?);
        (magic == MAGIC && crc == sum(whole.0)).then_some(())?;
        let version = whole.u32()?;
        if !is_read(version) {
            return Some(Slot::Version(version));
        }
        let revision = whole.u64()?;
        let mut superblock = Superblock {
            volume: VolumeId(whole.u64()?),
            lineage: Lineage(whole.u64()?),
            epoch: VolumeEpoch(whole.u64()?),
            session: Session(whole.u64()?),
            size: whole.u64()?,
            incarnation: whole.u64()?,
            last_flush: FlushMark { epoch: VolumeEpoch(0), count: whole.u64()? },
            standing: match whole.u64()? {
                0 => Standing::Clean,
                1 => Standing::Open,
                _ => return None,
            },
            fill: Fill::Whole,
        };
        superblock.last_flush.epoch = VolumeEpoch(whole.u64()?);
        superblock.fill = match whole.u64()? {
            0 => Fill::Whole,
            1 => Fill::Partial,
            2 => Fill::CatchingUp,
            _ => return None,
        };
        Some(Slot::Good(superblock, revision))
    };
    read().unwrap_or(Slot::Bad)
}

/// The better of two slots.
#[must_use]
pub fn choose(slots: [Slot; 2]) -> Slot {
    match slots {
        [Slot::Good(a, first), Slot::Good(b, second)] => {
            if second > first {
                Slot::Good(b, second)
            } else {
                Slot::Good(a, first)
            }
        }
        [good @ Slot::Good(..), _] | [Slot::Bad, good] => good,
        [_, good @ Slot::Good(..)] => good,
        [version @ Slot::Version(_), Slot::Version(_) | Slot::Bad] => version,
    }
}

/// Where a slot begins.
#[must_use]
pub const fn offset(side: Side) -> u64 {
    SLOT * side.index() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(epoch: u64) -> Superblock {
        Superblock {
            volume: VolumeId(7),
            lineage: Lineage(2),
            epoch: VolumeEpoch(epoch),
            session: Session(9),
            size: 1 << 30,
            incarnation: 3,
            last_flush: FlushMark { epoch: VolumeEpoch(4), count: 11 },
            standing: Standing::Open,
            fill: Fill::CatchingUp,
        }
    }

    #[test]
    fn every_flipped_bit_of_a_slot_is_noticed_and_the_twin_counts() {
        let (old, new) = (superblock(4).encode(1), superblock(5).encode(2));
        assert_eq!(choose([decode(&old), decode(&new)]), Slot::Good(superblock(5), 2));
        for bit in 0..BYTES * 8 {
            let mut flipped = new.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), Slot::Bad, "bit {bit}");
            assert_eq!(choose([decode(&old), decode(&flipped)]), Slot::Good(superblock(4), 1));
            assert_eq!(choose([decode(&flipped), decode(&old)]), Slot::Good(superblock(4), 1));
        }
        assert_eq!(choose([decode(&[]), decode(&[0; BYTES])]), Slot::Bad);
    }
}
