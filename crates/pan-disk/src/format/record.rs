//! A record of the journal. Each begins at a multiple of 512 bytes, so that no write touches a sector of an earlier one.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `PJRN` |
//! | 4..8 | CRC-32C of the pool's salt and of bytes 8.. of header and body |
//! | 8..16 | generation of the half it is in |
//! | 16..24 | its place in the order of all records |
//! | 24..32 | boot: how often the pool had been opened |
//! | 32..40 | flushed: every record up to this one is durable |
//! | 40 | kind |
//! | 44..48 | bytes of the body |
//! | 48..52 | blocks of data that follow the body, from the next multiple of 512 on |
//! | 64.. | the body |
//!
//! The salt keeps what a tenant writes into a block from ever passing for a record. Data are not under the record's
//! checksum: each block has its own in the body.

use pan_model::mirror::Since;
use pan_model::{VolumeEpoch, VolumeId};

use super::codec::{Decoder, Encoder, sum_on};
use crate::span::{UNIT_BLOCKS, VOLUME_BYTES_MAX};
use crate::{BLOCK, FlushMark, Layer, Member, Place, Seq, Side};

/// What records begin at multiples of: a sector.
pub const ALIGN: u64 = 512;
/// Bytes before the body.
pub const HEADER: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"PJRN");

/// What all records say of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub generation: u64,
    pub seq: Seq,
    pub boot: u64,
    pub flushed: Seq,
}

/// What becomes of the record of what a member missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    /// It is away: from now on what it misses is kept, and these units, each a first one and how many, it missed already. What is
    /// kept about another absence of it is void.
    Begins { since: Since, units: Vec<(u64, u64)> },
    /// It is back: nothing is kept any more.
    Ends,
    /// It missed these units, counted from the first.
    Missed { unit: u64, count: u64 },
    /// It has these units now.
    Copied { unit: u64, count: u64 },
}

/// A record without the data that follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// These blocks are now the ones that follow.
    Write { layer: Layer, block: u64, sums: Vec<u32> },
    /// These whole units are now in the data file, at consecutive places.
    Place { layer: Layer, unit: u64, place: Place, sums: Vec<u32> },
    /// These blocks are zeros now.
    Zero { layer: Layer, block: u64, count: u64 },
    /// Everything before is to be durable by the caller's count.
    Flush { volume: VolumeId, mark: FlushMark },
    /// These extents are the same on all replicas.
    Settle { volume: VolumeId, extents: Vec<u64> },
    /// Something about a member that is away.
    Absence { volume: VolumeId, member: Member, absence: Absence },
    /// The checkpoint of this generation writes these slots of pages; if it does not complete, they are void.
    Pages { generation: u64, slots: Vec<(Layer, u32, Side)> },
    /// Nothing more comes in this half: the other one goes on.
    Seal,
    /// Nothing: it keeps the place it is at from being read as something older.
    Mark,
}

fn encode_body(body: &Body, into: &mut Encoder) -> u8 {
    match body {
        Body::Write { layer, block, sums } => {
            into.u32(layer.0).u64(*block).count(sums.len());
            sums.iter().for_each(|sum| _ = into.u32(*sum));
            1
        }
        Body::Place { layer, unit, place, sums } => {
            into.u32(layer.0).u64(*unit).u64(place.0).count(sums.len());
            sums.iter().for_each(|sum| _ = into.u32(*sum));
            2
        }
        Body::Zero { layer, block, count } => {
            into.u32(layer.0).u64(*block).u64(*count);
            3
        }
        Body::Flush { volume, mark } => {
            into.u64(volume.0).u64(mark.epoch.0).u64(mark.count);
            10
        }
        Body::Settle { volume, extents } => {
            into.u64(volume.0).count(extents.len());
            extents.iter().for_each(|extent| _ = into.u64(*extent));
            5
        }
        Body::Absence { volume, member, absence: Absence::Begins { since, units } } => {
            into.u64(volume.0).u64(member.0).u64(since.0).count(units.len());
            units.iter().for_each(|(unit, count)| _ = into.u64(*unit).u64(*count));
            11
        }
        Body::Absence { volume, member, absence } => {
            let (what, unit, count) = match absence {
                Absence::Begins { .. } => unreachable!("the arm above has it"),
                Absence::Ends => (1, 0, 0),
                Absence::Missed { unit, count } => (2, *unit, *count),
                Absence::Copied { unit, count } => (3, *unit, *count),
            };
            into.u64(volume.0).u64(member.0).u8(what).u64(unit).u64(count);
            6
        }
        Body::Pages { generation, slots } => {
            into.u64(*generation).count(slots.len());
            slots.iter().for_each(|(layer, number, side)| _ = into.u32(layer.0).u32(*number).u8(side.index() as u8));
            7
        }
        Body::Seal => 8,
        Body::Mark => 9,
    }
}

/// `Some` if blocks are within the largest volume.
fn within(block: u64, count: u64) -> Option<()> {
    (block.checked_add(count)? <= VOLUME_BYTES_MAX / BLOCK).then_some(())
}

fn decode_body(kind: u8, bytes: &[u8]) -> Option<Body> {
    let mut from = Decoder(bytes);
    let body = match kind {
        1 => {
            let (layer, block, sums) = (Layer(from.u32()?), from.u64()?, from.many(Decoder::u32)?);
            within(block, sums.len() as u64)?;
            Body::Write { layer, block, sums }
        }
        2 => {
            let (layer, unit, place) = (Layer(from.u32()?), from.u64()?, Place(from.u64()?));
            let sums = from.many(Decoder::u32)?;
            within(unit.checked_mul(UNIT_BLOCKS)?, sums.len() as u64)?;
            (place.0 > 0 && !sums.is_empty() && (sums.len() as u64).is_multiple_of(UNIT_BLOCKS)).then_some(())?;
            Body::Place { layer, unit, place, sums }
        }
        3 => {
            let (layer, block, count) = (Layer(from.u32()?), from.u64()?, from.u64()?);
            within(block, count)?;
            Body::Zero { layer, block, count }
        }
        // As version 1 writes it.
        4 => Body::Flush { volume: VolumeId(from.u64()?), mark: FlushMark { epoch: VolumeEpoch(0), count: from.u64()? } },
        5 => Body::Settle { volume: VolumeId(from.u64()?), extents: from.many(Decoder::u64)? },
        6 => {
            let (volume, member) = (VolumeId(from.u64()?), Member(from.u64()?));
            let (what, unit, count) = (from.u8()?, from.u64()?, from.u64()?);
            let absence = match what {
                // As version 1 writes it.
                0 => Absence::Begins { since: Since::NEVER, units: Vec::new() },
                1 => Absence::Ends,
                2 => Absence::Missed { unit, count },
                3 => Absence::Copied { unit, count },
                _ => return None,
            };
            Body::Absence { volume, member, absence }
        }
        7 => {
            let slot = |from: &mut Decoder<'_>| Some((Layer(from.u32()?), from.u32()?, *Side::BOTH.get(usize::from(from.u8()?))?));
            Body::Pages { generation: from.u64()?, slots: from.many(slot)? }
        }
        8 => Body::Seal,
        9 => Body::Mark,
        10 => {
            let volume = VolumeId(from.u64()?);
            Body::Flush { volume, mark: FlushMark { epoch: VolumeEpoch(from.u64()?), count: from.u64()? } }
        }
        11 => {
            let (volume, member, since) = (VolumeId(from.u64()?), Member(from.u64()?), Since(from.u64()?));
            let units = from.many(|from| Some((from.u64()?, from.u64()?)))?;
            Body::Absence { volume, member, absence: Absence::Begins { since, units } }
        }
        _ => return None,
    };
    from.end().map(|()| body)
}

/// The bytes of a record, with its data, padded to whole sectors. Clears `into` first.
pub fn encode(salt: u64, head: Head, body: &Body, data: &[u8], into: &mut Encoder) {
    into.0.clear();
    into.u32(MAGIC).u32(0).u64(head.generation).u64(head.seq.0).u64(head.boot).u64(head.flushed.0);
    into.0.resize(HEADER, 0);
    let kind = encode_body(body, into);
    let length = u32::try_from(into.0.len() - HEADER).expect("a body has at most as many checksums as a half of the journal has blocks");
    into.0[40] = kind;
    into.0[44..48].copy_from_slice(&length.to_le_bytes());
    into.0[48..52].copy_from_slice(&((data.len() as u64 / BLOCK) as u32).to_le_bytes());
    let crc = sum_on(sum_on(0, &salt.to_le_bytes()), &into.0[8..]);
    into.0[4..8].copy_from_slice(&crc.to_le_bytes());
    into.0.resize(into.0.len().next_multiple_of(ALIGN as usize), 0);
    into.bytes(data);
}

/// A record that was read; where its data begin, from its own beginning; and where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub head: Head,
    pub body: Body,
    pub data: usize,
    pub next: usize,
}

/// Reads the record at the beginning of `bytes`, if there is one that matches its checksum.
pub fn decode(salt: u64, bytes: &[u8]) -> Option<Found> {
    let mut from = Decoder(bytes);
    let (magic, crc) = (from.u32()?, from.u32()?);
    (magic == MAGIC).then_some(())?;
    let head = Head { generation: from.u64()?, seq: Seq(from.u64()?), boot: from.u64()?, flushed: Seq(from.u64()?) };
    let kind = from.u8()?;
    from.bytes(3)?;
    let (length, blocks) = (from.u32()? as usize, from.u32()? as usize);
    let end = HEADER.checked_add(length)?;
    let covered = bytes.get(8..end)?;
    (sum_on(sum_on(0, &salt.to_le_bytes()), covered) == crc).then_some(())?;
    let body = decode_body(kind, &bytes[HEADER..end])?;
    let expected = if let Body::Write { sums, .. } = &body { sums.len() } else { 0 };
    (blocks == expected).then_some(())?;
    let data = end.next_multiple_of(ALIGN as usize);
    let next = data.checked_add(blocks.checked_mul(BLOCK as usize)?)?;
    (next <= bytes.len()).then_some(Found { head, body, data, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::codec::sums;
    use proptest::prelude::*;

    fn bodies() -> Vec<(Body, Vec<u8>)> {
        let data = vec![7; 2 * BLOCK as usize];
        let (layer, volume, member) = (Layer(1), VolumeId(2), Member(3));
        let absence = |absence| (Body::Absence { volume, member, absence }, Vec::new());
        vec![
            (Body::Write { layer, block: 9, sums: sums(&data) }, data),
            (Body::Place { layer, unit: 4, place: Place(5), sums: vec![1; 32] }, Vec::new()),
            (Body::Zero { layer, block: 1, count: 80 }, Vec::new()),
            (Body::Flush { volume, mark: FlushMark { epoch: VolumeEpoch(3), count: 8 } }, Vec::new()),
            (Body::Settle { volume, extents: (0..256).collect() }, Vec::new()),
            absence(Absence::Begins { since: Since(7), units: vec![(1, 2), (9, 1)] }),
            absence(Absence::Ends),
            absence(Absence::Missed { unit: 1, count: 2 }),
            absence(Absence::Copied { unit: 3, count: 4 }),
            (Body::Pages { generation: 6, slots: vec![(layer, 1, Side::A), (layer, 2, Side::B)] }, Vec::new()),
            (Body::Seal, Vec::new()),
            (Body::Mark, Vec::new()),
        ]
    }

    const HEAD: Head = Head { generation: 1, seq: Seq(2), boot: 3, flushed: Seq(1) };

    #[test]
    fn records_come_back_under_their_salt_only_and_flipped_bits_are_noticed() {
        for (body, data) in bodies() {
            let mut bytes = Encoder::default();
            encode(77, HEAD, &body, &data, &mut bytes);
            let found = decode(77, &bytes.0).expect("just written");
            assert_eq!((found.head, &found.body, found.next), (HEAD, &body, bytes.0.len()));
            assert_eq!(bytes.0[found.data..found.next], data);
            assert_eq!(decode(78, &bytes.0), None);
            for bit in 0..HEADER * 8 {
                let mut flipped = bytes.0.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode(77, &flipped), None, "{body:?}, bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn garbage_is_no_record(bytes in proptest::collection::vec(any::<u8>(), 0..2000), kind in 0u8..14) {
            prop_assert_eq!(decode(1, &bytes), None);
            let _ = decode_body(kind, &bytes);
        }
    }
}
