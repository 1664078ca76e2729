//! Finding places for the servers of lost nodes among the others: greedy first, then a bounded search.

use crate::board::Board;
use crate::index::{backup_preference, backup_rank};
use crate::reason::show_amount;
use crate::snapshot::Domain;
use crate::world::{Amounts, ClusterId, NodeId, UnitId, add, fits, sub};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How often one search asks "does this unit fit on that node". Enough to be exact for some ten units on
/// a handful of nodes; beyond it, failure means "none found".
pub(crate) const PROBES_MAX: u32 = 100_000;

/// A loss, and the places found so far for what it took away.
pub(crate) struct Packing<'b> {
    board: &'b Board,
    level: Domain,
    failed: &'b [usize],
    pub(crate) places: BTreeMap<UnitId, NodeId>,
    load: BTreeMap<NodeId, Amounts>,
    /// Servers per domain of a hard spread rule that the loss takes away; None until asked for.
    gone: Option<BTreeMap<(ClusterId, usize), u32>>,
    /// Servers per domain of a hard spread rule that were placed here.
    added: BTreeMap<(ClusterId, usize), u32>,
    /// Questions that the search may still ask.
    pub(crate) probes: u32,
}

impl<'b> Packing<'b> {
    pub(crate) fn new(board: &'b Board, level: Domain, failed: &'b [usize]) -> Self {
        let (places, load, added) = Default::default();
        Self { board, level, failed, places, load, gone: None, added, probes: PROBES_MAX }
    }

    fn survives(&self, node: NodeId) -> bool {
        !self.failed.contains(&self.board.world.domain(node, self.level))
    }

    fn takes(&self, node: NodeId) -> bool {
        self.board.world.nodes[node].state.backs_up() && self.survives(node)
    }

    /// Counts what the loss takes away of clusters with a hard spread rule, if the unit is of such a one.
    fn count(&mut self, unit: UnitId) {
        let (board, world) = (self.board, &self.board.world);
        if self.gone.is_some() || world.required_spread(unit).next().is_none() {
            return;
        }
        let mut gone: BTreeMap<(ClusterId, usize), u32> = BTreeMap::new();
        for node in self.failed.iter().flat_map(|domain| world.members(self.level, *domain)) {
            for (cluster, level) in board.there(*node).iter().flat_map(|unit| world.required_spread(*unit)) {
                *gone.entry((cluster, world.domain(*node, level))).or_default() += 1;
            }
        }
        self.gone = Some(gone);
    }

    fn free(&self, node: NodeId) -> Amounts {
        let mut free = self.board.free(node);
        if let Some(load) = self.load.get(&node) {
            sub(&mut free, load);
        }
        free
    }

    fn spread_allows(&self, unit: UnitId, node: NodeId) -> bool {
        let world = &self.board.world;
        let count = |counts: &BTreeMap<(ClusterId, usize), u32>, key| counts.get(&key).copied().unwrap_or(0);
        world.required_spread(unit).all(|(cluster, level)| {
            let domain = world.domain(node, level);
            let gone = count(self.gone.as_ref().expect("counted before it is asked for"), (cluster, domain));
            self.board.spread_count(cluster, domain) == gone && count(&self.added, (cluster, domain)) == 0
        })
    }

    /// Whether a surviving node can take a unit on top of what it has.
    fn fits(&self, unit: UnitId, node: NodeId) -> bool {
        let world = &self.board.world;
        let load = self.load.get(&node).map(Vec::as_slice);
        self.takes(node)
            && self.board.has_room(node, &world.units[unit].need, load)
            && self.spread_allows(unit, node)
            && world.labels_met(unit, node)
    }

    fn assign(&mut self, unit: UnitId, node: NodeId) {
        let world = &self.board.world;
        self.places.insert(unit, node);
        add(self.load.entry(node).or_insert_with(|| vec![0; world.resources.len()]), &world.units[unit].need);
        for (cluster, level) in world.required_spread(unit) {
            *self.added.entry((cluster, world.domain(node, level))).or_default() += 1;
        }
    }

    fn withdraw(&mut self, unit: UnitId, node: NodeId) {
        let world = &self.board.world;
        self.places.remove(&unit);
        sub(self.load.get_mut(&node).expect("an assigned node has a load"), &world.units[unit].need);
        for (cluster, level) in world.required_spread(unit) {
            *self.added.get_mut(&(cluster, world.domain(node, level))).expect("an assigned domain is counted") -= 1;
        }
    }

    /// Places a unit on a given node if it fits there.
    pub(crate) fn keep(&mut self, unit: UnitId, node: NodeId) -> bool {
        self.count(unit);
        let fits = self.fits(unit, node);
        if fits {
            self.assign(unit, node);
        }
        fits
    }

    /// Places a unit on the node where it adds least to what is reserved already.
    pub(crate) fn pick(&mut self, unit: UnitId) -> bool {
        self.count(unit);
        let need = &self.board.world.units[unit].need;
        let fresh = |node| !self.load.contains_key(&node) && self.survives(node) && self.spread_allows(unit, node);
        let fresh = self.board.index.backup(self.board, unit, fresh);
        let loaded = self.load.iter().filter(|(node, _)| self.fits(unit, **node));
        let loaded = loaded.map(|(node, load)| (backup_rank(self.board, need, *node, Some(load)), *node)).min();
        let best = fresh.into_iter().chain(loaded).min().map(|(_, node)| node);
        if let Some(node) = best {
            self.assign(unit, node);
        }
        best.is_some()
    }

    /// Places all units or none, trying other arrangements as long as there are probes left.
    pub(crate) fn search(&mut self, units: &[UnitId]) -> bool {
        units.iter().for_each(|unit| self.count(*unit));
        let mut nodes: Vec<NodeId> = (0..self.board.world.nodes.len()).filter(|node| self.takes(*node)).collect();
        nodes.sort_by_cached_key(|node| (backup_preference(self.board, *node), *node));
        let mut order = units.to_vec();
        let world = &self.board.world;
        order.sort_by_key(|unit| {
            let view = &world.units[*unit];
            let free = view.class.iter().all(|cluster| world.clusters[*cluster].spec.require_labels.is_empty());
            (free, Reverse(view.size), &view.class, *unit)
        });
        self.room(&order, &nodes) && self.step(&order, &nodes, 0, 0)
    }

    /// Whether the nodes together have enough; if not, no arrangement works.
    fn room(&self, units: &[UnitId], nodes: &[NodeId]) -> bool {
        let world = &self.board.world;
        let (mut need, mut free) = (vec![0; world.resources.len()], vec![0; world.resources.len()]);
        units.iter().for_each(|unit| add(&mut need, &world.units[*unit].need));
        nodes.iter().for_each(|node| add(&mut free, &self.free(*node)));
        fits(&need, &free)
    }

    fn step(&mut self, order: &[UnitId], nodes: &[NodeId], index: usize, from: usize) -> bool {
        let Some(unit) = order.get(index).copied() else { return true };
        for (at, node) in nodes.iter().enumerate().skip(from) {
            if self.probes == 0 {
                return false;
            }
            self.probes -= 1;
            if !self.fits(unit, *node) {
                continue;
            }
            self.assign(unit, *node);
            // Like units are interchangeable: the next one need not try the nodes that this one passed.
            let like = order.get(index + 1).is_some_and(|next| self.board.world.units[*next].class == self.board.world.units[unit].class);
            if self.step(order, nodes, index + 1, if like { at } else { 0 }) {
                return true;
            }
            self.withdraw(unit, *node);
        }
        false
    }

    /// What a unit without a place lacks, on the node that comes closest.
    pub(crate) fn gap(&mut self, unit: UnitId) -> String {
        self.count(unit);
        let world = &self.board.world;
        let nodes: Vec<NodeId> = (0..world.nodes.len()).filter(|node| self.takes(*node)).collect();
        if nodes.is_empty() {
            return "no node that takes servers is left".to_owned();
        }
        let labelled: Vec<NodeId> = nodes.into_iter().filter(|node| world.labels_met(unit, *node)).collect();
        if labelled.is_empty() {
            return "no node with the required labels is left".to_owned();
        }
        let apart: Vec<NodeId> = labelled.into_iter().filter(|node| self.spread_allows(unit, *node)).collect();
        if apart.is_empty() {
            let (cluster, level) = world.required_spread(unit).next().expect("only a hard spread rule forbids a node");
            return format!("every {level} left already has a server of cluster {}", world.clusters[cluster].key.1);
        }
        let need = &world.units[unit].need;
        let gaps = apart.iter().filter_map(|node| self.board.short(*node, need, &self.free(*node)));
        let closest = gaps.min_by_key(|gap| {
            let id = world.resources.iter().position(|name| *name == gap.resource);
            (id.map(|id| u128::from(gap.by) * 1_000_000 / u128::from(need[id].max(1))), gap.node.clone())
        });
        closest.map_or_else(
            || "no arrangement of all servers was found".to_owned(),
            |gap| format!("{} short on {}, which comes closest", show_amount(&gap.resource, gap.by), gap.node),
        )
    }
}
