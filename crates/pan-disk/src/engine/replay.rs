//! What the journal says after a crash: which records hold, and what must not have happened.
//!
//! Records hold up to the first that does not match. One that is known to be durable, because a later record says so, must
//! match: otherwise the disk lost it. Of the others the data are read too, and the first whose data are not there ends it.

use crate::format::codec::sum;
use crate::format::record::{self, ALIGN, Body, Found};
use crate::format::root::Root;
use crate::span::UNIT_BLOCKS;
use crate::{BLOCK, DiskError, Medium, Name, Result, Seq, Side, UNIT};

/// A record that holds.
#[derive(Debug)]
pub struct Record {
    pub side: Side,
    /// Where its data are in the half.
    pub data: u64,
    pub seq: Seq,
    pub body: Body,
    said: Seq,
    begins: u64,
}

/// Where the journal goes on.
#[derive(Debug, Clone, Copy)]
pub struct Tail {
    pub side: Side,
    pub generation: u64,
    /// The first record of that half.
    pub first: Seq,
    pub offset: u64,
    /// The last record that holds.
    pub last: Seq,
}

/// The journal, as far as it holds.
#[derive(Debug)]
pub struct Replay {
    pub records: Vec<Record>,
    pub tail: Tail,
}

/// Reads the journal from where the root says that it begins.
pub fn read(medium: &impl Medium, root: &Root) -> Result<Replay> {
    let first = root.start.side;
    let halves = [half(medium, first, root)?, half(medium, first.other(), root)?];
    let (records, mut tail) = chain(root, &halves);
    let said = records.iter().map(|record| record.said).max().unwrap_or_default();
    lost(root, &halves, &tail)?;
    let mut replay = Replay { records, tail };
    let data = |record: &Record| &halves[usize::from(record.side != first)][record.data as usize..];
    let unproven = replay.records.partition_point(|record| record.seq <= said);
    let most = places(medium)?;
    let beyond = |record: &Record| {
        matches!(&record.body, Body::Place { place, sums, .. }
        if place.0.saturating_add(sums.len() as u64 / UNIT_BLOCKS) > most + 1)
    };
    if let Some(record) = replay.records[..unproven].iter().find(|record| beyond(record)) {
        let what = format!("record {} names a place past the end of the data", record.seq);
        return Err(DiskError::Damaged { name: Name::Journal(record.side), what });
    }
    for at in unproven..replay.records.len() {
        let record = &replay.records[at];
        if !beyond(record) && is_there(medium, root, record, data(record))? {
            continue;
        }
        let second = replay.records[..at].iter().any(|record| record.body == Body::Seal);
        let begins = replay.records[..at].iter().find(|record| record.side != first).map_or(record.seq, |record| record.seq);
        tail = Tail {
            side: record.side,
            generation: root.start.generation + u64::from(second),
            first: if second { begins } else { root.start.seq },
            offset: record.begins,
            last: Seq(record.seq.0 - 1),
        };
        replay.records.truncate(at);
        break;
    }
    replay.tail = tail;
    Ok(replay)
}

/// How many places the data file has.
pub fn places(medium: &impl Medium) -> Result<u64> {
    let length = medium.length(Name::Data).map_err(|fault| DiskError::Read { name: Name::Data, fault })?;
    Ok(length.div_ceil(UNIT))
}

fn half(medium: &impl Medium, side: Side, root: &Root) -> Result<Vec<u8>> {
    let name = Name::Journal(side);
    let read = |fault| DiskError::Read { name, fault };
    let length = medium.length(name).map_err(read)?.min(root.half_bytes);
    let mut bytes = vec![0; length as usize];
    medium.read_at(name, 0, &mut bytes).map_err(read)?;
    Ok(bytes)
}

/// Records one after another, as long as each follows the one before it.
fn chain(root: &Root, halves: &[Vec<u8>; 2]) -> (Vec<Record>, Tail) {
    let mut records = Vec::new();
    let (mut seq, mut boot, mut at) = (root.start.seq, 0, 0_usize);
    let mut tail = Tail {
        side: root.start.side,
        generation: root.start.generation,
        first: root.start.seq,
        offset: 0,
        last: Seq(seq.0.saturating_sub(1)),
    };
    loop {
        let bytes = &halves[usize::from(tail.side != root.start.side)];
        let found = bytes.get(at..).and_then(|rest| record::decode(root.salt, rest));
        let follows = |found: &Found| {
            let head = found.head;
            head.seq == seq && head.generation == tail.generation && (boot..=root.boot).contains(&head.boot) && head.flushed < seq
        };
        let Some(found) = found.filter(follows) else { return (records, tail) };
        boot = found.head.boot;
        let seal = found.body == Body::Seal;
        let data = (at + found.data) as u64;
        records.push(Record { side: tail.side, data, seq, body: found.body, said: found.head.flushed, begins: at as u64 });
        at += found.next;
        (tail.offset, tail.last) = (at as u64, seq);
        seq = Seq(seq.0 + 1);
        if seal && tail.side == root.start.side {
            tail = Tail { side: tail.side.other(), generation: tail.generation + 1, first: seq, offset: 0, last: tail.last };
            at = 0;
        }
    }
}

/// An error if a record after the tail says that the one missing at the tail was durable.
fn lost(root: &Root, halves: &[Vec<u8>; 2], tail: &Tail) -> Result<()> {
    let missing = Seq(tail.last.0 + 1);
    let second = tail.side != root.start.side;
    let rest = [(usize::from(second), tail.generation, tail.offset as usize), (1, root.start.generation + 1, 0)];
    let rest = if second { &rest[..1] } else { &rest[..] };
    for (half, generation, from) in rest {
        let bytes = &halves[*half];
        let heads = (*from..bytes.len()).step_by(ALIGN as usize).filter_map(|at| record::decode(root.salt, &bytes[at..]));
        for found in heads {
            if found.head.generation == *generation && found.head.flushed >= missing {
                let name = Name::Journal(tail.side);
                return Err(DiskError::Damaged { name, what: format!("record {missing}, which had been flushed") });
            }
        }
    }
    Ok(())
}

/// Whether what a record speaks of is on the disk.
fn is_there(medium: &impl Medium, root: &Root, record: &Record, data: &[u8]) -> Result<bool> {
    let matches = |data: &[u8], sums: &[u32]| data.chunks_exact(BLOCK as usize).zip(sums).all(|(block, wanted)| sum(block) == *wanted);
    match &record.body {
        Body::Write { sums, .. } => Ok(matches(data, sums)),
        // A layer that is gone has given its places to others.
        Body::Place { layer, .. } if !root.layers.contains_key(layer) => Ok(true),
        Body::Place { place, sums, .. } => {
            let mut units = vec![0; sums.len() * BLOCK as usize];
            let read = medium.read_at(Name::Data, (place.0 - 1).saturating_mul(UNIT), &mut units);
            read.map_err(|fault| DiskError::Read { name: Name::Data, fault })?;
            Ok(matches(&units, sums))
        }
        Body::Zero { .. }
        | Body::Flush { .. }
        | Body::Settle { .. }
        | Body::Absence { .. }
        | Body::Pages { .. }
        | Body::Seal
        | Body::Mark => Ok(true),
    }
}
