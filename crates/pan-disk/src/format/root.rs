//! The root of a pool: what exists, and from where on the journal counts. Two files; an update writes one, makes it durable,
//! and then the other.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `PANROOT` and a zero |
//! | 8..12 | CRC-32C of bytes 12..16 and of the body |
//! | 12..16 | format version |
//! | 16..20 | bytes of the body |
//! | 20..24 | zeros |
//! | 24.. | the body, as [`Root::encode`] writes it |

use std::collections::{BTreeMap, BTreeSet};

use pan_model::mirror::Since;
use pan_model::{VolumeEpoch, VolumeId};

use super::VERSION;
use super::codec::{Decoder, Encoder, is_read, sum, sum_on};
use crate::engine::marks::{Away, Bitmap, Marks};
use crate::{FlushMark, Layer, Member, Seq, Side, SnapshotId};

/// A root is not read beyond this: 1,024 volumes with two absent members each whose bitmaps have 128 KiB.
pub const BYTES_MAX: u64 = 256 << 20;
const MAGIC: &[u8; 8] = b"PANROOT\0";
const HEADER: usize = 24;
/// Halves of the journal are at least so large that the largest record leaves room, and at most so large that both are read at once.
pub const HALF_BYTES: std::ops::RangeInclusive<u64> = 128 << 10..=256 << 20;

/// From where on the journal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The half it begins in.
    pub side: Side,
    /// The generation of that half; the other one, if it goes on there, has the next.
    pub generation: u64,
    /// The first record.
    pub seq: Seq,
}

/// A volume, as the root keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeEntry {
    pub layer: Layer,
    pub marks: Marks,
}

/// A snapshot, as the root keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotEntry {
    pub volume: VolumeId,
    pub layer: Layer,
    pub size: u64,
}

/// What exists in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    pub revision: u64,
    pub salt: u64,
    pub half_bytes: u64,
    pub boot: u64,
    pub clean: bool,
    /// The last checkpoint that is complete: pages of later ones do not count.
    pub generation: u64,
    pub start: Start,
    /// Intents and bitmaps here have seen every record up to this one.
    pub applied: Seq,
    pub layer_next: u32,
    /// Each layer and the one that it falls back to.
    pub layers: BTreeMap<Layer, Option<Layer>>,
    pub volumes: BTreeMap<VolumeId, VolumeEntry>,
    pub snapshots: BTreeMap<SnapshotId, SnapshotEntry>,
}

impl Root {
    /// The bytes of one of the two files.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Encoder::default();
        body.u64(self.revision).u64(self.salt).u64(self.half_bytes).u64(self.boot).u8(u8::from(self.clean)).u64(self.generation);
        body.u8(self.start.side.index() as u8).u64(self.start.generation).u64(self.start.seq.0);
        body.u64(self.applied.0).u32(self.layer_next);
        body.count(self.layers.len());
        for (layer, under) in &self.layers {
            body.u32(layer.0).u32(under.map_or(0, |layer| layer.0));
        }
        body.count(self.volumes.len());
        for (volume, entry) in &self.volumes {
            body.u64(volume.0).u32(entry.layer.0);
            encode_marks(&entry.marks, &mut body);
        }
        body.count(self.snapshots.len());
        for (snapshot, entry) in &self.snapshots {
            body.u64(snapshot.0).u64(entry.volume.0).u32(entry.layer.0).u64(entry.size);
        }
        let crc = sum_on(sum(&VERSION.to_le_bytes()), &body.0);
        let mut file = Encoder(Vec::with_capacity(HEADER + body.0.len()));
        file.bytes(MAGIC).u32(crc).u32(VERSION).count(body.0.len()).u32(0).bytes(&body.0);
        file.0
    }
}

fn encode_marks(marks: &Marks, into: &mut Encoder) {
    into.u64(marks.last_flush.epoch.0).u64(marks.last_flush.count).count(marks.intents.len());
    marks.intents.iter().for_each(|extent| _ = into.u64(*extent));
    into.count(marks.absent.len());
    for (member, away) in &marks.absent {
        into.u64(member.0).u64(away.since.0).count(away.missed.words().len());
        away.missed.words().iter().for_each(|(index, word)| _ = into.u32(*index).u64(*word));
    }
}

/// Version 1 kept neither the epoch of a flush nor the number of an absence.
fn decode_marks(from: &mut Decoder<'_>, version: u32) -> Option<Marks> {
    let since_2 = |from: &mut Decoder<'_>| if version < 2 { Some(0) } else { from.u64() };
    let last_flush = FlushMark { epoch: VolumeEpoch(since_2(from)?), count: from.u64()? };
    let intents = from.many(Decoder::u64)?.into_iter().collect::<BTreeSet<_>>();
    let one = |from: &mut Decoder<'_>| {
        let (member, since) = (Member(from.u64()?), Since(since_2(from)?));
        let words = from.many(|from| Some((from.u32()?, from.u64()?)))?;
        Some((member, Away { since, missed: Bitmap::of(words) }))
    };
    let absent = from.many(one)?.into_iter().collect();
    Some(Marks { last_flush, intents, absent })
}

/// What a root's file may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// Nothing was ever written there.
    Empty,
    /// A root.
    Good(Box<Root>),
    /// One of another format version.
    Version(u32),
    /// Nothing that could be read.
    Bad,
}

/// Reads a file of a root.
pub fn decode(file: &[u8]) -> Slot {
    if file.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    let read = || {
        let mut whole = Decoder(file);
        let (magic, crc, version) = (whole.bytes(8)?, whole.u32()?, whole.u32()?);
        let length = whole.u32()? as usize;
        whole.u32()?;
        let body = whole.bytes(length)?;
        (magic == MAGIC && crc == sum_on(sum(&version.to_le_bytes()), body)).then_some(())?;
        if !is_read(version) {
            return Some(Slot::Version(version));
        }
        decode_body(body, version).map(|root| Slot::Good(Box::new(root)))
    };
    read().unwrap_or(Slot::Bad)
}

fn decode_body(body: &[u8], version: u32) -> Option<Root> {
    let mut from = Decoder(body);
    let (revision, salt, half_bytes, boot) = (from.u64()?, from.u64()?, from.u64()?, from.u64()?);
    let clean = from.u8()? == 1;
    let generation = from.u64()?;
    let side = *Side::BOTH.get(usize::from(from.u8()?))?;
    let start = Start { side, generation: from.u64()?, seq: Seq(from.u64()?) };
    let (applied, layer_next) = (Seq(from.u64()?), from.u32()?);
    let under = |number: u32| (number > 0).then_some(Layer(number));
    let layers = from.many(|from| Some((Layer(from.u32()?), under(from.u32()?))))?.into_iter().collect();
    let volume = |from: &mut Decoder<'_>| {
        let (volume, layer) = (VolumeId(from.u64()?), Layer(from.u32()?));
        Some((volume, VolumeEntry { layer, marks: decode_marks(from, version)? }))
    };
    let volumes = from.many(volume)?.into_iter().collect();
    let snapshot = |from: &mut Decoder<'_>| {
        let (snapshot, volume) = (SnapshotId(from.u64()?), VolumeId(from.u64()?));
        Some((snapshot, SnapshotEntry { volume, layer: Layer(from.u32()?), size: from.u64()? }))
    };
    let snapshots = from.many(snapshot)?.into_iter().collect();
    from.end()?;
    let root = Root { revision, salt, half_bytes, boot, clean, generation, start, applied, layer_next, layers, volumes, snapshots };
    sound(&root).then_some(root)
}

/// Whether every layer that is named exists, no layer is under itself, and the journal has a size that can be.
fn sound(root: &Root) -> bool {
    let named = root.volumes.values().map(|volume| volume.layer).chain(root.snapshots.values().map(|snapshot| snapshot.layer));
    let exist = named.chain(root.layers.values().copied().flatten()).all(|layer| root.layers.contains_key(&layer));
    // A volume's layer may have a larger number than those made from it, so falling back is followed to its end.
    let ends = |layer: &Layer| {
        let mut at = Some(*layer);
        let mut steps = 0;
        while let Some(layer) = at {
            at = root.layers.get(&layer).copied().flatten();
            steps += 1;
            if steps > root.layers.len() {
                return false;
            }
        }
        true
    };
    let known = root.layers.keys().all(|layer| layer.0 > 0 && layer.0 < root.layer_next);
    exist && known && root.layers.keys().all(ends) && HALF_BYTES.contains(&root.half_bytes) && root.half_bytes.is_multiple_of(4096)
}
