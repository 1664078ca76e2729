//! The snapshot with dense indices, and servers that move together gathered into units.

use crate::order;
use crate::snapshot::{Cluster, ClusterKey, Domain, Node, NodeState, Protect, ServerId, Snapshot, Spread};
use pan_model::{HostName, Resources, ServerName};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) type NodeId = usize;
pub(crate) type UnitId = usize;
pub(crate) type ClusterId = usize;
/// One number per resource, in the order of [`World::resources`].
pub(crate) type Amounts = Vec<u64>;

pub(crate) struct World<'a> {
    pub(crate) resources: Vec<&'a str>,
    /// What all nodes have together.
    total: Amounts,
    pub(crate) nodes: Vec<NodeView<'a>>,
    pub(crate) clusters: Vec<ClusterView<'a>>,
    pub(crate) servers: Vec<ServerView<'a>>,
    pub(crate) units: Vec<Unit>,
}

pub(crate) struct NodeView<'a> {
    pub(crate) name: &'a HostName,
    pub(crate) node: &'a Node,
    pub(crate) capacity: Amounts,
    /// The domain it is in, per level; see [`World::domain`].
    domains: [usize; 4],
}

pub(crate) struct ClusterView<'a> {
    pub(crate) key: &'a ClusterKey,
    pub(crate) spec: &'a Cluster,
    pub(crate) need: Amounts,
    /// The longest chain of clusters that it waits for.
    pub(crate) depth: usize,
    /// Every unit with a server of this cluster.
    pub(crate) units: Vec<UnitId>,
}

pub(crate) struct ServerView<'a> {
    pub(crate) cluster: ClusterId,
    pub(crate) name: &'a ServerName,
    pub(crate) bound: Option<&'a HostName>,
    /// The node it runs on: bound to it, known, and not down.
    at: Option<NodeId>,
}

/// Servers that share a node and move together; most have one.
pub(crate) struct Unit {
    pub(crate) servers: Vec<usize>,
    /// The clusters of the servers; units of the same class are interchangeable.
    pub(crate) class: Vec<ClusterId>,
    pub(crate) need: Amounts,
    /// Its share of everything the nodes have, in millionths summed over resources; larger is harder to place.
    pub(crate) size: u64,
    pub(crate) task: Task,
    /// The strongest promise of any member, for all of them.
    pub(crate) protect: Option<Protect>,
    pub(crate) priority: u16,
    pub(crate) depth: usize,
}

/// What a plan has to do for a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Nothing.
    Keep(NodeId),
    /// It leaves this node, which is draining or no longer fit for it.
    Leave(NodeId),
    /// It had no node.
    New,
    /// The node it had is down.
    Failover,
    /// Further servers join those of another unit, which this one then replaces.
    Grow(UnitId),
}

impl<'a> World<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        let resources = resource_names(snapshot);
        let amounts = |of: &Resources| -> Amounts { resources.iter().map(|name| of.amount(name)).collect() };
        let nodes = nodes(snapshot, amounts);
        let index: BTreeMap<&HostName, NodeId> = nodes.iter().enumerate().map(|(id, node)| (node.name, id)).collect();
        let mut clusters = Vec::with_capacity(snapshot.clusters.len());
        let mut servers = Vec::new();
        for (id, (key, spec)) in snapshot.clusters.iter().enumerate() {
            clusters.push(ClusterView { key, spec, need: amounts(&spec.need), depth: 0, units: Vec::new() });
            servers.extend(spec.servers.iter().map(|(name, bound)| {
                let at = bound.as_ref().and_then(|host| index.get(host).copied()).filter(|at| nodes[*at].node.state.runs());
                ServerView { cluster: id, name, bound: bound.as_ref(), at }
            }));
        }
        let mut total = vec![0; resources.len()];
        nodes.iter().for_each(|node| add(&mut total, &node.capacity));
        let mut world = Self { resources, total, nodes, clusters, servers, units: Vec::new() };
        world.gather();
        world.mark_misfits();
        world
    }

    /// Gathers servers into units, groups of `with` included.
    fn gather(&mut self) {
        let order = order::of(self);
        self.clusters.iter_mut().zip(&order).for_each(|(cluster, rank)| cluster.depth = rank.depth);
        for members in self.groups() {
            let mut kept: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
            let mut waiting = Vec::new();
            for server in members {
                match self.servers[server].at {
                    Some(at) => kept.entry(at).or_default().push(server),
                    None => waiting.push(server),
                }
            }
            let mut anchor: Option<UnitId> = None;
            for (at, servers) in kept {
                let drains = self.nodes[at].node.state == NodeState::Draining;
                let better = anchor.is_none_or(|unit| matches!(self.units[unit].task, Task::Leave(_)));
                let unit = self.add_unit(servers, if drains { Task::Leave(at) } else { Task::Keep(at) }, &order);
                anchor = if better { Some(unit) } else { anchor };
            }
            if waiting.is_empty() {
                continue;
            }
            let failed = waiting.iter().any(|server| self.servers[*server].bound.is_some());
            let task = match anchor {
                Some(anchor) => {
                    waiting.extend(self.units[anchor].servers.iter().copied());
                    waiting.sort_unstable();
                    Task::Grow(anchor)
                }
                None if failed => Task::Failover,
                None => Task::New,
            };
            self.add_unit(waiting, task, &order);
        }
    }

    fn add_unit(&mut self, servers: Vec<usize>, task: Task, order: &[order::Rank]) -> UnitId {
        let class: Vec<ClusterId> = servers.iter().map(|server| self.servers[*server].cluster).collect();
        let mut need = vec![0; self.resources.len()];
        class.iter().for_each(|cluster| add(&mut need, &self.clusters[*cluster].need));
        let protect = class.iter().filter_map(|cluster| self.clusters[*cluster].spec.protect).filter(|protect| protect.failures > 0);
        let protect = protect.reduce(|a, b| Protect { failures: a.failures.max(b.failures), domain: a.domain.max(b.domain) });
        let priority = class.iter().map(|cluster| order[*cluster].priority).max().unwrap_or(0);
        let depth = class.iter().map(|cluster| self.clusters[*cluster].depth).min().unwrap_or(0);
        let id = self.units.len();
        for cluster in &class {
            self.clusters[*cluster].units.push(id);
        }
        let size = self.size(&need);
        self.units.push(Unit { servers, class, need, size, task, protect, priority, depth });
        id
    }

    /// Finds units that break a hard rule where they are: labels, spread, capacity.
    fn mark_misfits(&mut self) {
        let mut apart: BTreeSet<(ClusterId, usize)> = BTreeSet::new();
        let mut there: Vec<Vec<UnitId>> = vec![Vec::new(); self.nodes.len()];
        for unit in 0..self.units.len() {
            let (Task::Keep(at) | Task::Leave(at)) = self.units[unit].task else { continue };
            there[at].push(unit);
            let rules: Vec<(ClusterId, Domain)> = self.required_spread(unit).collect();
            let alone = rules.into_iter().fold(true, |alone, (cluster, level)| apart.insert((cluster, self.domain(at, level))) && alone);
            if !alone || !self.labels_met(unit, at) {
                self.units[unit].task = Task::Leave(at);
            }
        }
        for (at, mut units) in there.into_iter().enumerate() {
            let mut used = vec![0; self.resources.len()];
            units.iter().for_each(|unit| add(&mut used, &self.units[*unit].need));
            units.sort_by_key(|unit| (self.units[*unit].protect.is_some(), self.units[*unit].priority, *unit));
            for unit in units {
                if fits(&used, &self.nodes[at].capacity) {
                    break;
                }
                sub(&mut used, &self.units[unit].need);
                self.units[unit].task = Task::Leave(at);
            }
        }
    }

    fn size(&self, need: &[u64]) -> u64 {
        let share = |(need, total): (&u64, &u64)| u128::from(*need) * 1_000_000 / u128::from((*total).max(1));
        let share: u128 = need.iter().zip(&self.total).map(share).sum();
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// Servers by group: those of the same number of clusters joined by `with`.
    fn groups(&self) -> Vec<Vec<usize>> {
        let index: BTreeMap<(&pan_model::PartitionName, &str), usize> = self
            .servers
            .iter()
            .enumerate()
            .map(|(id, server)| ((&self.clusters[server.cluster].key.0, server.name.as_str()), id))
            .collect();
        let mut root: Vec<usize> = (0..self.servers.len()).collect();
        fn find(root: &[usize], mut id: usize) -> usize {
            while root[id] != id {
                id = root[id];
            }
            id
        }
        for (id, server) in self.servers.iter().enumerate() {
            let cluster = &self.clusters[server.cluster];
            let Some((_, number)) = server.name.as_str().rsplit_once('-') else { continue };
            for with in &cluster.spec.with {
                let name = format!("{with}-{number}");
                if let Some(other) = index.get(&(&cluster.key.0, name.as_str())) {
                    let (a, b) = (find(&root, id), find(&root, *other));
                    root[a.max(b)] = a.min(b);
                }
            }
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for id in 0..root.len() {
            groups.entry(find(&root, id)).or_default().push(id);
        }
        groups.into_values().collect()
    }

    /// The domain of a level that a node is in; numbers are per level.
    pub(crate) fn domain(&self, node: NodeId, level: Domain) -> usize {
        self.nodes[node].domains[level as usize]
    }

    /// The nodes of some domains, of those that run servers.
    pub(crate) fn hosts_of(&self, level: Domain, domains: &[usize]) -> Vec<HostName> {
        let inside = |id: &NodeId| domains.contains(&self.domain(*id, level)) && self.nodes[*id].node.state.runs();
        (0..self.nodes.len()).filter(inside).map(|id| self.nodes[id].name.clone()).collect()
    }

    /// The domains of a level that can still be lost, in order.
    pub(crate) fn domains(&self, level: Domain) -> Vec<usize> {
        let running = (0..self.nodes.len()).filter(|id| self.nodes[*id].node.state.runs());
        running.map(|id| self.domain(id, level)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(crate) fn server_id(&self, server: usize) -> ServerId {
        let view = &self.servers[server];
        (self.clusters[view.cluster].key.0.clone(), view.name.clone())
    }

    /// The server to name a unit by: the first that is protected, else the first.
    pub(crate) fn unit_id(&self, unit: UnitId) -> ServerId {
        let servers = &self.units[unit].servers;
        let protected =
            |server: &&usize| self.clusters[self.servers[**server].cluster].spec.protect.is_some_and(|protect| protect.failures > 0);
        self.server_id(*servers.iter().find(protected).unwrap_or(&servers[0]))
    }

    /// The hard spread rules of a unit, a cluster and a level each.
    pub(crate) fn required_spread(&self, unit: UnitId) -> impl Iterator<Item = (ClusterId, Domain)> {
        self.units[unit].class.iter().filter_map(|cluster| match self.clusters[*cluster].spec.spread {
            Spread::Require(level) => Some((*cluster, level)),
            Spread::Prefer(_) | Spread::None => None,
        })
    }

    /// Whether a node has every label that a unit requires.
    pub(crate) fn labels_met(&self, unit: UnitId, node: NodeId) -> bool {
        let has = &self.nodes[node].node.labels;
        let mut wanted = self.units[unit].class.iter().flat_map(|cluster| &self.clusters[*cluster].spec.require_labels);
        wanted.all(|(key, value)| has.get(key) == Some(value))
    }

    /// How many nodes take new servers.
    pub(crate) fn nodes_up(&self) -> usize {
        self.nodes.iter().filter(|node| node.node.state == NodeState::Up).count()
    }
}

fn resource_names(snapshot: &Snapshot) -> Vec<&str> {
    let all = snapshot.nodes.values().map(|node| &node.capacity).chain(snapshot.clusters.values().map(|cluster| &cluster.need));
    let other: BTreeSet<&str> = all.flat_map(|amounts| amounts.other.keys().map(String::as_str)).collect();
    ["cpu", "memory"].into_iter().chain(other).collect()
}

fn nodes<'a>(snapshot: &'a Snapshot, amounts: impl Fn(&Resources) -> Amounts) -> Vec<NodeView<'a>> {
    let labels = Domain::ALL.map(|level| {
        let named: BTreeSet<&str> = snapshot.nodes.values().filter_map(|node| node.labels.get(level.word()).map(String::as_str)).collect();
        named.into_iter().zip(1..).collect::<BTreeMap<&str, usize>>()
    });
    let domain = |id: NodeId, node: &Node, level: Domain| match level {
        Domain::Node => id,
        Domain::Rack | Domain::Zone | Domain::Region => {
            node.labels.get(level.word()).and_then(|label| labels[level as usize].get(label.as_str())).copied().unwrap_or(0)
        }
    };
    let view = |(id, (name, node)): (NodeId, (&'a HostName, &'a Node))| NodeView {
        name,
        node,
        capacity: amounts(&node.capacity),
        domains: Domain::ALL.map(|level| domain(id, node, level)),
    };
    snapshot.nodes.iter().enumerate().map(view).collect()
}

pub(crate) fn add(to: &mut [u64], more: &[u64]) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to = to.saturating_add(*more));
}

pub(crate) fn sub(from: &mut [u64], less: &[u64]) {
    from.iter_mut().zip(less).for_each(|(from, less)| *from = from.saturating_sub(*less));
}

pub(crate) fn raise(to: &mut [u64], at_least: &[u64]) {
    to.iter_mut().zip(at_least).for_each(|(to, least)| *to = (*to).max(*least));
}

pub(crate) fn fits(need: &[u64], within: &[u64]) -> bool {
    need.iter().zip(within).all(|(need, within)| need <= within)
}
