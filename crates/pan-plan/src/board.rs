//! Who is where while a plan is made: loads, homes and spread, with no opinion on where anything should go.

use crate::reason::{NotPlaced, Short};
use crate::snapshot::{NodeState, Spread};
use crate::world::{ClusterId, NodeId, Task, UnitId, World, add, sub};
use std::collections::BTreeMap;

pub(crate) struct Board<'w> {
    pub(crate) world: &'w World<'w>,
    used: Vec<Vec<u64>>,
    home: Vec<Option<NodeId>>,
    /// Servers per domain of the cluster's spread rule, by cluster.
    spread: Vec<BTreeMap<usize, u32>>,
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

impl<'w> Board<'w> {
    /// A board with every running server on its node.
    pub(crate) fn new(world: &'w World<'w>) -> Self {
        let mut board = Self {
            world,
            used: vec![vec![0; world.resources.len()]; world.nodes.len()],
            home: vec![None; world.units.len()],
            spread: vec![BTreeMap::new(); world.clusters.len()],
        };
        for (unit, view) in world.units.iter().enumerate() {
            match view.task {
                Task::Keep(at) | Task::Leave(at) => board.put(unit, at),
                Task::New | Task::Failover | Task::Grow(_) => {}
            }
        }
        board
    }

    pub(crate) fn home(&self, unit: UnitId) -> Option<NodeId> {
        self.home[unit]
    }

    pub(crate) fn used(&self, node: NodeId) -> &[u64] {
        &self.used[node]
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
        self.count(unit, node, |servers| *servers += 1);
    }

    pub(crate) fn take(&mut self, unit: UnitId) -> NodeId {
        let node = self.home[unit].take().expect("only a unit with a home is taken");
        sub(&mut self.used[node], &self.world.units[unit].need);
        self.count(unit, node, |servers| *servers -= 1);
        node
    }

    fn count(&mut self, unit: UnitId, node: NodeId, change: impl Fn(&mut u32)) {
        for cluster in &self.world.units[unit].class {
            match self.world.clusters[*cluster].spec.spread {
                Spread::Require(level) | Spread::Prefer(level) => {
                    change(self.spread[*cluster].entry(self.world.domain(node, level)).or_default());
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

    /// What stands in the way of a unit on a node, whatever is reserved there.
    pub(crate) fn block(&self, unit: UnitId, node: NodeId, reach: Reach) -> Option<Block> {
        let view = &self.world.nodes[node];
        let reached = match reach {
            Reach::Up => view.node.state == NodeState::Up,
            Reach::Backup => view.node.state.backs_up(),
            Reach::Only(only) => only == node && matches!(view.node.state, NodeState::Up),
        };
        if !reached {
            return Some(Block::State(view.node.state));
        }
        if !self.world.labels_met(unit, node) {
            return Some(Block::Labels);
        }
        let occupied = |(cluster, level)| self.spread_count(cluster, self.world.domain(node, level)) > 0;
        if let Some((cluster, _)) = self.world.required_spread(unit).find(|rule| occupied(*rule)) {
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
            return NotPlaced::NoNodeHas { short };
        }
        if let Some(cluster) = spread {
            let Spread::Require(domain) = self.world.clusters[cluster].spec.spread else { unreachable!("only a hard rule blocks") };
            let usable = blocks.iter().filter(|(_, block)| matches!(block, Block::Spread(_)));
            let domains: std::collections::BTreeSet<usize> = usable.map(|(node, _)| self.world.domain(*node, domain)).collect();
            return NotPlaced::SpreadExhausted { domain, domains: domains.len() };
        }
        if let Reach::Only(only) = reach {
            let view = &self.world.nodes[only];
            if view.node.state != NodeState::Up {
                return NotPlaced::NodeClosed { node: view.name.clone(), state: view.node.state };
            }
        }
        if unlabelled {
            let labels = self.world.units[unit].class.iter().flat_map(|cluster| self.world.clusters[*cluster].spec.require_labels.clone());
            return NotPlaced::LabelsUnmet { labels: labels.collect() };
        }
        NotPlaced::NoNodes
    }
}
