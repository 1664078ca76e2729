//! Carrying home: what a sealed half of the journal holds goes to the data file and into the maps, and then the half is free.
//!
//! The order, each step durable before the next: the half itself; that it is; the blocks, and a list of the slots of pages that will be
//! written; those slots; the root, which says that they count and that the journal begins after the half. A crash in between
//! begins anew from the half, which is still there. The lock is held only to plan and to enter what was done.

use crate::format::record::Body;
use crate::format::root::Root;
use crate::span::UNIT_BLOCKS;
use crate::{BLOCK, DiskError, Fault, Layer, Medium, Name, Place, Result, Seq, Side, UNIT};

use super::journal::{Held, Purpose};
use super::maps::{Image, page_of};
use super::pool::{Guard, Pool};
use super::state::{State, store_root};
use super::units::{Run, Then, Until};

/// A block of a unit, and where it is in the journal.
type Carried = (usize, Held);

/// Where blocks of a unit are carried.
#[derive(Debug)]
struct Home {
    layer: Layer,
    unit: u64,
    /// Where the unit was when this was planned.
    before: Option<Place>,
    place: Place,
    /// Blocks that come along because the unit moves.
    copied: u16,
    /// Blocks from the journal.
    carried: Vec<Carried>,
    /// The half that is carried.
    half: Side,
}

impl Home {
    fn is_fresh(&self) -> bool {
        self.before != Some(self.place)
    }

    fn run(&self) -> Run {
        Run { first: self.place, count: 1 }
    }
}

/// What is written after the blocks.
struct Outcome {
    images: Vec<Image>,
    root: Root,
    active: Side,
}

impl<M: Medium> Pool<M> {
    /// Carries home what the sealed half of the journal holds, or else the one in use.
    ///
    /// # Errors
    /// The disk is full or failed; the journal keeps what it holds.
    pub fn checkpoint(&self) -> Result<()> {
        let _upkeep = self.upkeep_lock();
        self.checkpoint_held()
    }

    /// The same, by whoever holds the lock of the upkeep.
    pub(super) fn checkpoint_held(&self) -> Result<()> {
        match self.carry_home() {
            Err(DiskError::Full(_)) => {
                self.reclaim()?;
                self.carry_home()
            }
            outcome => outcome,
        }
    }

    /// Empties the journal and keeps it empty until the guard's `quiet` is taken back. The upkeep is held.
    pub(super) fn quiet(&self) -> Result<Guard<'_>> {
        self.lock().quiet = true;
        let carried = self.checkpoint_held().and_then(|()| self.checkpoint_held());
        let mut state = self.lock();
        let empty = carried.and_then(|()| if state.journal.is_empty() { Ok(()) } else { Err(DiskError::Full("empty the journal")) });
        match empty {
            Ok(()) => Ok(state),
            Err(error) => {
                state.quiet = false;
                self.changed.notify_all();
                Err(error)
            }
        }
    }

    /// Ends the waiting of units by making durable that they may be used again, and gives them back to the disk.
    fn reclaim(&self) -> Result<()> {
        for _ in 0..2 {
            let mut state = self.lock();
            if state.units.waits() && state.journal.fits(0, 0, Purpose::Checkpoint) {
                let appended = state.journal.append(&self.medium, &Body::Mark, &[]);
                let seq = appended.map_err(|fault| state.blame(fault, "write to the journal"))?;
                drop(self.durable(state, seq)?);
            }
        }
        let mut state = self.lock();
        state.settle_units();
        state.units.cool();
        drop(state);
        self.give_back()
    }

    fn carry_home(&self) -> Result<()> {
        let Some((mut state, sealed)) = self.seal()? else { return Ok(()) };
        state = self.durable(state, sealed)?;
        state = self.marked(state, sealed)?;
        let homes = state.homes(&self.medium)?;
        state.checkpointing = true;
        drop(state);
        if let Err(fault) = homes.iter().try_for_each(|home| carry(&self.medium, home)) {
            let mut state = self.lock();
            homes.iter().filter(|home| home.is_fresh()).for_each(|home| state.units.abandon(home.run()));
            state.checkpointing = false;
            state.settle_units();
            return Err(state.blame(fault, "carry the journal home"));
        }
        let mut state = self.lock();
        homes.iter().for_each(|home| state.arrived(home));
        let stored = match state.outcome(&self.medium) {
            Ok(outcome) => {
                drop(state);
                let mut stored = store(&self.medium, &outcome);
                if stored == Err(Fault::Full) && self.lock().spend(&self.medium) {
                    stored = store(&self.medium, &outcome);
                }
                state = self.lock();
                stored.map(|()| outcome.root)
            }
            Err(fault) => Err(fault),
        };
        self.committed(&mut state, stored)
    }

    /// Makes durable that every record up to `seq` is. Units are written over from here on that a record put there: after a
    /// crash nothing must depend on finding them as that record left them.
    fn marked<'a>(&'a self, mut state: Guard<'a>, seq: Seq) -> Result<Guard<'a>> {
        if state.journal.marked >= seq {
            return Ok(state);
        }
        if !state.journal.fits(0, 0, Purpose::Checkpoint) {
            return Err(DiskError::Full("carry the journal home"));
        }
        let appended = state.journal.append(&self.medium, &Body::Mark, &[]);
        let mark = appended.map_err(|fault| state.blame(fault, "write to the journal"))?;
        let state = self.durable(state, mark)?;
        assert!(state.journal.marked >= seq, "a durable record says that everything before it is");
        Ok(state)
    }

    /// Enters that everything is durable, or is not.
    fn committed(&self, state: &mut Guard<'_>, stored: Result<Root, Fault>) -> Result<()> {
        state.checkpointing = false;
        state.maps.wrote(stored.is_ok());
        let outcome = match stored {
            Ok(root) => {
                let half = state.journal.frozen.take().expect("only a checkpoint frees the half, and there is one at a time");
                assert!(half.index.is_empty(), "every block of the half was carried home");
                (state.revision, state.start) = (root.revision, root.start);
                // No crash brings back what is before the journal's beginning.
                state.journal.marked = state.journal.marked.max(Seq(root.start.seq.0 - 1));
                state.announced.clear();
                state.had_space();
                Ok(())
            }
            Err(fault) => Err(state.blame(fault, "write the maps")),
        };
        state.settle_units();
        self.changed.notify_all();
        outcome
    }

    /// Makes sure that a half is sealed; says its last record. `None` if there is nothing to carry.
    fn seal(&self) -> Result<Option<(Guard<'_>, Seq)>> {
        let mut state = self.lock();
        state.usable()?;
        if state.journal.frozen.is_none() {
            if state.journal.active.index.is_empty() && state.maps.dirty() == 0 && !state.units.waits() {
                return Ok(None);
            }
            state.journal.swap(&self.medium).map_err(|fault| state.blame(fault, "seal a half of the journal"))?;
        }
        let sealed = Seq(state.journal.active.first.0 - 1);
        Ok(Some((state, sealed)))
    }
}

impl State {
    /// Where each block of the sealed half goes.
    fn homes(&mut self, medium: &impl Medium) -> Result<Vec<Home>> {
        let frozen = self.journal.frozen.as_mut().expect("it was just sealed");
        // What was written again need not be carried: the other half is made durable before the root says that this one is gone.
        let active = &self.journal.active.index;
        frozen.index.retain(|key, _| !active.contains_key(key));
        let mut units: Vec<(Layer, u64, Vec<Carried>)> = Vec::new();
        for ((layer, block), held) in &frozen.index {
            let (unit, within) = (block / UNIT_BLOCKS, (block % UNIT_BLOCKS) as usize);
            match units.last_mut() {
                Some((last, number, carried)) if (*last, *number) == (*layer, unit) => carried.push((within, *held)),
                _ => units.push((*layer, unit, vec![(within, *held)])),
            }
        }
        let mut homes = Vec::with_capacity(units.len());
        for (layer, unit, carried) in units {
            match self.home(medium, layer, unit, carried) {
                Ok(home) => homes.push(home),
                // Nothing of this range can be read again in any case, and the rest of the disk must not wait for it.
                Err(DiskError::MapRotten { .. }) => {
                    let frozen = self.journal.frozen.as_mut().expect("it was just sealed");
                    super::journal::forget(&mut frozen.index, layer, unit * UNIT_BLOCKS..(unit + 1) * UNIT_BLOCKS);
                }
                Err(error) => {
                    homes.iter().filter(|home: &&Home| home.is_fresh()).for_each(|home| self.units.abandon(home.run()));
                    return Err(error);
                }
            }
        }
        homes.sort_by_key(|home| home.place);
        Ok(homes)
    }

    /// In place where the unit has one of its own, else at a new one.
    fn home(&mut self, medium: &impl Medium, layer: Layer, unit: u64, carried: Vec<Carried>) -> Result<Home> {
        let (number, index) = page_of(unit);
        let entry = self.maps.change(medium, &mut self.units, layer, number)?.0[index];
        let (before, half) = (entry.place, self.journal.active.side.other());
        if let Some(place) = before
            && !self.units.is_shared(place)
        {
            return Ok(Home { layer, unit, before, place, copied: 0, carried, half });
        }
        let written = carried.iter().fold(0, |bits, (within, _)| bits | 1 << within);
        let place = self.units.allocate(1)[0].first;
        Ok(Home { layer, unit, before, place, copied: entry.present & !written, carried, half })
    }

    /// Enters where blocks are now, unless they were overwritten or given back meanwhile.
    fn arrived(&mut self, home: &Home) {
        let (number, index) = page_of(home.unit);
        let frozen = self.journal.frozen.as_mut().expect("only a checkpoint frees the half, and there is one at a time");
        let first = home.unit * UNIT_BLOCKS;
        let still =
            |(within, held): &&Carried| frozen.index.get(&(home.layer, first + *within as u64)).is_some_and(|found| found.seq == held.seq);
        let arrived: Vec<Carried> = home.carried.iter().filter(still).copied().collect();
        let entry = &mut self.maps.changed(home.layer, number).0[index];
        if entry.place != home.before || arrived.is_empty() {
            assert!(arrived.is_empty(), "a unit with blocks in the journal keeps its place");
            if home.is_fresh() {
                self.units.abandon(home.run());
            }
            return;
        }
        entry.place = Some(home.place);
        for (within, held) in &arrived {
            entry.present |= 1 << within;
            entry.sums[*within] = held.sum;
            frozen.index.remove(&(home.layer, first + *within as u64));
        }
        if home.before.is_none() {
            self.maps.gained(home.layer);
        }
        if let Some(before) = home.before.filter(|_| home.is_fresh()) {
            self.units.release(before, Until::Committed(self.maps.generation + 1), Then::Reuse);
        }
    }

    /// What is to be written now: pages, after the journal said which, and the root.
    fn outcome(&mut self, medium: &impl Medium) -> Result<Outcome, Fault> {
        let images = self.maps.images();
        let new: Vec<_> =
            images.iter().map(|image| (image.layer, image.number, image.side)).filter(|slot| !self.announced.contains(slot)).collect();
        if !new.is_empty() {
            let body = Body::Pages { generation: self.maps.generation + 1, slots: new.clone() };
            if !self.journal.fits(12 + 9 * new.len() as u64, 0, Purpose::Checkpoint) {
                return Err(Fault::Full);
            }
            self.journal.append(medium, &body, &[])?;
            self.announced.extend(new);
        }
        let root = self.root(self.maps.generation + 1, self.journal.start(), self.journal.last);
        Ok(Outcome { images, root, active: self.journal.active.side })
    }
}

/// Writes the blocks of a unit where they belong. What cannot be read is not made good by it: its checksum stays.
fn carry(medium: &impl Medium, home: &Home) -> Result<(), Fault> {
    let mut unit = vec![0; UNIT as usize];
    if let (Some(before), true) = (home.before, home.copied != 0) {
        let _ = medium.read_at(Name::Data, (before.0 - 1) * UNIT, &mut unit);
    }
    let mut written = home.copied;
    for (within, held) in &home.carried {
        let from = within * BLOCK as usize;
        let _ = medium.read_at(Name::Journal(home.half), held.offset, &mut unit[from..from + BLOCK as usize]);
        written |= 1 << within;
    }
    let mut block = 0;
    while block < UNIT_BLOCKS {
        let count = u64::from((written >> block).trailing_ones());
        if count > 0 {
            let from = block * BLOCK;
            medium.write_at(Name::Data, (home.place.0 - 1) * UNIT + from, &unit[from as usize..(from + count * BLOCK) as usize])?;
        }
        block += count + 1;
    }
    Ok(())
}

/// Makes blocks, pages and root durable, in this order.
fn store(medium: &impl Medium, outcome: &Outcome) -> Result<(), Fault> {
    // A sync that fails leaves behind what nobody knows, for whatever reason it failed.
    let sync = |name: Name| medium.sync(name).map_err(|fault| Fault::Failed(fault.to_string()));
    sync(Name::Journal(outcome.active))?;
    sync(Name::Data)?;
    let mut layers: Vec<Layer> = outcome.images.iter().map(|image| image.layer).collect();
    layers.dedup();
    let mut made = false;
    for layer in &layers {
        made |= medium.length(Name::Map(*layer))? == 0;
    }
    for image in &outcome.images {
        medium.write_at(Name::Map(image.layer), image.offset(), &image.bytes)?;
    }
    for layer in layers {
        sync(Name::Map(layer))?;
    }
    if made {
        medium.sync_names().map_err(|fault| Fault::Failed(fault.to_string()))?;
    }
    store_root(medium, &outcome.root)
}
