//! Who is where while a plan is made: loads, homes and spread, with no opinion on where anything should go.

use crate::index::{Index, Journal};
use crate::reason::{NotPlaced, Short};
use crate::snapshot::{NodeState, Spread};
use crate::world::{Amounts, ClusterId, NodeId, Task, UnitId, World, add, sub};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) struct Board {
    pub(crate) world: Arc<World>,
    used: Vec<Amounts>,
    /// What each node keeps free for losses elsewhere.
    reserved: Vec<Amounts>,
    home: Vec<Option<NodeId>>,
    /// The units on each node, in order.
    there: Vec<Vec<UnitId>>,
    /// Servers per domain of the cluster's spread rule, by cluster; domains without any are missing.
    spread: Vec<BTreeMap<usize, u32>>,
    /// The nodes whose use or reserve changed.
    pub(crate) journal: Journal,
    /// How often a unit was put somewhere or taken away.
    moves: u64,
    pub(crate) index: Index,
}

/// What stands in the way of a unit on a node, the reserve aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Block {
    State(NodeState),
    Labels,
    Spread(ClusterId),
    Short(Short),
}

/// The nodes that may be considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those that take new servers.
    Up,
    /// Also those that only help out after a failure.
    Backup,
    /// This one, if it keeps or takes servers.
    Only(NodeId),
}

impl Board {
    /// A board with every running server on its node and nothing reserved.
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let nothing = vec![vec![0; world.resources.len()]; world.nodes.len()];
        let mut board = Self {
            world: Arc::clone(world),
            used: nothing.clone(),
            reserved: nothing,
            home: vec![None; world.units.len()],
            there: vec![Vec::new(); world.nodes.len()],
            spread: vec![BTreeMap::new(); world.clusters.len()],
            journal: Journal::new(world.nodes.len()),
            moves: 0,
            index: Index::default(),
        };
        for (unit, view) in world.units.iter().enumerate() {
            match view.task {
                Task::Keep(at) | Task::Leave(at) => board.put(unit, at),
                Task::New | Task::Failover | Task::Grow(_) => {}
            }
        }
        board
    }

    /// Makes the lists as long as the world's, to which clusters and units were added.
    pub(crate) fn grow(&mut self) {
        self.home.resize(self.world.units.len(), None);
        self.spread.resize(self.world.clusters.len(), BTreeMap::new());
    }

    /// Changes the world, which nobody else may hold at the moment.
    pub(crate) fn world_mut(&mut self) -> &mut World {
        Arc::get_mut(&mut self.world).expect("nobody else holds the world between plans")
    }

    /// Notes that a node is dead; what was on it is still to be taken.
    pub(crate) fn bury(&mut self, node: NodeId) {
        self.world_mut().bury(node);
        self.index.close(node);
        self.journal.note(node);
    }

    pub(crate) fn home(&self, unit: UnitId) -> Option<NodeId> {
        self.home[unit]
    }

    pub(crate) const fn moves(&self) -> u64 {
        self.moves
    }

    pub(crate) fn used(&self, node: NodeId) -> &[u64] {
        &self.used[node]
    }

    /// What a node keeps free.
    pub(crate) fn reserved(&self, node: NodeId) -> &[u64] {
        &self.reserved[node]
    }

    pub(crate) fn reserve(&mut self, node: NodeId, resource: usize, amount: u64) {
        if self.reserved[node][resource] != amount {
            self.reserved[node][resource] = amount;
            self.journal.note(node);
        }
    }

    /// The units on a node.
    pub(crate) fn there(&self, node: NodeId) -> &[UnitId] {
        &self.there[node]
    }

    /// Whether a node has room for a need outside what it keeps free.
    pub(crate) fn spares(&self, node: NodeId, need: &[u64]) -> bool {
        let amounts = self.world.nodes[node].capacity.iter().zip(&self.used[node]).zip(&self.reserved[node]);
        need.iter()
            .zip(amounts)
            .all(|(need, ((capacity, used), reserved))| *need <= capacity.saturating_sub(*used).saturating_sub(*reserved))
    }

    /// What is not used, reserved or not.
    pub(crate) fn free(&self, node: NodeId) -> Vec<u64> {
        let mut free = self.world.nodes[node].capacity.clone();
        sub(&mut free, &self.used[node]);
        free
    }

    /// Whether a node has room for a need, on top of what is used and of a further load.
    pub(crate) fn has_room(&self, node: NodeId, need: &[u64], load: Option<&[u64]>) -> bool {
        let (capacity, used) = (&self.world.nodes[node].capacity, &self.used[node]);
        need.iter().enumerate().all(|(resource, need)| {
            let load = load.map_or(0, |load| load[resource]);
            *need == 0 || need.saturating_add(used[resource]).saturating_add(load) <= capacity[resource]
        })
    }

    /// The largest unused share of any resource, in thousandths.
    pub(crate) fn free_share(&self, node: NodeId) -> u128 {
        let shares = self.world.nodes[node].capacity.iter().zip(&self.used[node]);
        shares.map(|(capacity, used)| u128::from(capacity.saturating_sub(*used)) * 1000 / u128::from((*capacity).max(1))).max().unwrap_or(0)
    }

    pub(crate) fn put(&mut self, unit: UnitId, node: NodeId) {
        assert!(self.home[unit].is_none(), "a unit has one home");
        self.home[unit] = Some(node);
        add(&mut self.used[node], &self.world.units[unit].need);
        let at = self.there[node].partition_point(|other| *other < unit);
        self.there[node].insert(at, unit);
        self.count(unit, node, 1);
        self.journal.note(node);
        self.moves += 1;
    }

    pub(crate) fn take(&mut self, unit: UnitId) -> NodeId {
        let node = self.home[unit].take().expect("only a unit with a home is taken");
        sub(&mut self.used[node], &self.world.units[unit].need);
        let at = self.there[node].binary_search(&unit).expect("a unit is on its node's list");
        self.there[node].remove(at);
        self.count(unit, node, -1);
        self.journal.note(node);
        self.moves += 1;
        node
    }

    fn count(&mut self, unit: UnitId, node: NodeId, change: i32) {
        for cluster in &self.world.units[unit].class {
            match self.world.clusters[*cluster].spec.spread {
                Spread::Require(level) | Spread::Prefer(level) => {
                    let domain = self.world.domain(node, level);
                    let servers = self.spread[*cluster].entry(domain).or_default();
                    *servers = servers.checked_add_signed(change).expect("what was counted is uncounted");
                    if *servers == 0 {
                        self.spread[*cluster].remove(&domain);
                    }
                }
                Spread::None => {}
            }
        }
    }

    /// How many servers of a cluster are in a domain of its spread rule.
    pub(crate) fn spread_count(&self, cluster: ClusterId, domain: usize) -> u32 {
        self.spread[cluster].get(&domain).copied().unwrap_or(0)
    }

    /// How many servers of the same clusters a soft spread rule would have beside the unit.
    pub(crate) fn company(&self, unit: UnitId, node: NodeId) -> u32 {
        let count = |cluster: &ClusterId| match self.world.clusters[*cluster].spec.spread {
            Spread::Prefer(level) => self.spread_count(*cluster, self.world.domain(node, level)),
            Spread::Require(_) | Spread::None => 0,
        };
        self.world.units[unit].class.iter().map(count).sum()
    }

    /// The least company that a unit could have on any node.
    pub(crate) fn company_min(&self, unit: UnitId) -> u32 {
        let least = |cluster: &ClusterId| match self.world.clusters[*cluster].spec.spread {
            Spread::Prefer(level) if self.spread[*cluster].len() >= self.world.domain_count(level) => {
                self.spread[*cluster].values().copied().min().unwrap_or(0)
            }
            Spread::Prefer(_) | Spread::Require(_) | Spread::None => 0,
        };
        self.world.units[unit].class.iter().map(least).sum()
    }

    /// Whether a hard spread rule keeps a unit off a node.
    pub(crate) fn crowded(&self, unit: UnitId, node: NodeId) -> Option<ClusterId> {
        let occupied = |(cluster, level)| self.spread_count(cluster, self.world.domain(node, level)) > 0;
        self.world.required_spread(unit).find(|rule| occupied(*rule)).map(|(cluster, _)| cluster)
    }

    /// What stands in the way of a unit on a node, whatever is reserved there.
    pub(crate) fn block(&self, unit: UnitId, node: NodeId, reach: Reach) -> Option<Block> {
        let view = &self.world.nodes[node];
        let reached = match reach {
            Reach::Up => view.state == NodeState::Up,
            Reach::Backup => view.state.backs_up(),
            Reach::Only(only) => only == node && view.state == NodeState::Up,
        };
        if !reached {
            return Some(Block::State(view.state));
        }
        if !self.world.labels_met(unit, node) {
            return Some(Block::Labels);
        }
        if let Some(cluster) = self.crowded(unit, node) {
            return Some(Block::Spread(cluster));
        }
        let need = &self.world.units[unit].need;
        if self.has_room(node, need, None) { None } else { self.short(node, need, &self.free(node)).map(Block::Short) }
    }

    /// The largest relative gap between a need and what is free on a node.
    pub(crate) fn short(&self, node: NodeId, need: &[u64], free: &[u64]) -> Option<Short> {
        let gaps = need.iter().zip(free).enumerate().filter(|(_, (need, free))| need > free);
        let worst = gaps.max_by_key(|(_, (need, free))| u128::from(**need - **free) * 1_000_000 / u128::from(**need))?;
        let (resource, (need, free)) = worst;
        Some(Short { node: self.world.nodes[node].name.clone(), resource: self.world.resources[resource].to_owned(), by: need - free })
    }

    /// Why no reachable node takes a unit, the reserve aside. Called when every node has a block.
    pub(crate) fn refusal(&self, unit: UnitId, reach: Reach) -> NotPlaced {
        let nodes = 0..self.world.nodes.len();
        let blocks: Vec<(NodeId, Block)> = nodes.filter_map(|node| Some((node, self.block(unit, node, reach)?))).collect();
        let mut short: Vec<Short> = Vec::new();
        let mut spread: Option<ClusterId> = None;
        let mut unlabelled = false;
        for (_, block) in &blocks {
            match block {
                Block::State(_) => {}
                Block::Labels => unlabelled = true,
                Block::Spread(cluster) => spread = spread.or(Some(*cluster)),
                Block::Short(gap) => short.push(gap.clone()),
            }
        }
        if !short.is_empty() {
            short.sort_by(|a, b| (&a.resource, a.by, &a.node).cmp(&(&b.resource, b.by, &b.node)));
            return NotPlaced::NoNodeHas { short: short.into() };
        }
        if let Some(cluster) = spread {
            let Spread::Require(domain) = self.world.clusters[cluster].spec.spread else { unreachable!("only a hard rule blocks") };
            let usable = blocks.iter().filter(|(_, block)| matches!(block, Block::Spread(_)));
            let domains: BTreeSet<usize> = usable.map(|(node, _)| self.world.domain(*node, domain)).collect();
            return NotPlaced::SpreadExhausted { domain, domains: domains.len() };
        }
        if let Reach::Only(only) = reach {
            let view = &self.world.nodes[only];
            if view.state != NodeState::Up {
                return NotPlaced::NodeClosed { node: view.name.clone(), state: view.state };
            }
        }
        if unlabelled {
            let labels = self.world.units[unit].class.iter().flat_map(|cluster| self.world.clusters[*cluster].spec.require_labels.clone());
            return NotPlaced::LabelsUnmet { labels: labels.collect() };
        }
        NotPlaced::NoNodes
    }
}
