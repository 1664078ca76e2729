//! Reading: where each block is, one read for those that lie together, and every checksum compared.

use crate::format::codec::sum;
use crate::span::UNIT_BLOCKS;
use crate::{BLOCK, DiskError, Fault, Layer, Medium, Name, Result, Source, Span, UNIT};

use super::maps::page_of;
use super::pool::Pool;
use super::state::State;

/// How often a read is planned anew because what it read did not match: something may have moved while it was reading. The last
/// time nothing can.
const TRIES_MAX: u32 = 4;
/// Blocks that are looked up at once for where data is, 64 MiB of them: some milliseconds in which nobody else gets at the pool.
const STRETCHES_AT_ONCE: usize = 1 << 14;

/// Where some blocks in a row are.
#[derive(Debug)]
enum At {
    Zeros,
    Here { name: Name, offset: u64, sums: Vec<u32> },
}

#[derive(Debug)]
pub(super) struct Piece {
    blocks: u64,
    at: At,
}

/// Whether a range holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Which range.
    pub span: Span,
    /// It holds data; otherwise it reads as zeros and takes no space.
    pub data: bool,
}

/// Why a piece was not read.
pub(super) enum Unread {
    Fault(Name, Fault),
    /// The first block that does not match, counted from the beginning of the range, and how many in a row do not.
    Rotten(u64, u64),
}

impl<M: Medium> Pool<M> {
    /// Reads from a volume or a snapshot.
    ///
    /// # Errors
    /// The range; the disk; or data that do not match their checksum, with the range that does not. `into` may then hold anything.
    pub fn read(&self, from: Source, offset: u64, into: &mut [u8]) -> Result<()> {
        let span = Span { offset, length: into.len() as u64 };
        for _ in 1..TRIES_MAX {
            let mut state = self.lock();
            let layer = state.within(from, span)?;
            let pieces = state.plan(&self.medium, layer, span)?;
            drop(state);
            match fill(&self.medium, &pieces, into) {
                Ok(()) => return Ok(()),
                Err(Unread::Rotten(..)) => {}
                Err(Unread::Fault(name, fault)) => return Err(DiskError::Read { name, fault }),
            }
        }
        let mut state = self.lock();
        let layer = state.within(from, span)?;
        let pieces = state.plan(&self.medium, layer, span)?;
        match fill(&self.medium, &pieces, into) {
            Ok(()) => Ok(()),
            Err(Unread::Fault(name, fault)) => Err(DiskError::Read { name, fault }),
            Err(Unread::Rotten(first, count)) => Err(DiskError::Rotten { from, span: Span::of_blocks(offset / BLOCK + first, count) }),
        }
    }

    /// Reads like [`read`](Self::read) if nothing has to be waited for: neither the disk nor whoever is at work here. `Ok(false)`: it is to be
    /// read the other way, also if something is wrong with it.
    ///
    /// # Errors
    /// The range.
    pub fn read_at_once(&self, from: Source, offset: u64, into: &mut [u8]) -> Result<bool> {
        let span = Span { offset, length: into.len() as u64 };
        let Some(mut state) = self.try_lock() else { return Ok(false) };
        let layer = state.within(from, span)?;
        if !state.maps.at_hand(layer, span.units()) {
            return Ok(false);
        }
        let pieces = state.plan(&self.medium, layer, span)?;
        drop(state);
        Ok(fill_by(&pieces, into, |name, offset, part| self.medium.read_at_once(name, offset, part)).unwrap_or(false))
    }

    /// Which parts of a range hold data.
    ///
    /// # Errors
    /// The range, or the disk.
    pub fn stretches(&self, from: Source, span: Span) -> Result<Vec<Stretch>> {
        self.lock().within(from, span)?;
        let mut stretches: Vec<Stretch> = Vec::new();
        let blocks = span.blocks();
        let mut block = blocks.start;
        // Others get their turn between.
        for first in blocks.clone().step_by(STRETCHES_AT_ONCE) {
            let part = Span::of_blocks(first, (blocks.end - first).min(STRETCHES_AT_ONCE as u64));
            let mut state = self.lock();
            let layer = state.within(from, part)?;
            for piece in state.plan(&self.medium, layer, part)? {
                let (part, data) = (Span::of_blocks(block, piece.blocks), !matches!(piece.at, At::Zeros));
                block += piece.blocks;
                match stretches.last_mut() {
                    Some(last) if last.data == data => last.span.length += part.length,
                    _ => stretches.push(Stretch { span: part, data }),
                }
            }
        }
        Ok(stretches)
    }
}

impl State {
    /// Where the blocks of a range are.
    pub(super) fn plan(&mut self, medium: &impl Medium, layer: Layer, span: Span) -> Result<Vec<Piece>> {
        let mut pieces: Vec<Piece> = Vec::new();
        for unit in span.units() {
            let (number, index) = page_of(unit);
            let entry = &self.maps.get(medium, layer, number)?.0[index];
            let blocks = span.blocks();
            let range = blocks.start.max(unit * UNIT_BLOCKS)..blocks.end.min((unit + 1) * UNIT_BLOCKS);
            let journaled = self.journal.holds(layer, range.clone());
            for block in range {
                let held = if journaled { self.journal.find(layer, block) } else { None };
                let within = (block % UNIT_BLOCKS) as usize;
                match (held, entry.place) {
                    (Some((side, held)), _) => join(&mut pieces, Name::Journal(side), held.offset, held.sum),
                    (None, Some(place)) if entry.has(within) => {
                        let offset = (place.0 - 1) * UNIT + within as u64 * BLOCK;
                        join(&mut pieces, Name::Data, offset, entry.sums[within]);
                    }
                    (None, _) => match pieces.last_mut() {
                        Some(Piece { blocks, at: At::Zeros }) => *blocks += 1,
                        _ => pieces.push(Piece { blocks: 1, at: At::Zeros }),
                    },
                }
            }
        }
        Ok(pieces)
    }
}

/// Adds a block to the piece before it, or begins another.
fn join(pieces: &mut Vec<Piece>, name: Name, offset: u64, sum: u32) {
    if let Some(Piece { blocks, at: At::Here { name: last, offset: first, sums } }) = pieces.last_mut()
        && *last == name
        && *first + *blocks * BLOCK == offset
    {
        *blocks += 1;
        sums.push(sum);
        return;
    }
    pieces.push(Piece { blocks: 1, at: At::Here { name, offset, sums: vec![sum] } });
}

/// Reads all pieces and compares every checksum.
pub(super) fn fill(medium: &impl Medium, pieces: &[Piece], into: &mut [u8]) -> Result<(), Unread> {
    fill_by(pieces, into, |name, offset, part| medium.read_at(name, offset, part).map(|()| true)).map(drop)
}

/// The same by some way to read that may decline. Whether it never did.
fn fill_by(pieces: &[Piece], into: &mut [u8], read: impl Fn(Name, u64, &mut [u8]) -> Result<bool, Fault>) -> Result<bool, Unread> {
    let mut rest = into;
    let mut block = 0;
    for piece in pieces {
        let (part, after) = rest.split_at_mut((piece.blocks * BLOCK) as usize);
        rest = after;
        match &piece.at {
            At::Zeros => part.fill(0),
            At::Here { name, offset, sums } => {
                if !read(*name, *offset, part).map_err(|fault| Unread::Fault(*name, fault))? {
                    return Ok(false);
                }
                let matches = |(data, wanted): (&[u8], &u32)| sum(data) == *wanted;
                let mut good = part.chunks_exact(BLOCK as usize).zip(sums).map(matches);
                if let Some(first) = good.position(|good| !good) {
                    let count = 1 + good.take_while(|good| !good).count() as u64;
                    return Err(Unread::Rotten(block + first as u64, count));
                }
            }
        }
        block += piece.blocks;
    }
    Ok(true)
}
