//! The order of business, and the best node for one unit at a time.

use crate::board::{Board, Reach};
use crate::ledger::{Breach, Entry, Ledger, Tolerance};
use crate::plan::{Change, Deficit, Displaced, Options, Placement, Plan, Report};
use crate::protect::Reserves;
use crate::reason::{Cause, NotPlaced, Why};
use crate::score::milli;
use crate::snapshot::{NodeState, ServerId};
use crate::world::{Bound, ClusterId, NodeId, Task, UnitId, World};
use pan_model::{PartitionName, Resources};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many nodes are tried that would break a promise before a unit is given up: each trial may search
/// for another arrangement of backups. More than a small PAN has; in a large one the best-scored decide.
const BREACHES_MAX: usize = 32;

/// Whether the servers without a node have been admitted already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rigour {
    /// No: one that would break a promise, its own included, has no place.
    Admission,
    /// Yes: a protected one runs even if a promise cannot be kept.
    Admitted,
}

pub(crate) struct Desk<'o> {
    pub(super) world: Arc<World>,
    pub(super) options: Options<'o>,
    rigour: Rigour,
    pub(super) board: Board,
    pub(super) ledger: Ledger,
    pub(super) placed: BTreeMap<UnitId, Why>,
    not_placed: BTreeMap<ServerId, NotPlaced>,
    pub(super) displaced: BTreeMap<UnitId, (NodeId, ServerId)>,
    /// Displaced units that a larger one with the same servers replaced.
    replaced: BTreeSet<UnitId>,
    /// What each partition with a maximum has.
    claims: Claims,
    /// What has or may get something to do.
    pub(super) open: Vec<UnitId>,
    refused: Option<Refused>,
}

/// What is kept from one plan to the next.
pub(crate) struct Books {
    pub(crate) board: Board,
    pub(crate) ledger: Ledger,
    pub(crate) claims: Claims,
    /// The units that may have changed their node.
    pub(crate) touched: Vec<UnitId>,
}

/// What each partition with a maximum has.
pub(crate) type Claims = BTreeMap<PartitionName, Resources>;

/// The last refusal for want of a node, for the next unit of the same kind.
struct Refused {
    class: Vec<ClusterId>,
    reach: Reach,
    /// How many units have been put or taken since the beginning.
    moves: u64,
    reason: NotPlaced,
}

impl<'o> Desk<'o> {
    pub(crate) fn new(world: World, options: Options<'o>, rigour: Rigour) -> Self {
        let world = Arc::new(world);
        let mut board = Board::new(&world);
        let ledger = Ledger::new(&mut board);
        let mut claims = Claims::new();
        let limited = |cluster: &ClusterId| world.maxima.contains_key(&world.clusters[*cluster].key.0);
        let bound = world.servers.iter().filter(|server| server.bound != Bound::Nowhere).map(|server| server.cluster);
        for cluster in bound.filter(limited).map(|cluster| &world.clusters[cluster]) {
            let claim = claims.entry(cluster.key.0.clone()).or_default();
            *claim = claim.plus(&cluster.spec.need);
        }
        let open = world.units.iter().enumerate().filter(|(_, unit)| !matches!(unit.task, Task::Keep(_))).map(|(unit, _)| unit).collect();
        Self::resume(Books { board, ledger, claims, touched: open }, options, rigour)
    }

    /// Goes on with books that are kept.
    pub(crate) fn resume(books: Books, options: Options<'o>, rigour: Rigour) -> Self {
        let Books { board, ledger, claims, touched: open } = books;
        let world = Arc::clone(&board.world);
        let (placed, not_placed, displaced, replaced) = Default::default();
        Self { world, options, rigour, board, ledger, placed, not_placed, displaced, replaced, claims, open, refused: None }
    }

    /// Places all but the protected servers of dead nodes, the important first.
    pub(crate) fn place_rest(&mut self) {
        let open = |unit: &UnitId| match self.world.units[*unit].task {
            Task::Keep(_) => false,
            Task::Failover => self.world.units[*unit].protect.is_none(),
            Task::Leave(_) | Task::New | Task::Grow(_) => true,
        };
        let mut order: Vec<UnitId> = self.open.iter().copied().filter(open).collect();
        order.extend(self.displaced.keys().filter(|unit| !open(unit)));
        order.sort_by_key(|unit| {
            let view = &self.world.units[*unit];
            (Reverse(view.priority), view.depth, view.protect.is_none(), Reverse(view.size), *unit)
        });
        for unit in order {
            if self.displaced.contains_key(&unit) {
                self.start(unit);
                continue;
            }
            match self.world.units[unit].task {
                Task::Leave(from) => self.depart(unit, from),
                Task::Grow(anchor) => self.grow(unit, anchor),
                Task::New | Task::Failover | Task::Keep(_) => self.start(unit),
            }
        }
    }

    fn start(&mut self, unit: UnitId) {
        if self.replaced.contains(&unit) {
            return;
        }
        let reach = if self.world.units[unit].task == Task::Failover { Reach::Backup } else { Reach::Up };
        let admitted = self.within_max(unit);
        let result = admitted.and_then(|()| self.settle(unit, reach, self.cause(unit)));
        if let Err(reason) = result {
            self.refuse(unit, reason);
        }
    }

    /// Moves a unit off a node that it has to leave; it stays if there is no other place.
    fn depart(&mut self, unit: UnitId, from: NodeId) {
        if self.board.home(unit) != Some(from) {
            return;
        }
        self.leave(unit);
        if let Err(reason) = self.settle(unit, Reach::Up, self.cause(unit)) {
            self.refuse(unit, reason);
            self.restore(unit, from);
        }
    }

    /// Lets further servers join those that they share a node with.
    fn grow(&mut self, unit: UnitId, anchor: UnitId) {
        let Some(home) = self.board.home(anchor) else {
            self.start(unit);
            if self.board.home(unit).is_some() {
                self.replaced.insert(anchor);
            }
            return;
        };
        self.leave(anchor);
        let leaves = self.world.units[anchor].task == Task::Leave(home);
        let reach = if leaves { Reach::Up } else { Reach::Only(home) };
        let result = self.within_max(unit).and_then(|()| self.settle(unit, reach, self.cause(unit)));
        match result {
            Ok(()) => {
                self.placed.remove(&anchor);
                if !leaves {
                    let (node, with) = (self.world.nodes[home].name.clone(), self.world.unit_id(anchor));
                    self.placed.insert(unit, Why::Together { node, with });
                }
            }
            Err(reason) => {
                self.refuse(unit, reason);
                self.restore(anchor, home);
            }
        }
    }

    pub(super) fn leave(&mut self, unit: UnitId) {
        let home = self.board.take(unit);
        self.ledger.remove(&mut self.board, unit, home);
    }

    fn restore(&mut self, unit: UnitId, home: NodeId) {
        self.board.put(unit, home);
        let entry = self.ledger.entry(&self.board, unit, home, Tolerance::Harm).expect("harm is tolerated");
        self.ledger.accept(&mut self.board, entry);
    }

    pub(super) fn cause(&self, unit: UnitId) -> Cause {
        if let Some((node, _)) = self.displaced.get(&unit) {
            return Cause::Displaced(self.world.nodes[*node].name.clone());
        }
        match self.world.units[unit].task {
            Task::Leave(from) => {
                let (name, state) = (self.world.nodes[from].name.clone(), self.world.nodes[from].state);
                if state == NodeState::Draining { Cause::Drain(name) } else { Cause::Misfit(name) }
            }
            Task::New | Task::Keep(_) | Task::Failover | Task::Grow(_) => {
                let bound = self.world.units[unit]
                    .servers
                    .iter()
                    .filter(|server| self.world.at(**server).is_none())
                    .find_map(|server| self.world.bound(*server));
                bound.map_or(Cause::New, |node| Cause::Failover(node.clone()))
            }
        }
    }

    /// Puts a unit on the best node that it may have.
    pub(super) fn settle(&mut self, unit: UnitId, reach: Reach, cause: Cause) -> Result<(), NotPlaced> {
        let strategy = self.options.strategy;
        let Some(first) = self.board.index.places(&self.board, unit, reach, strategy, 1).pop() else {
            return Err(self.nowhere(unit, reach));
        };
        let breach = match self.attempt(unit, first, Tolerance::Nothing) {
            Ok(entry) => {
                self.settle_on(unit, first, entry, cause);
                return Ok(());
            }
            Err(breach) => breach,
        };
        let ranked = self.board.index.places(&self.board, unit, reach, strategy, BREACHES_MAX);
        for node in ranked.iter().copied().skip(1) {
            if let Ok(entry) = self.attempt(unit, node, Tolerance::Nothing) {
                self.settle_on(unit, node, entry, cause);
                return Ok(());
            }
        }
        if !self.urgent(unit) {
            return Err(self.broken(&breach));
        }
        let harm = |(index, node): (usize, &NodeId)| {
            let entry = self.attempt(unit, *node, Tolerance::Harm).expect("harm is tolerated");
            (entry.harm, index)
        };
        let trials: Vec<(usize, usize)> = ranked.iter().enumerate().map(harm).collect();
        let (_, index) = trials.into_iter().min().expect("a breach came from a node");
        let entry = self.attempt(unit, ranked[index], Tolerance::Harm).expect("harm is tolerated");
        self.settle_on(unit, ranked[index], entry, cause);
        Ok(())
    }

    fn settle_on(&mut self, unit: UnitId, node: NodeId, entry: Entry, cause: Cause) {
        let (view, need) = (&self.world.nodes[node], &self.world.units[unit].need);
        let score = self.options.strategy.score(need, self.board.used(node), &view.capacity, self.world.nodes_up());
        let why = Why::Best { cause, node: view.name.clone(), strategy: self.options.strategy, score_milli: milli(score) };
        self.book(unit, node, entry);
        self.placed.insert(unit, why);
    }

    /// Why no node takes a unit. Units of a kind come one after the other, and what one lacks the next lacks too.
    fn nowhere(&mut self, unit: UnitId, reach: Reach) -> NotPlaced {
        let (class, moves) = (&self.world.units[unit].class, self.board.moves());
        let same = |refused: &&Refused| refused.class == *class && refused.reach == reach && refused.moves == moves;
        if let Some(refused) = self.refused.as_ref().filter(same) {
            return refused.reason.clone();
        }
        let reason = self.board.refusal(unit, reach);
        self.refused = Some(Refused { class: class.clone(), reach, moves, reason: reason.clone() });
        reason
    }

    /// Whether a unit runs even where a promise cannot be kept: it has one itself, and is not news.
    fn urgent(&self, unit: UnitId) -> bool {
        let view = &self.world.units[unit];
        let admitted = match view.task {
            Task::Failover | Task::Leave(_) | Task::Keep(_) => true,
            Task::New | Task::Grow(_) => self.rigour == Rigour::Admitted,
        };
        view.protect.is_some() && admitted
    }

    /// What it would do to the books to have a unit on a node; the board is as before afterwards.
    pub(super) fn attempt(&mut self, unit: UnitId, node: NodeId, tolerance: Tolerance) -> Result<Entry, Breach> {
        self.board.put(unit, node);
        let entry = self.ledger.entry(&self.board, unit, node, tolerance);
        self.board.take(unit);
        entry
    }

    pub(super) fn book(&mut self, unit: UnitId, node: NodeId, entry: Entry) {
        self.board.put(unit, node);
        self.ledger.accept(&mut self.board, entry);
        self.claim(unit);
    }

    fn broken(&self, breach: &Breach) -> NotPlaced {
        NotPlaced::ProtectionWouldBreak {
            lost: self.world.hosts_of(breach.level, &breach.failed),
            object: self.world.unit_id(breach.unit),
            short: breach.short.clone(),
        }
    }

    /// What the servers of a unit that are bound to no node add to their partitions.
    fn additions(world: &World, unit: UnitId) -> BTreeMap<&PartitionName, Resources> {
        let mut additions: BTreeMap<&PartitionName, Resources> = BTreeMap::new();
        let servers = world.units[unit].servers.iter().map(|server| &world.servers[*server]);
        for cluster in servers.filter(|server| server.bound == Bound::Nowhere).map(|server| &world.clusters[server.cluster]) {
            if !world.maxima.contains_key(&cluster.key.0) {
                continue;
            }
            let more = additions.entry(&cluster.key.0).or_default();
            *more = more.plus(&cluster.spec.need);
        }
        additions
    }

    fn within_max(&self, unit: UnitId) -> Result<(), NotPlaced> {
        for (name, more) in Self::additions(&self.world, unit) {
            let Some(max) = self.world.maxima.get(name) else { continue };
            let wanted = self.claims.get(name).map_or_else(|| more.clone(), |claim| claim.plus(&more));
            if let Some((resource, wanted)) = wanted.entries().find(|(resource, wanted)| *wanted > max.amount(resource)) {
                let (partition, resource) = (name.clone(), resource.to_owned());
                let max = max.amount(&resource);
                return Err(NotPlaced::PartitionMax { partition, resource, wanted, max });
            }
        }
        Ok(())
    }

    fn claim(&mut self, unit: UnitId) {
        for (name, more) in Self::additions(&self.world, unit) {
            let claim = self.claims.entry(name.clone()).or_default();
            *claim = claim.plus(&more);
        }
    }

    /// Notes that the servers of a unit that need a place have none.
    pub(super) fn refuse(&mut self, unit: UnitId, reason: NotPlaced) {
        let view = &self.world.units[unit];
        let ids: Vec<ServerId> = view.servers.iter().map(|server| self.world.server_id(*server)).collect();
        let anchored = |server: &usize| match view.task {
            Task::Grow(anchor) => self.world.units[anchor].servers.contains(server),
            Task::Keep(_) | Task::Leave(_) | Task::New | Task::Failover => false,
        };
        let waiting: Vec<ServerId> =
            view.servers.iter().filter(|server| !anchored(server)).map(|server| self.world.server_id(*server)).collect();
        for server in waiting {
            let with: Vec<ServerId> = ids.iter().filter(|id| **id != server).cloned().collect();
            let grouped = !with.is_empty();
            let because = Box::new(reason.clone());
            let reason = if grouped { NotPlaced::GroupUnplaceable { with, because } } else { reason.clone() };
            self.not_placed.insert(server, reason);
        }
    }

    /// Writes the plan down.
    pub(crate) fn finish(mut self) -> Plan {
        self.ledger.heal(&mut self.board);
        let (place, displaced, world) = (self.placements(), self.displacements(), &self.world);
        let homed = || (0..world.units.len()).filter(|unit| self.board.home(*unit).is_some());
        let running: usize = homed().map(|unit| world.units[unit].servers.len()).sum();
        let protected = homed().filter(|unit| world.units[*unit].protect.is_some()).map(|unit| world.units[unit].servers.len()).sum();
        let report = Report { kept: running - place.len(), protected, deficits: deficits(&self.board, &self.ledger) };
        let reserves = Reserves::of(&self.board, &self.ledger);
        Plan { place, not_placed: self.not_placed.into_iter().collect(), displaced, reserves, report }
    }

    pub(crate) fn books(self) -> Books {
        Books { board: self.board, ledger: self.ledger, claims: self.claims, touched: self.open }
    }

    /// Writes down what changes, and goes on keeping the books.
    pub(crate) fn pause(mut self) -> (Change, Books) {
        self.ledger.heal(&mut self.board);
        let (place, displaced) = (self.placements(), self.displacements());
        let change = Change { place, not_placed: std::mem::take(&mut self.not_placed).into_iter().collect(), displaced };
        let touched = self.open.iter().chain(self.displaced.keys()).copied().collect();
        (change, Books { board: self.board, ledger: self.ledger, claims: self.claims, touched })
    }

    fn placements(&self) -> Vec<Placement> {
        let world = &self.world;
        let mut units: Vec<(&UnitId, &Why)> = self.placed.iter().collect();
        units.sort_by_key(|(unit, _)| (Reverse(world.units[**unit].priority), world.units[**unit].depth, **unit));
        let mut place: Vec<Placement> = Vec::new();
        for (unit, why) in units {
            let home = self.board.home(*unit).expect("a placed unit has a home");
            let moves = |server: &usize| world.servers[*server].bound != Bound::To(home);
            let mut moved: Vec<usize> = world.units[*unit].servers.iter().copied().filter(moves).collect();
            moved.sort_by_key(|server| (world.clusters[world.servers[*server].cluster].depth, *server));
            place.extend(moved.iter().map(|server| Placement {
                server: world.server_id(*server),
                node: world.nodes[home].name.clone(),
                from: world.bound(*server).cloned(),
                why: why.clone(),
            }));
        }
        place
    }

    fn displacements(&self) -> Vec<Displaced> {
        let world = &self.world;
        let left = self.displaced.iter().flat_map(|(unit, (node, by))| {
            let servers = world.units[*unit].servers.iter();
            servers.map(|server| Displaced { server: world.server_id(*server), node: world.nodes[*node].name.clone(), by: by.clone() })
        });
        left.collect()
    }
}

/// Every promise that cannot be kept.
pub(crate) fn deficits(board: &Board, ledger: &Ledger) -> Vec<Deficit> {
    let world = &board.world;
    let breaches = ledger.breaches(board).into_iter();
    let deficit = |breach: Breach| Deficit {
        server: world.unit_id(breach.unit),
        lost: world.hosts_of(breach.level, &breach.failed),
        short: breach.short,
    };
    breaches.map(deficit).collect()
}
