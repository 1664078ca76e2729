//! The books of protection while a plan is made: every loss that must be survived, and who then goes where.
//!
//! One entry per set of domains that may be lost together. The reserve of a node is the most that any
//! one entry asks of it, per resource: losses share it, because only one of them happens.

use crate::board::Board;
use crate::packing::{PROBES_MAX, Packing};
use crate::snapshot::{Domain, Protect};
use crate::world::{Amounts, ClusterId, NodeId, UnitId, World, add, fits};
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many sets of domains are kept in the books. A promise that needs more is not proved, so not given:
/// with 300 nodes, two at a time; beyond that, protect against the loss of racks.
const LOSSES_MAX: usize = 50_000;

/// How many probes all searches of one plan may take: about a second. A PAN that is not overfull needs few.
const PATIENCE: u32 = 4_000_000;

/// The places of the units that a loss takes away; None for those that have none.
type Places = BTreeMap<UnitId, Option<NodeId>>;

struct Loss {
    level: Domain,
    failed: Vec<usize>,
    places: Places,
    load: BTreeMap<NodeId, Amounts>,
}

pub(crate) struct Ledger {
    losses: Vec<Loss>,
    of_domain: BTreeMap<(Domain, usize), Vec<usize>>,
    /// The losses in which a node takes something.
    at_node: Vec<BTreeSet<usize>>,
    /// Per node and resource, what losses bring there and how many bring as much: the last is the reserve.
    peaks: Vec<Vec<BTreeMap<u64, u32>>>,
    /// Backups of units with a hard spread rule, with their losses, by cluster and domain.
    apart: BTreeMap<(ClusterId, usize), BTreeSet<(UnitId, usize)>>,
    /// Per level, how many simultaneous losses the strongest promise is about.
    sizes: BTreeMap<Domain, u32>,
    /// The losses in which somebody has no place.
    open: BTreeSet<usize>,
    /// Per level, the smallest number of simultaneous losses that is too many to prove.
    unproved: BTreeMap<Domain, u32>,
    /// Probes left for searches; when they are used up, only the first arrangement that comes to mind is tried.
    patience: Cell<u32>,
}

/// What a placement does to the books.
pub(crate) struct Entry {
    changes: Vec<(usize, Places)>,
    /// How many places it costs other units.
    pub(crate) harm: usize,
}

/// A promise that a placement would break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) level: Domain,
    pub(crate) failed: Vec<usize>,
    pub(crate) unit: UnitId,
    pub(crate) short: String,
}

/// Whether a placement may cost a unit its backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tolerance {
    Nothing,
    Harm,
}

impl Ledger {
    /// Books for everything on the board; units that cannot be backed up are entered without a place.
    pub(crate) fn new(board: &mut Board) -> Self {
        let mut ledger = Self::empty(&board.world);
        ledger.fill(board);
        ledger
    }

    fn empty(world: &World) -> Self {
        let protects: BTreeSet<(Domain, u32)> =
            world.units.iter().filter_map(|unit| unit.protect).map(|protect| (protect.domain, protect.failures)).collect();
        let (mut losses, mut unproved, mut sizes) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for level in protects.iter().map(|(level, _)| *level).collect::<BTreeSet<_>>() {
            let failures = protects.iter().filter(|(other, _)| *other >= level).map(|(_, failures)| *failures).max().unwrap_or(0);
            let domains = world.domains(level);
            sizes.insert(level, failures);
            for size in 1..=failures.min(u32::try_from(domains.len()).unwrap_or(u32::MAX)) {
                if losses.len().saturating_add(combinations(domains.len(), size as usize)) > LOSSES_MAX {
                    unproved.insert(level, size);
                    break;
                }
                subsets(&domains, size as usize, &mut |failed| losses.push(Loss::new(level, failed.to_vec())));
            }
        }
        let mut of_domain: BTreeMap<(Domain, usize), Vec<usize>> = BTreeMap::new();
        for (id, loss) in losses.iter().enumerate() {
            loss.failed.iter().for_each(|domain| of_domain.entry((loss.level, *domain)).or_default().push(id));
        }
        let nodes = world.nodes.len();
        Self {
            losses,
            of_domain,
            at_node: vec![BTreeSet::new(); nodes],
            peaks: vec![vec![BTreeMap::new(); world.resources.len()]; nodes],
            apart: BTreeMap::new(),
            sizes,
            open: BTreeSet::new(),
            unproved,
            patience: Cell::new(PATIENCE),
        }
    }

    fn fill(&mut self, board: &mut Board) {
        let mut lost: BTreeMap<usize, Vec<UnitId>> = BTreeMap::new();
        for unit in 0..board.world.units.len() {
            if let Some(home) = board.home(unit) {
                self.losses_of(&board.world, unit, home).for_each(|loss| lost.entry(loss).or_default().push(unit));
            }
        }
        for (loss, units) in lost {
            let places = self.arrange_some(board, loss, &units);
            self.commit(board, loss, places);
        }
    }

    /// The losses that a unit on a node must survive.
    fn losses_of(&self, world: &World, unit: UnitId, home: NodeId) -> impl Iterator<Item = usize> {
        let protect = world.units[unit].protect;
        let levels = protect.into_iter().flat_map(|protect| Domain::ALL.into_iter().filter(move |level| *level <= protect.domain));
        let losses = levels.filter_map(move |level| self.of_domain.get(&(level, world.domain(home, level)))).flatten().copied();
        losses.filter(move |loss| self.losses[*loss].covers(protect))
    }

    /// Whether the unit's promise is beyond what is proved.
    pub(crate) fn unproved(&self, protect: Option<Protect>) -> Option<String> {
        let protect = protect?;
        let limit = self.unproved.iter().find(|(level, size)| **level <= protect.domain && **size <= protect.failures);
        limit.map(|(level, size)| {
            format!(
                "{size} losses at once have too many combinations to prove; protect against the loss of something larger than a {level}"
            )
        })
    }

    /// What happens to the books when a unit is put on a node; the board has it there already.
    pub(crate) fn entry(&self, board: &Board, unit: UnitId, node: NodeId, tolerance: Tolerance) -> Result<Entry, Breach> {
        let world = &board.world;
        let own: BTreeSet<usize> = self.losses_of(world, unit, node).collect();
        if tolerance == Tolerance::Nothing
            && let Some(short) = self.unproved(world.units[unit].protect)
        {
            return Err(Breach { level: Domain::Node, failed: Vec::new(), unit, short });
        }
        let affected: BTreeSet<usize> = own.iter().copied().chain(self.disturbed(board, unit, node)).collect();
        let mut entry = Entry { changes: Vec::with_capacity(affected.len()), harm: 0 };
        for loss in affected {
            let before = &self.losses[loss].places;
            let mut required: Vec<UnitId> = before.iter().filter(|(_, place)| place.is_some()).map(|(unit, _)| *unit).collect();
            let backed = required.len();
            required.extend(own.contains(&loss).then_some(unit));
            let mut places = match self.arrange(board, loss, &required) {
                Ok(places) => places,
                Err(breach) if tolerance == Tolerance::Nothing => return Err(breach),
                Err(_) => self.arrange_some(board, loss, &required),
            };
            let kept = places.iter().filter(|(other, place)| **other != unit && place.is_some()).count();
            entry.harm += backed.saturating_sub(kept);
            before.keys().for_each(|unit| {
                places.entry(*unit).or_insert(None);
            });
            entry.changes.push((loss, places));
        }
        Ok(entry)
    }

    /// The losses whose arrangement a unit on a node spoils: too little is left there, or a hard spread rule.
    fn disturbed(&self, board: &Board, unit: UnitId, node: NodeId) -> Vec<usize> {
        let world = &board.world;
        let mut all: Vec<usize> = Vec::new();
        let free = board.free(node);
        if !fits(board.reserved(node), &free) {
            all.extend(self.at_node[node].iter().copied().filter(|loss| !fits(&self.losses[*loss].load[&node], &free)));
        }
        for (cluster, level) in world.required_spread(unit) {
            let backups = self.apart.get(&(cluster, world.domain(node, level)));
            let others =
                backups.into_iter().flatten().filter(|(other, loss)| *other != unit && !self.losses[*loss].takes_away(world, node));
            all.extend(others.map(|(_, loss)| *loss));
        }
        all
    }

    /// Places for all units of a loss, moving as few backups as possible.
    fn arrange(&self, board: &Board, loss: usize, units: &[UnitId]) -> Result<Places, Breach> {
        let entry = &self.losses[loss];
        let mut kept = Packing::new(board, entry.level, &entry.failed);
        let mut rest: Vec<UnitId> = Vec::new();
        for unit in units {
            let place = entry.places.get(unit).copied().flatten();
            if !place.is_some_and(|place| kept.keep(*unit, place)) {
                rest.push(*unit);
            }
        }
        rest.sort_by_key(|unit| (Reverse(board.world.units[*unit].size), *unit));
        let Some(stuck) = rest.into_iter().find(|unit| !kept.pick(*unit)) else { return Ok(found(kept.places)) };
        let mut fresh = Packing::new(board, entry.level, &entry.failed);
        fresh.probes = PROBES_MAX.min(self.patience.get());
        let before = fresh.probes;
        let all = fresh.search(units);
        self.patience.set(self.patience.get() - (before - fresh.probes));
        if all {
            return Ok(found(fresh.places));
        }
        Err(Breach { level: entry.level, failed: entry.failed.clone(), unit: stuck, short: kept.gap(stuck) })
    }

    /// Places for as many units as there are, the important first.
    fn arrange_some(&self, board: &Board, loss: usize, units: &[UnitId]) -> Places {
        if let Ok(places) = self.arrange(board, loss, units) {
            return places;
        }
        let entry = &self.losses[loss];
        let mut order = units.to_vec();
        order.sort_by_key(|unit| {
            let view = &board.world.units[*unit];
            (Reverse(view.priority), Reverse(view.size), *unit)
        });
        let mut packing = Packing::new(board, entry.level, &entry.failed);
        order.iter().for_each(|unit| {
            packing.pick(*unit);
        });
        units.iter().map(|unit| (*unit, packing.places.get(unit).copied())).collect()
    }

    pub(crate) fn accept(&mut self, board: &mut Board, entry: Entry) {
        for (loss, places) in entry.changes {
            self.commit(board, loss, places);
        }
    }

    fn commit(&mut self, board: &mut Board, loss: usize, places: Places) {
        let world = Arc::clone(&board.world);
        let mut load: BTreeMap<NodeId, Amounts> = BTreeMap::new();
        for (unit, node) in places.iter().filter_map(|(unit, place)| place.map(|node| (*unit, node))) {
            add(load.entry(node).or_insert_with(|| vec![0; world.resources.len()]), &world.units[unit].need);
        }
        let former = std::mem::replace(&mut self.losses[loss].places, places);
        self.mark_apart(&world, loss, &former);
        let former = std::mem::replace(&mut self.losses[loss].load, load);
        for (node, amounts) in &former {
            if !self.losses[loss].load.contains_key(node) {
                self.at_node[*node].remove(&loss);
                self.repeak(board, *node, Some(amounts), None);
            }
        }
        let load = std::mem::take(&mut self.losses[loss].load);
        for (node, amounts) in &load {
            self.at_node[*node].insert(loss);
            self.repeak(board, *node, former.get(node), Some(amounts));
        }
        self.losses[loss].load = load;
        if self.losses[loss].places.values().any(Option::is_none) {
            self.open.insert(loss);
        } else {
            self.open.remove(&loss);
        }
    }

    /// Replaces what a loss brings to a node.
    fn repeak(&mut self, board: &mut Board, node: NodeId, former: Option<&Amounts>, now: Option<&Amounts>) {
        if former == now {
            return;
        }
        for (resource, peaks) in self.peaks[node].iter_mut().enumerate() {
            if let Some(former) = former {
                let count = peaks.get_mut(&former[resource]).expect("what was entered is there");
                *count -= 1;
                if *count == 0 {
                    peaks.remove(&former[resource]);
                }
            }
            if let Some(now) = now {
                *peaks.entry(now[resource]).or_default() += 1;
            }
            board.reserve(node, resource, peaks.last_key_value().map_or(0, |(amount, _)| *amount));
        }
    }

    /// Brings the list of backups that a hard spread rule keeps apart up to date with a loss.
    fn mark_apart(&mut self, world: &World, loss: usize, former: &Places) {
        let now = &self.losses[loss].places;
        let differs = |one: &Places, other: &Places| {
            let changed = one.iter().filter(|(unit, place)| place.is_some() && other.get(unit) != Some(place));
            changed.filter_map(|(unit, place)| place.map(|place| (*unit, place))).collect::<Vec<_>>()
        };
        let (gone, come) = (differs(former, now), differs(now, former));
        for (unit, place) in gone {
            for (cluster, level) in world.required_spread(unit) {
                let backups = self.apart.get_mut(&(cluster, world.domain(place, level))).expect("what was entered is there");
                backups.remove(&(unit, loss));
            }
        }
        for (unit, place) in come {
            for (cluster, level) in world.required_spread(unit) {
                self.apart.entry((cluster, world.domain(place, level))).or_default().insert((unit, loss));
            }
        }
    }

    /// Takes a unit that leaves a node out of the books.
    pub(crate) fn remove(&mut self, board: &mut Board, unit: UnitId, node: NodeId) {
        let losses: Vec<usize> = self.losses_of(&board.world, unit, node).collect();
        for loss in losses {
            let mut places = self.losses[loss].places.clone();
            places.remove(&unit);
            self.commit(board, loss, places);
        }
    }

    /// Looks again for places for those that have none; call it when all placements are made.
    pub(crate) fn heal(&mut self, board: &mut Board) {
        for loss in self.open.clone() {
            let units: Vec<UnitId> = self.losses[loss].places.keys().copied().collect();
            let places = self.arrange(board, loss, &units).unwrap_or_else(|_| self.extend(board, loss));
            self.commit(board, loss, places);
        }
    }

    /// Finds other places for all that a dead node would have taken; the board has it as dead already.
    pub(crate) fn forsake(&mut self, board: &mut Board, node: NodeId) {
        self.patience.set(PATIENCE);
        for loss in self.at_node[node].clone() {
            let units: Vec<UnitId> = self.losses[loss].places.keys().copied().collect();
            let places = self.arrange_some(board, loss, &units);
            self.commit(board, loss, places);
        }
    }

    /// Whether the books have every loss that a promise is about.
    pub(crate) fn knows(&self, protect: Option<Protect>) -> bool {
        let Some(protect) = protect.filter(|protect| protect.failures > 0) else { return true };
        let levels = Domain::ALL.into_iter().filter(|level| *level <= protect.domain && self.sizes.contains_key(level));
        self.sizes.contains_key(&protect.domain) && levels.into_iter().all(|level| self.sizes[&level] >= protect.failures)
    }

    /// The places there are, and more where there is room beside them.
    fn extend(&self, board: &Board, loss: usize) -> Places {
        let entry = &self.losses[loss];
        let mut packing = Packing::new(board, entry.level, &entry.failed);
        for (unit, place) in &entry.places {
            if let Some(place) = place {
                packing.keep(*unit, *place);
            }
        }
        for (unit, _) in entry.places.iter().filter(|(_, place)| place.is_none()) {
            packing.pick(*unit);
        }
        entry.places.keys().map(|unit| (*unit, packing.places.get(unit).copied())).collect()
    }

    /// Every promise that cannot be kept, the first reason for each unit.
    pub(crate) fn breaches(&self, board: &Board) -> Vec<Breach> {
        let mut seen: BTreeMap<UnitId, Breach> = BTreeMap::new();
        for entry in self.open.iter().map(|loss| &self.losses[*loss]) {
            let mut packing = Packing::new(board, entry.level, &entry.failed);
            for (unit, place) in entry.places.iter().filter_map(|(unit, place)| place.map(|place| (*unit, place))) {
                packing.keep(unit, place);
            }
            for unit in entry.places.iter().filter(|(_, place)| place.is_none()).map(|(unit, _)| *unit) {
                let breach = || Breach { level: entry.level, failed: entry.failed.clone(), unit, short: packing.gap(unit) };
                seen.entry(unit).or_insert_with(breach);
            }
        }
        let beyond = !self.unproved.is_empty();
        for (unit, view) in board.world.units.iter().enumerate().filter(|(unit, _)| beyond && board.home(*unit).is_some()) {
            if let Some(short) = self.unproved(view.protect) {
                seen.entry(unit).or_insert_with(|| Breach { level: Domain::Node, failed: Vec::new(), unit, short });
            }
        }
        seen.into_values().collect()
    }

    /// Where a unit goes when its home alone is lost.
    pub(crate) fn backup(&self, world: &World, unit: UnitId, home: NodeId) -> Option<NodeId> {
        let mut alone = self.losses_of(world, unit, home).filter(|loss| self.losses[*loss].failed.len() == 1);
        alone.next().and_then(|loss| self.losses[loss].places.get(&unit).copied().flatten())
    }
}

impl Loss {
    fn new(level: Domain, failed: Vec<usize>) -> Self {
        Self { level, failed, places: BTreeMap::new(), load: BTreeMap::new() }
    }

    /// Whether a promise covers this loss.
    fn covers(&self, protect: Option<Protect>) -> bool {
        protect.is_some_and(|protect| protect.domain >= self.level && protect.failures as usize >= self.failed.len())
    }

    fn takes_away(&self, world: &World, node: NodeId) -> bool {
        self.failed.contains(&world.domain(node, self.level))
    }
}

fn found(places: BTreeMap<UnitId, NodeId>) -> Places {
    places.into_iter().map(|(unit, node)| (unit, Some(node))).collect()
}

/// How many subsets of a size there are; saturates.
fn combinations(of: usize, size: usize) -> usize {
    let mut count: u128 = 1;
    for index in 0..size.min(of - size.min(of)) {
        count = count * (of - index) as u128 / (index + 1) as u128;
        if count > LOSSES_MAX as u128 {
            return usize::MAX;
        }
    }
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn subsets(of: &[usize], size: usize, visit: &mut impl FnMut(&[usize])) {
    fn grow(of: &[usize], size: usize, chosen: &mut Vec<usize>, visit: &mut impl FnMut(&[usize])) {
        if chosen.len() == size {
            return visit(chosen);
        }
        for (index, item) in of.iter().enumerate() {
            chosen.push(*item);
            grow(&of[index + 1..], size, chosen, visit);
            chosen.pop();
        }
    }
    grow(of, size, &mut Vec::with_capacity(size), visit);
}
