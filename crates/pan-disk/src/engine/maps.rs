//! The maps of all layers, as pages that are read when they are needed. A page that a layer does not have is that of the layer
//! under it, and becomes its own when something in it changes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::format::page::{self, BYTES, Page, Slot, UNITS};
use crate::span::UNIT_BLOCKS;
use crate::{DiskError, Layer, Medium, Name, Result, Side, Source, Span, UNIT};

use super::units::Units;

/// Pages kept in memory that need not be: they describe 56 GiB in 74 MiB.
const CACHED_MAX: usize = 16 * 1024;

/// Pages that a layer is remembered to lack: any one is enough to know that it lacks something.
const LACKED_MAX: usize = 1024;

/// A layer's place in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub under: Option<Layer>,
    /// Whose map it is, for errors.
    pub owner: Source,
}

#[derive(Debug)]
struct Cached {
    page: Page,
    /// Whether the layer has this page, rather than one under it.
    own: bool,
    /// The slot on the disk that counts.
    slot: Option<Side>,
    dirty: bool,
    /// A checkpoint is writing it.
    writing: bool,
}

/// A page as a checkpoint writes it.
#[derive(Debug)]
pub struct Image {
    pub layer: Layer,
    pub number: u32,
    pub side: Side,
    pub bytes: Vec<u8>,
}

impl Image {
    /// Where it is written.
    pub const fn offset(&self) -> u64 {
        offset(self.number, self.side)
    }
}

/// Where a slot of a page begins in the map of its layer.
pub const fn offset(number: u32, side: Side) -> u64 {
    (number as u64 * 2 + side.index() as u64) * BYTES as u64
}

/// The page that a unit is in, and where in it.
pub fn page_of(unit: u64) -> (u32, usize) {
    let number = u32::try_from(unit / UNITS).expect("a volume has at most 2^28 units");
    (number, (unit % UNITS) as usize)
}

/// Reads the slots of a page that the layer itself has.
pub fn read_own(medium: &impl Medium, layer: Layer, number: u32) -> Result<[Slot; 2]> {
    let mut bytes = [0; BYTES * 2];
    let name = Name::Map(layer);
    medium.read_at(name, offset(number, Side::A), &mut bytes).map_err(|fault| DiskError::Read { name, fault })?;
    Ok([page::decode(&bytes[..BYTES], layer, number), page::decode(&bytes[BYTES..], layer, number)])
}

/// All maps.
#[derive(Debug)]
pub struct Maps {
    pub layers: BTreeMap<Layer, Link>,
    /// The last checkpoint that is complete.
    pub generation: u64,
    /// Pages that were damaged when the pool was opened, or match their checksum and cannot be right: nobody kept the places that they name.
    pub wrong: BTreeSet<(Layer, u32)>,
    /// Pages that layers need, wherever they come from, and that were damaged when somebody looked last.
    lacked: RefCell<BTreeMap<Layer, BTreeSet<u32>>>,
    cache: BTreeMap<(Layer, u32), Cached>,
    dirty: usize,
    /// How many units the pages name that each layer itself has.
    units: BTreeMap<Layer, u64>,
}

impl Maps {
    /// Maps of which nothing was read yet.
    pub const fn new(layers: BTreeMap<Layer, Link>, generation: u64) -> Self {
        let wrong = BTreeSet::new();
        let lacked = RefCell::new(BTreeMap::new());
        Self { layers, generation, wrong, lacked, cache: BTreeMap::new(), dirty: 0, units: BTreeMap::new() }
    }

    /// A layer that has no page yet: what the one under it lacks, it lacks.
    pub fn add(&mut self, layer: Layer, link: Link) {
        let lacked = self.lacked.get_mut();
        let same = link.under.and_then(|under| lacked.get(&under).cloned());
        lacked.extend(same.map(|same| (layer, same)));
        self.layers.insert(layer, link);
    }

    /// The page of a layer, wherever it comes from.
    pub fn get(&mut self, medium: &impl Medium, layer: Layer, number: u32) -> Result<&Page> {
        if !self.cache.contains_key(&(layer, number)) {
            let cached = self.load(medium, layer, number)?;
            self.make_room();
            self.cache.insert((layer, number), cached);
        }
        Ok(&self.cache[&(layer, number)].page)
    }

    /// Whether the pages of units are in memory.
    pub fn at_hand(&self, layer: Layer, units: std::ops::Range<u64>) -> bool {
        units.is_empty() || (page_of(units.start).0..=page_of(units.end - 1).0).all(|number| self.cache.contains_key(&(layer, number)))
    }

    fn load(&self, medium: &impl Medium, layer: Layer, number: u32) -> Result<Cached> {
        let loaded = self.find(medium, layer, number);
        let mut lacked = self.lacked.borrow_mut();
        match &loaded {
            Ok(_) => {
                if let Some(pages) = lacked.get_mut(&layer) {
                    pages.remove(&number);
                }
            }
            Err(DiskError::MapRotten { .. }) => {
                let pages = lacked.entry(layer).or_default();
                if pages.len() < LACKED_MAX {
                    pages.insert(number);
                }
            }
            // The disk may give it the next time.
            Err(_) => {}
        }
        loaded
    }

    fn find(&self, medium: &impl Medium, layer: Layer, number: u32) -> Result<Cached> {
        let mut at = Some(layer);
        while let Some(from) = at {
            if from != layer
                && let Some(cached) = self.cache.get(&(from, number))
            {
                return Ok(Cached { page: cached.page.clone(), own: false, slot: None, dirty: false, writing: false });
            }
            if let Some((page, side)) = self.own_on_disk(medium, from, number)? {
                let own = from == layer;
                return Ok(Cached { page, own, slot: own.then_some(side), dirty: false, writing: false });
            }
            at = self.layers.get(&from).and_then(|link| link.under);
        }
        Ok(Cached { page: Page::default(), own: false, slot: None, dirty: false, writing: false })
    }

    /// The page that a layer itself has on the disk. A slot that cannot be read may have been the one that counts.
    pub fn own_on_disk(&self, medium: &impl Medium, layer: Layer, number: u32) -> Result<Option<(Page, Side)>> {
        let good = |slot: Slot, side: Side| match slot {
            Slot::Empty => Ok(None),
            Slot::Good(page, generation) if generation <= self.generation => Ok(Some((page, generation, side))),
            Slot::Good(..) | Slot::Bad => Err(self.rotten(layer, number)),
        };
        if self.wrong.contains(&(layer, number)) {
            return Err(self.rotten(layer, number));
        }
        let [a, b] = read_own(medium, layer, number)?;
        let both = [good(a, Side::A)?, good(b, Side::B)?];
        let newest = both.into_iter().flatten().max_by_key(|(_, generation, _)| *generation);
        Ok(newest.map(|(page, _, side)| (page, side)))
    }

    /// Looks which layers lack a page, of those that may have it from one where it is damaged, or was.
    pub fn judge(&self, medium: &impl Medium, layer: Layer, number: u32) {
        let mut of = vec![layer];
        while let Some(at) = of.pop() {
            let lacked = self.lacked.borrow().get(&at).is_some_and(|pages| pages.contains(&number));
            let good = self.cache.contains_key(&(at, number)) || self.load(medium, at, number).is_ok();
            // Who has a good page, and had one, is not in the way of those above.
            if at == layer || lacked || !good {
                of.extend(self.above(at));
            }
        }
    }

    /// Whether any layer lacks this page, as far as anybody looked.
    pub fn is_lacked(&self, number: u32) -> bool {
        self.lacked.borrow().values().any(|pages| pages.contains(&number))
    }

    /// Whether a layer lacks any, as far as anybody looked. Asks nothing of the disk.
    pub fn lacks(&self, layer: Layer) -> bool {
        self.lacked.borrow().get(&layer).is_some_and(|pages| !pages.is_empty())
    }

    fn rotten(&self, layer: Layer, number: u32) -> DiskError {
        let first = u64::from(number) * UNITS;
        let span = Span { offset: first * UNIT, length: UNITS * UNIT };
        let from = self.layers.get(&layer).map_or(Source::Snapshot(crate::SnapshotId(0)), |link| link.owner);
        DiskError::MapRotten { from, span }
    }

    /// The page of a layer, to be changed: from now on it is its own.
    pub fn change(&mut self, medium: &impl Medium, units: &mut Units, layer: Layer, number: u32) -> Result<&mut Page> {
        self.get(medium, layer, number)?;
        let cached = self.cache.get_mut(&(layer, number)).expect("it was just read");
        if !cached.own {
            for place in cached.page.0.iter().filter_map(|entry| entry.place) {
                units.share(place);
                *self.units.entry(layer).or_default() += 1;
            }
            cached.own = true;
        }
        if !cached.dirty {
            cached.dirty = true;
            self.dirty += 1;
        }
        Ok(&mut cached.page)
    }

    /// A page that [`change`](Self::change) was called for before, with nothing in between.
    pub fn changed(&mut self, layer: Layer, number: u32) -> &mut Page {
        let cached = self.cache.get_mut(&(layer, number)).expect("the page was made ready to be changed");
        assert!(cached.own && cached.dirty, "the page was made ready to be changed");
        &mut cached.page
    }

    /// The page that a layer itself has, if it has one.
    pub fn own(&self, medium: &impl Medium, layer: Layer, number: u32) -> Result<Option<Page>> {
        match self.cache.get(&(layer, number)) {
            Some(cached) if cached.own => Ok(Some(cached.page.clone())),
            Some(_) => Ok(None),
            None => Ok(self.own_on_disk(medium, layer, number)?.map(|(page, _)| page)),
        }
    }

    /// Whether a page in memory is the layer's own.
    pub fn is_own(&self, layer: Layer, number: u32) -> bool {
        self.cache.get(&(layer, number)).is_some_and(|cached| cached.own)
    }

    /// How many units the pages name that a layer itself has.
    pub fn units(&self, layer: Layer) -> u64 {
        self.units.get(&layer).copied().unwrap_or(0)
    }

    /// A layer's own page names a unit that it did not.
    pub fn gained(&mut self, layer: Layer) {
        *self.units.entry(layer).or_default() += 1;
    }

    /// A layer's own page does not name a unit any more.
    pub fn lost(&mut self, layer: Layer) {
        let units = self.units.entry(layer).or_default();
        *units = units.saturating_sub(1);
    }

    fn make_room(&mut self) {
        if self.cache.len() < CACHED_MAX {
            return;
        }
        // Every other one of those that the disk has as well goes: nothing is remembered of use, and a miss costs one read.
        let mut odd = false;
        self.cache.retain(|_, cached| {
            odd = !odd;
            cached.dirty || cached.writing || odd
        });
    }

    /// Pages that wait for a checkpoint.
    pub const fn dirty(&self) -> usize {
        self.dirty
    }

    /// What a checkpoint has to write. [`wrote`](Self::wrote) must follow.
    pub fn images(&mut self) -> Vec<Image> {
        let generation = self.generation + 1;
        let mut images = Vec::with_capacity(self.dirty);
        for ((layer, number), cached) in self.cache.iter_mut().filter(|(_, cached)| cached.dirty) {
            (cached.dirty, cached.writing) = (false, true);
            let side = cached.slot.map_or(Side::A, Side::other);
            images.push(Image { layer: *layer, number: *number, side, bytes: cached.page.encode(*layer, *number, generation) });
        }
        self.dirty = 0;
        images
    }

    /// The end of the writing of images: they count now, or have to be written again.
    pub fn wrote(&mut self, done: bool) {
        for cached in self.cache.values_mut().filter(|cached| cached.writing) {
            cached.writing = false;
            if done {
                cached.slot = Some(cached.slot.map_or(Side::A, Side::other));
            } else if !cached.dirty {
                cached.dirty = true;
                self.dirty += 1;
            }
        }
        if done {
            self.generation += 1;
        }
    }

    /// Forgets the pages of a layer that is gone.
    pub fn drop_layer(&mut self, layer: Layer) {
        self.layers.remove(&layer);
        self.units.remove(&layer);
        self.lacked.get_mut().remove(&layer);
        let keys: Vec<_> = self.cache.range((layer, 0)..=(layer, u32::MAX)).map(|(key, _)| *key).collect();
        for key in keys {
            if self.cache.remove(&key).is_some_and(|cached| cached.dirty) {
                self.dirty -= 1;
            }
        }
    }

    /// The layers right above one.
    pub fn above(&self, layer: Layer) -> Vec<Layer> {
        self.layers.iter().filter(|(_, link)| link.under == Some(layer)).map(|(above, _)| *above).collect()
    }

    /// How many pages a layer may have, on the disk and in memory.
    pub fn pages(&self, medium: &impl Medium, layer: Layer) -> Result<u32> {
        let name = Name::Map(layer);
        let length = medium.length(name).map_err(|fault| DiskError::Read { name, fault })?;
        let pages = length.div_ceil(BYTES as u64 * 2).min(crate::span::VOLUME_UNITS_MAX.div_ceil(UNITS));
        let pages = u32::try_from(pages).expect("bounded by the largest volume");
        let cached = self.cache.range((layer, 0)..=(layer, u32::MAX)).next_back().map_or(0, |((_, number), _)| number + 1);
        Ok(pages.max(cached))
    }
}

/// The blocks of a unit that are within a range, as bits.
pub fn bits(unit: u64, blocks: &std::ops::Range<u64>) -> u16 {
    let first = blocks.start.saturating_sub(unit * UNIT_BLOCKS).min(UNIT_BLOCKS);
    let end = blocks.end.saturating_sub(unit * UNIT_BLOCKS).min(UNIT_BLOCKS);
    (0..UNIT_BLOCKS).filter(|bit| (first..end).contains(bit)).fold(0, |bits, bit| bits | 1 << bit)
}
