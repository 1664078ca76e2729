//! The journal: two halves, one of which takes records while the other one is carried home.

use std::collections::BTreeMap;

use crate::format::codec::Encoder;
use crate::format::record::{ALIGN, Body, HEADER, Head, encode};
use crate::format::root::Start;
use crate::{BLOCK, Fault, Layer, Medium, Name, Seq, Side};

/// The most data in a record: the largest write of the NBD clients that matter, 1 MiB, stays one record.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// What a record is for: each may use the half up to another mark, so that a full disk can always be tidied up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Data: up to 7/8.
    Data,
    /// What gives space back or settles something: up to 15/16.
    Control,
    /// What a checkpoint itself needs: to the end, but for the seal.
    Checkpoint,
}

/// A block whose newest content is in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub offset: u64,
    pub sum: u32,
    pub seq: Seq,
}

/// The blocks of a half.
pub type Index = BTreeMap<(Layer, u64), Held>;

/// One half.
#[derive(Debug)]
pub struct Half {
    pub side: Side,
    pub generation: u64,
    pub first: Seq,
    pub tail: u64,
    pub index: Index,
}

/// The journal in memory.
#[derive(Debug)]
pub struct Journal {
    pub salt: u64,
    pub half_bytes: u64,
    pub boot: u64,
    pub active: Half,
    pub frozen: Option<Half>,
    /// The last record.
    pub last: Seq,
    /// Every record up to this one is durable.
    pub flushed: Seq,
    /// And this is what the last record says of that.
    pub said: Seq,
    /// Everything up to this one is durable, and a durable record says so.
    pub marked: Seq,
    /// Halves with records that may not be durable.
    pub dirty: [bool; 2],
    buffer: Encoder,
}

impl Journal {
    /// A journal whose active half goes on at `active`.
    pub fn new(salt: u64, half_bytes: u64, boot: u64, active: Half, last: Seq) -> Self {
        let (flushed, marked, said) = (last, Seq(0), Seq(0));
        let buffer = Encoder::default();
        Self { salt, half_bytes, boot, active, frozen: None, last, flushed, said, marked, dirty: [false; 2], buffer }
    }

    /// Where the active half would have to be read from.
    pub const fn start(&self) -> Start {
        Start { side: self.active.side, generation: self.active.generation, seq: self.active.first }
    }

    /// The most bytes of data a record may have.
    pub const fn record_bytes_max(&self) -> u64 {
        let part = self.half_bytes / 8 / BLOCK * BLOCK;
        if part < RECORD_BYTES_MAX { part } else { RECORD_BYTES_MAX }
    }

    /// Space that a full disk has left for maps, so that what gives space back can be carried home: 8 MiB as a rule, which is
    /// 2,048 pages or 7 GiB.
    pub const fn reserve_bytes(&self) -> u64 {
        self.half_bytes / 4
    }

    /// Pages that may wait for a checkpoint: the record that lists them takes nine bytes for each, and has a 16th of a half.
    pub fn pages_max(&self) -> usize {
        ((self.half_bytes / 256) as usize).min(4096)
    }

    /// Whether a record with so many bytes of body and data fits.
    pub const fn fits(&self, body: u64, data: u64, purpose: Purpose) -> bool {
        let bytes = (HEADER as u64 + body).next_multiple_of(ALIGN) + data;
        let limit = match purpose {
            Purpose::Data => self.half_bytes / 8 * 7,
            Purpose::Control => self.half_bytes / 16 * 15,
            Purpose::Checkpoint => self.half_bytes,
        };
        self.active.tail + bytes + ALIGN <= limit
    }

    /// Writes a record at the tail. On an error nothing has changed.
    pub fn append(&mut self, medium: &impl Medium, body: &Body, data: &[u8]) -> Result<Seq, Fault> {
        let head = Head { generation: self.active.generation, seq: Seq(self.last.0 + 1), boot: self.boot, flushed: self.flushed };
        encode(self.salt, head, body, data, &mut self.buffer);
        let length = self.buffer.0.len() as u64;
        let end = self.active.tail + length;
        assert!(end <= self.half_bytes, "room was asked for before a record is written");
        medium.write_at(Name::Journal(self.active.side), self.active.tail, &self.buffer.0)?;
        self.dirty[self.active.side.index()] = true;
        self.last = head.seq;
        self.said = head.flushed;
        if let Body::Write { layer, block, sums } = body {
            let data = self.active.tail + length - data.len() as u64;
            hold(&mut self.active.index, *layer, *block, sums, data, head.seq);
        }
        self.active.tail = end;
        Ok(head.seq)
    }

    /// Ends the active half, and goes on in the other one.
    pub fn swap(&mut self, medium: &impl Medium) -> Result<(), Fault> {
        assert!(self.frozen.is_none(), "the other half is carried home before it is used again");
        self.append(medium, &Body::Seal, &[])?;
        let side = self.active.side.other();
        let next = Half { side, generation: self.active.generation + 1, first: Seq(self.last.0 + 1), tail: 0, index: Index::new() };
        self.frozen = Some(std::mem::replace(&mut self.active, next));
        Ok(())
    }

    /// The newest content of a block, if it is in the journal, and where.
    pub fn find(&self, layer: Layer, block: u64) -> Option<(Side, Held)> {
        let key = (layer, block);
        let of = |half: &Half| half.index.get(&key).map(|held| (half.side, *held));
        of(&self.active).or_else(|| self.frozen.as_ref().and_then(of))
    }

    /// Whether any block of a range is in the journal.
    pub fn holds(&self, layer: Layer, blocks: std::ops::Range<u64>) -> bool {
        let of = |half: &Half| half.index.range((layer, blocks.start)..(layer, blocks.end)).next().is_some();
        of(&self.active) || self.frozen.as_ref().is_some_and(of)
    }

    /// These blocks have their newest content elsewhere.
    pub fn forget(&mut self, layer: Layer, blocks: std::ops::Range<u64>) {
        for half in std::iter::once(&mut self.active).chain(&mut self.frozen) {
            forget(&mut half.index, layer, blocks.clone());
        }
    }

    /// Whether every block in the journal was carried home.
    pub fn is_empty(&self) -> bool {
        self.active.index.is_empty() && self.frozen.is_none()
    }
}

/// Enters the blocks of a record.
pub fn hold(index: &mut Index, layer: Layer, block: u64, sums: &[u32], data: u64, seq: Seq) {
    for (at, sum) in (0..).zip(sums) {
        index.insert((layer, block + at), Held { offset: data + at * BLOCK, sum: *sum, seq });
    }
}

/// Takes blocks out of a half.
pub fn forget(index: &mut Index, layer: Layer, blocks: std::ops::Range<u64>) {
    let keys: Vec<_> = index.range((layer, blocks.start)..(layer, blocks.end)).map(|(key, _)| *key).collect();
    for key in keys {
        index.remove(&key);
    }
}
