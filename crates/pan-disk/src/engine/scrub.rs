//! Scrubbing: everything that is kept is read and compared with its checksum, in steps whose pace is the caller's.

use crate::format::codec::sum;
use crate::format::page::{Entry, Slot, UNITS};
use crate::span::UNIT_BLOCKS;
use crate::{BLOCK, DiskError, Layer, Medium, Name, Result, Side, Source, Span, UNIT};

use super::journal::Held;
use super::maps::read_own;
use super::pool::Pool;

/// Where a scrub goes on; the default is the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScrubAt {
    layer: Layer,
    page: u32,
}

/// A range that does not match its checksums, or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rot {
    /// Whose it is; clones and later snapshots may share it.
    pub from: Source,
    /// Where.
    pub span: Span,
}

/// What a step of a scrub found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Where to go on; `None` at the end.
    pub next: Option<ScrubAt>,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is bad.
    pub rot: Vec<Rot>,
}

impl<M: Medium> Pool<M> {
    /// Reads on from `at` until it has read `budget` bytes or more, at most 3.5 MiB more, and says what is bad.
    ///
    /// # Errors
    /// The disk failed.
    pub fn scrub(&self, at: ScrubAt, budget: u64) -> Result<Scrubbed> {
        let mut done = Scrubbed::default();
        if at == ScrubAt::default() {
            self.scrub_journal(&mut done)?;
        }
        let mut at = at;
        loop {
            // No page is being written meanwhile.
            let upkeep = self.upkeep_lock();
            let state = self.lock();
            state.usable()?;
            let Some(layer) = state.maps.layers.range(at.layer..).next().map(|(layer, _)| *layer) else { return Ok(done) };
            if layer != at.layer {
                at = ScrubAt { layer, page: 0 };
            }
            let pages = state.maps.pages(&self.medium, layer)?;
            drop(state);
            if at.page >= pages {
                at = ScrubAt { layer: Layer(layer.0 + 1), page: 0 };
                continue;
            }
            self.scrub_page(layer, at.page, &mut done)?;
            drop(upkeep);
            at.page += 1;
            if done.bytes >= budget {
                done.next = Some(at);
                return Ok(done);
            }
        }
    }

    fn scrub_page(&self, layer: Layer, number: u32, done: &mut Scrubbed) -> Result<()> {
        let state = self.lock();
        let Some(link) = state.maps.layers.get(&layer).copied() else { return Ok(()) };
        let first = u64::from(number) * UNITS;
        let whole = Rot { from: link.owner, span: Span { offset: first * UNIT, length: UNITS * UNIT } };
        done.bytes += 2 * BLOCK;
        // What is in memory may be good when the disk is not.
        let own = state.maps.own(&self.medium, layer, number);
        if matches!(own, Err(DiskError::MapRotten { .. })) || state.maps.is_lacked(number) {
            state.maps.judge(&self.medium, layer, number);
        }
        let page = match (read_own(&self.medium, layer, number), own) {
            (Ok(slots), Ok(page)) if !slots.contains(&Slot::Bad) => page,
            (_, Err(error @ DiskError::Failed(_))) => return Err(error),
            _ => {
                done.rot.push(whole);
                return Ok(());
            }
        };
        drop(state);
        let Some(page) = page else { return Ok(()) };
        for (index, entry) in page.0.iter().enumerate() {
            let unit = first + index as u64;
            let bad = self.bad_blocks(entry, done);
            if bad == 0 {
                continue;
            }
            // It may have moved meanwhile.
            let state = self.lock();
            let now = state.maps.own(&self.medium, layer, number)?.map(|page| page.0[index]);
            if now == Some(*entry) {
                // What is in the journal counts, and what is under it may be half written.
                let journaled = |block: &u64| state.journal.find(layer, unit * UNIT_BLOCKS + block).is_some();
                let over = (0..UNIT_BLOCKS).filter(journaled).fold(0, |bits, block| bits | 1 << block);
                let bad = self.bad_blocks(entry, done) & !over;
                done.rot.extend(spans(unit, bad).map(|span| Rot { from: link.owner, span }));
            }
        }
        Ok(())
    }

    /// The blocks of a unit that do not match, as bits.
    fn bad_blocks(&self, entry: &Entry, done: &mut Scrubbed) -> u16 {
        let Some(place) = entry.place.filter(|_| entry.present != 0) else { return 0 };
        let mut unit = vec![0; UNIT as usize];
        let read = self.medium.read_at(Name::Data, (place.0 - 1) * UNIT, &mut unit);
        done.bytes += UNIT;
        let good = |block: usize, data: &[u8]| read.is_ok() && sum(data) == entry.sums[block];
        let blocks = unit.chunks_exact(BLOCK as usize).enumerate();
        blocks.filter(|(block, data)| entry.has(*block) && !good(*block, data)).fold(0, |bits, (block, _)| bits | 1 << block)
    }

    fn scrub_journal(&self, done: &mut Scrubbed) -> Result<()> {
        let state = self.lock();
        let of = |half: &super::journal::Half| half.index.iter().map(|(key, held)| (half.side, *key, *held)).collect::<Vec<_>>();
        let mut blocks = of(&state.journal.active);
        blocks.extend(state.journal.frozen.iter().flat_map(of));
        drop(state);
        for (side, (layer, block), held) in blocks {
            done.bytes += BLOCK;
            if self.matches(side, held) {
                continue;
            }
            let state = self.lock();
            let owner = state.maps.layers.get(&layer).map(|link| link.owner);
            if state.journal.find(layer, block) == Some((side, held))
                && !self.matches(side, held)
                && let Some(from) = owner
            {
                done.rot.push(Rot { from, span: Span::of_blocks(block, 1) });
            }
        }
        Ok(())
    }

    fn matches(&self, side: Side, held: Held) -> bool {
        let mut data = [0; BLOCK as usize];
        self.medium.read_at(Name::Journal(side), held.offset, &mut data).is_ok() && sum(&data) == held.sum
    }
}

/// The blocks of a unit that have a bit, as ranges.
fn spans(unit: u64, bits: u16) -> impl Iterator<Item = Span> {
    let starts = (0..UNIT_BLOCKS).filter(move |block| bits >> block & 1 == 1 && (*block == 0 || bits >> (block - 1) & 1 == 0));
    starts.map(move |block| Span::of_blocks(unit * UNIT_BLOCKS + block, u64::from((bits >> block).trailing_ones())))
}
