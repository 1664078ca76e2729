//! The order of business, and the best node for one unit at a time.

use crate::board::{Board, Reach};
use crate::ledger::{Breach, Entry, Ledger, Tolerance};
use crate::plan::{Deficit, Displaced, Options, Placement, Plan, Report};
use crate::protect::Reserves;
use crate::reason::{Cause, NotPlaced, Why};
use crate::score::{Strategy, milli};
use crate::snapshot::{NodeState, ServerId, Snapshot};
use crate::world::{NodeId, Task, UnitId, World, fits, sub};
use pan_model::{PartitionName, Resources};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

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

pub(crate) struct Desk<'w> {
    pub(super) world: &'w World<'w>,
    snapshot: &'w Snapshot,
    pub(super) options: Options<'w>,
    rigour: Rigour,
    pub(super) board: Board<'w>,
    pub(super) ledger: Ledger,
    pub(super) placed: BTreeMap<UnitId, Why>,
    not_placed: BTreeMap<ServerId, NotPlaced>,
    pub(super) displaced: BTreeMap<UnitId, (NodeId, ServerId)>,
    /// Displaced units that a larger one with the same servers replaced.
    replaced: BTreeSet<UnitId>,
    /// What each partition with a maximum has.
    claims: BTreeMap<&'w PartitionName, Resources>,
}

impl<'w> Desk<'w> {
    pub(crate) fn new(world: &'w World<'w>, snapshot: &'w Snapshot, options: Options<'w>, rigour: Rigour) -> Self {
        let board = Board::new(world);
        let ledger = Ledger::new(&board);
        let mut claims: BTreeMap<&PartitionName, Resources> = BTreeMap::new();
        for server in world.servers.iter().filter(|server| server.bound.is_some()) {
            let cluster = &world.clusters[server.cluster];
            if snapshot.partitions.get(&cluster.key.0).is_some_and(|partition| partition.max.is_some()) {
                let claim = claims.entry(&cluster.key.0).or_default();
                *claim = claim.plus(&cluster.spec.need);
            }
        }
        let (placed, not_placed, displaced, replaced) = Default::default();
        Self { world, snapshot, options, rigour, board, ledger, placed, not_placed, displaced, replaced, claims }
    }

    /// Places all but the protected servers of dead nodes, the important first.
    pub(crate) fn place_rest(&mut self) {
        let displaced: Vec<UnitId> = self.displaced.keys().copied().collect();
        let open = |unit: &UnitId| match self.world.units[*unit].task {
            Task::Keep(_) => displaced.contains(unit),
            Task::Failover => self.world.units[*unit].protect.is_none(),
            Task::Leave(_) | Task::New | Task::Grow(_) => true,
        };
        let mut order: Vec<UnitId> = (0..self.world.units.len()).filter(open).collect();
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
        self.ledger.remove(self.world, unit, home);
    }

    fn restore(&mut self, unit: UnitId, home: NodeId) {
        self.board.put(unit, home);
        let entry = self.ledger.entry(&self.board, unit, home, Tolerance::Harm).expect("harm is tolerated");
        self.ledger.accept(self.world, entry);
    }

    pub(super) fn cause(&self, unit: UnitId) -> Cause {
        if let Some((node, _)) = self.displaced.get(&unit) {
            return Cause::Displaced(self.world.nodes[*node].name.clone());
        }
        match self.world.units[unit].task {
            Task::Leave(from) => {
                let (name, state) = (self.world.nodes[from].name.clone(), self.world.nodes[from].node.state);
                if state == NodeState::Draining { Cause::Drain(name) } else { Cause::Misfit(name) }
            }
            Task::New | Task::Keep(_) | Task::Failover | Task::Grow(_) => {
                let bound = self.world.units[unit]
                    .servers
                    .iter()
                    .filter(|server| !self.runs(**server))
                    .find_map(|server| self.world.servers[*server].bound);
                bound.map_or(Cause::New, |node| Cause::Failover(node.clone()))
            }
        }
    }

    /// Whether a server runs on a node that is not down.
    fn runs(&self, server: usize) -> bool {
        let bound = self.world.servers[server].bound.and_then(|host| self.snapshot.nodes.get(host));
        bound.is_some_and(|node| node.state.runs())
    }

    /// Puts a unit on the best node that it may have.
    pub(super) fn settle(&mut self, unit: UnitId, reach: Reach, cause: Cause) -> Result<(), NotPlaced> {
        let ranked = self.ranked(unit, reach);
        let mut breach: Option<Breach> = None;
        let mut breaches = 0;
        for (node, score) in &ranked {
            match self.attempt(unit, *node, Tolerance::Nothing) {
                Ok(entry) => {
                    self.book(unit, *node, entry);
                    self.placed.insert(unit, self.best(cause, *node, *score));
                    return Ok(());
                }
                Err(found) => breach = breach.or(Some(found)),
            }
            breaches += 1;
            if breaches == BREACHES_MAX {
                break;
            }
        }
        let Some(breach) = breach else { return Err(self.board.refusal(unit, reach)) };
        if !self.urgent(unit) {
            return Err(self.broken(&breach));
        }
        let harm = |(index, (node, _)): (usize, &(NodeId, f64))| {
            let entry = self.attempt(unit, *node, Tolerance::Harm).expect("harm is tolerated");
            (entry.harm, index)
        };
        let trials: Vec<(usize, usize)> = ranked.iter().take(BREACHES_MAX).enumerate().map(harm).collect();
        let (_, index) = trials.into_iter().min().expect("a breach came from a node");
        let (node, score) = ranked[index];
        let entry = self.attempt(unit, node, Tolerance::Harm).expect("harm is tolerated");
        self.book(unit, node, entry);
        self.placed.insert(unit, self.best(cause, node, score));
        Ok(())
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

    /// The nodes that fit a unit, the reserve aside, best first: with little company where a soft spread
    /// rule asks for it, outside what is reserved, then by score.
    fn ranked(&self, unit: UnitId, reach: Reach) -> Vec<(NodeId, f64)> {
        let (count, need) = (self.world.nodes_up(), &self.world.units[unit].need);
        let open = (0..self.world.nodes.len()).filter(|node| self.board.block(unit, *node, reach).is_none());
        let mut ranked: Vec<(NodeId, f64, (bool, u32, bool))> = open
            .map(|node| {
                let view = &self.world.nodes[node];
                let score = self.options.strategy.score(need, self.board.used(node), &view.capacity, count);
                let mut free = self.board.free(node);
                sub(&mut free, &self.ledger.reserved()[node]);
                let spare = view.node.state == NodeState::Spare;
                (node, score, (spare, self.board.company(unit, node), !fits(need, &free)))
            })
            .collect();
        ranked.sort_by(|a, b| a.2.cmp(&b.2).then(a.1.total_cmp(&b.1)).then(a.0.cmp(&b.0)));
        ranked.into_iter().map(|(node, score, _)| (node, score)).collect()
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
        self.ledger.accept(self.world, entry);
        self.claim(unit);
    }

    fn best(&self, cause: Cause, node: NodeId, score: f64) -> Why {
        let strategy: Strategy = self.options.strategy;
        Why::Best { cause, node: self.world.nodes[node].name.clone(), strategy, score_milli: milli(score) }
    }

    fn broken(&self, breach: &Breach) -> NotPlaced {
        NotPlaced::ProtectionWouldBreak {
            lost: self.world.hosts_of(breach.level, &breach.failed),
            object: self.world.unit_id(breach.unit),
            short: breach.short.clone(),
        }
    }

    /// What the servers of a unit that are bound to no node add to their partitions.
    fn additions(&self, unit: UnitId) -> BTreeMap<&'w PartitionName, Resources> {
        let mut additions: BTreeMap<&PartitionName, Resources> = BTreeMap::new();
        for server in
            self.world.units[unit].servers.iter().map(|server| &self.world.servers[*server]).filter(|server| server.bound.is_none())
        {
            let cluster = &self.world.clusters[server.cluster];
            let more = additions.entry(&cluster.key.0).or_default();
            *more = more.plus(&cluster.spec.need);
        }
        additions
    }

    fn within_max(&self, unit: UnitId) -> Result<(), NotPlaced> {
        for (name, more) in self.additions(unit) {
            let Some(max) = self.snapshot.partitions.get(name).and_then(|partition| partition.max.as_ref()) else { continue };
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
        for (name, more) in self.additions(unit) {
            let claim = self.claims.entry(name).or_default();
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
        self.ledger.heal(&self.board);
        let world = self.world;
        let mut units: Vec<(&UnitId, &Why)> = self.placed.iter().collect();
        units.sort_by_key(|(unit, _)| (Reverse(world.units[**unit].priority), world.units[**unit].depth, **unit));
        let mut place: Vec<Placement> = Vec::new();
        for (unit, why) in units {
            let home = self.board.home(*unit).expect("a placed unit has a home");
            let node = world.nodes[home].name;
            let mut moved: Vec<usize> =
                world.units[*unit].servers.iter().copied().filter(|server| world.servers[*server].bound != Some(node)).collect();
            moved.sort_by_key(|server| (world.clusters[world.servers[*server].cluster].depth, *server));
            place.extend(moved.iter().map(|server| Placement {
                server: world.server_id(*server),
                node: node.clone(),
                from: world.servers[*server].bound.cloned(),
                why: why.clone(),
            }));
        }
        let displaced = self.displaced.iter().flat_map(|(unit, (node, by))| {
            let servers = world.units[*unit].servers.iter();
            servers.map(|server| Displaced { server: world.server_id(*server), node: world.nodes[*node].name.clone(), by: by.clone() })
        });
        let deficits = self.ledger.breaches(&self.board).into_iter().map(|breach| Deficit {
            server: world.unit_id(breach.unit),
            lost: world.hosts_of(breach.level, &breach.failed),
            short: breach.short,
        });
        let homed = || (0..world.units.len()).filter(|unit| self.board.home(*unit).is_some());
        let running: usize = homed().map(|unit| world.units[unit].servers.len()).sum();
        let protected = homed().filter(|unit| world.units[*unit].protect.is_some()).map(|unit| world.units[unit].servers.len()).sum();
        let report = Report { kept: running - place.len(), protected, deficits: deficits.collect() };
        let displaced = displaced.collect();
        let reserves = Reserves::of(&self.board, &self.ledger);
        Plan { place, not_placed: self.not_placed.into_iter().collect(), displaced, reserves, report }
    }
}
