//! The snapshot with dense indices, and servers that move together gathered into units.

use crate::order;
use crate::snapshot::{Cluster, ClusterKey, Domain, Node, NodeState, Protect, ServerId, Snapshot, Spread};
use pan_model::{HostName, PartitionName, Resources, ServerName};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) type NodeId = usize;
pub(crate) type UnitId = usize;
pub(crate) type ClusterId = usize;
/// One number per resource, in the order of [`World::resources`].
pub(crate) type Amounts = Vec<u64>;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) resources: Vec<String>,
    /// What all nodes have together.
    total: Amounts,
    /// In the order of their names.
    pub(crate) nodes: Vec<NodeView>,
    pub(crate) clusters: Vec<ClusterView>,
    /// By cluster, in the order of their names.
    pub(crate) servers: Vec<ServerView>,
    pub(crate) units: Vec<Unit>,
    /// What partitions can never exceed.
    pub(crate) maxima: BTreeMap<PartitionName, Resources>,
    /// The nodes of each domain by level, lost ones included.
    members: [BTreeMap<usize, Vec<NodeId>>; 4],
    /// How many nodes take new servers.
    up: usize,
}

#[derive(Clone)]
pub(crate) struct NodeView {
    pub(crate) name: HostName,
    pub(crate) state: NodeState,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) capacity: Amounts,
    /// The domain it is in, per level; see [`World::domain`].
    domains: [usize; 4],
}

#[derive(Clone)]
pub(crate) struct ClusterView {
    pub(crate) key: ClusterKey,
    /// What it asks for, without its servers.
    pub(crate) spec: Cluster,
    /// Where its servers begin.
    first: usize,
    pub(crate) need: Amounts,
    /// The longest chain of clusters that it waits for.
    pub(crate) depth: usize,
    /// Its own priority or that of the most important cluster that waits for it.
    priority: u16,
    /// Every unit with a server of this cluster.
    pub(crate) units: Vec<UnitId>,
}

#[derive(Clone)]
pub(crate) struct ServerView {
    pub(crate) cluster: ClusterId,
    pub(crate) name: ServerName,
    pub(crate) bound: Bound,
}

/// The node that a server is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bound {
    /// None.
    Nowhere,
    /// This one, which may be down.
    To(NodeId),
    /// One that is not there any more.
    Gone(HostName),
}

/// Servers that share a node and move together; most have one.
#[derive(Clone)]
pub(crate) struct Unit {
    pub(crate) servers: Vec<usize>,
    /// The clusters of the servers; units of the same class are interchangeable.
    pub(crate) class: Vec<ClusterId>,
    /// The clusters with a hard spread rule, and its level.
    apart: Vec<(ClusterId, Domain)>,
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

impl World {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let resources = resource_names(snapshot);
        let amounts = |of: &Resources| -> Amounts { resources.iter().map(|name| of.amount(name)).collect() };
        let (nodes, members) = nodes(snapshot, amounts);
        let names: Vec<(u64, &HostName)> = nodes.iter().map(|node| (first_bytes(&node.name), &node.name)).collect();
        let find = |host: &HostName| names.binary_search(&(first_bytes(host), host)).ok();
        let mut clusters = Vec::with_capacity(snapshot.clusters.len());
        let mut servers = Vec::with_capacity(snapshot.clusters.values().map(|cluster| cluster.servers.len()).sum());
        for (id, (key, cluster)) in snapshot.clusters.iter().enumerate() {
            let (spec, need) = (spec_of(cluster), amounts(&cluster.need));
            clusters.push(ClusterView {
                key: key.clone(),
                spec,
                first: servers.len(),
                need,
                depth: 0,
                priority: cluster.priority,
                units: Vec::new(),
            });
            servers.extend(cluster.servers.iter().map(|(name, bound)| {
                let bound = bound.as_ref().map_or(Bound::Nowhere, |host| find(host).map_or_else(|| Bound::Gone(host.clone()), Bound::To));
                ServerView { cluster: id, name: name.clone(), bound }
            }));
        }
        let mut total = vec![0; resources.len()];
        nodes.iter().for_each(|node| add(&mut total, &node.capacity));
        let limited = snapshot.partitions.iter().filter_map(|(name, partition)| Some((name.clone(), partition.max.clone()?)));
        let up = nodes.iter().filter(|node| node.state == NodeState::Up).count();
        let (maxima, units) = (limited.collect(), Vec::new());
        let mut world = Self { resources, total, nodes, clusters, servers, units, maxima, members, up };
        world.gather();
        world.mark_misfits();
        world
    }

    /// The node a server is bound to, there or not.
    pub(crate) fn bound(&self, server: usize) -> Option<&HostName> {
        match &self.servers[server].bound {
            Bound::Nowhere => None,
            Bound::To(node) => Some(&self.nodes[*node].name),
            Bound::Gone(host) => Some(host),
        }
    }

    /// The node a server runs on: bound to it, known, and not down.
    pub(crate) fn at(&self, server: usize) -> Option<NodeId> {
        match self.servers[server].bound {
            Bound::To(node) if self.nodes[node].state.runs() => Some(node),
            Bound::To(_) | Bound::Nowhere | Bound::Gone(_) => None,
        }
    }

    pub(crate) fn node_id(&self, name: &HostName) -> Option<NodeId> {
        self.nodes.binary_search_by(|node| node.name.cmp(name)).ok()
    }

    /// Gathers servers into units, groups of `with` included.
    fn gather(&mut self) {
        let order = order::of(self);
        self.clusters.iter_mut().zip(&order).for_each(|(cluster, rank)| (cluster.depth, cluster.priority) = (rank.depth, rank.priority));
        for members in self.groups() {
            let mut kept: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
            let mut waiting = Vec::new();
            for server in members {
                match self.at(server) {
                    Some(at) => kept.entry(at).or_default().push(server),
                    None => waiting.push(server),
                }
            }
            let mut anchor: Option<UnitId> = None;
            for (at, servers) in kept {
                let drains = self.nodes[at].state == NodeState::Draining;
                let better = anchor.is_none_or(|unit| matches!(self.units[unit].task, Task::Leave(_)));
                let unit = self.add_unit(servers, if drains { Task::Leave(at) } else { Task::Keep(at) });
                anchor = if better { Some(unit) } else { anchor };
            }
            if waiting.is_empty() {
                continue;
            }
            let failed = waiting.iter().any(|server| self.servers[*server].bound != Bound::Nowhere);
            let task = match anchor {
                Some(anchor) => {
                    waiting.extend(self.units[anchor].servers.iter().copied());
                    waiting.sort_unstable();
                    Task::Grow(anchor)
                }
                None if failed => Task::Failover,
                None => Task::New,
            };
            self.add_unit(waiting, task);
        }
    }

    fn add_unit(&mut self, servers: Vec<usize>, task: Task) -> UnitId {
        let class: Vec<ClusterId> = servers.iter().map(|server| self.servers[*server].cluster).collect();
        let mut need = vec![0; self.resources.len()];
        class.iter().for_each(|cluster| add(&mut need, &self.clusters[*cluster].need));
        let protect = class.iter().filter_map(|cluster| self.clusters[*cluster].spec.protect).filter(|protect| protect.failures > 0);
        let protect = protect.reduce(|a, b| Protect { failures: a.failures.max(b.failures), domain: a.domain.max(b.domain) });
        let priority = class.iter().map(|cluster| self.clusters[*cluster].priority).max().unwrap_or(0);
        let depth = class.iter().map(|cluster| self.clusters[*cluster].depth).min().unwrap_or(0);
        let apart = class.iter().filter_map(|cluster| match self.clusters[*cluster].spec.spread {
            Spread::Require(level) => Some((*cluster, level)),
            Spread::Prefer(_) | Spread::None => None,
        });
        let (id, apart) = (self.units.len(), apart.collect());
        for cluster in &class {
            self.clusters[*cluster].units.push(id);
        }
        let size = self.size(&need);
        self.units.push(Unit { servers, class, apart, need, size, task, protect, priority, depth });
        id
    }

    /// A further cluster, which nothing waits for and which waits for nothing. The numbers of those that come later
    /// are not in the order of their names.
    pub(crate) fn admit(&mut self, key: &ClusterKey, cluster: &Cluster) -> ClusterId {
        let need = self.resources.iter().map(|name| cluster.need.amount(name)).collect();
        let (spec, first, priority) = (spec_of(cluster), self.servers.len(), cluster.priority);
        self.clusters.push(ClusterView { key: key.clone(), spec, first, need, depth: 0, priority, units: Vec::new() });
        self.clusters.len() - 1
    }

    /// A further server of a cluster, on its own.
    pub(crate) fn admit_server(&mut self, cluster: ClusterId, name: &ServerName) -> UnitId {
        self.servers.push(ServerView { cluster, name: name.clone(), bound: Bound::Nowhere });
        self.add_unit(vec![self.servers.len() - 1], Task::New)
    }

    /// Notes that a node is dead.
    pub(crate) fn bury(&mut self, node: NodeId) {
        self.up -= usize::from(self.nodes[node].state == NodeState::Up);
        self.nodes[node].state = NodeState::Down;
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
        if self.clusters.iter().all(|cluster| cluster.spec.with.is_empty()) {
            return (0..self.servers.len()).map(|server| vec![server]).collect();
        }
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
                if let Some(other) = self.server_of((cluster.key.0.clone(), with.clone()), &format!("{with}-{number}")) {
                    let (a, b) = (find(&root, id), find(&root, other));
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

    /// The server of a cluster by name.
    fn server_of(&self, cluster: ClusterKey, name: &str) -> Option<usize> {
        let id = self.clusters.binary_search_by(|view| view.key.cmp(&cluster)).ok()?;
        let (first, end) = (self.clusters[id].first, self.clusters.get(id + 1).map_or(self.servers.len(), |next| next.first));
        self.servers[first..end].binary_search_by(|server| server.name.as_str().cmp(name)).ok().map(|offset| first + offset)
    }

    /// How many domains a level has, lost ones included.
    pub(crate) fn domain_count(&self, level: Domain) -> usize {
        self.members[level as usize].len()
    }

    /// The nodes of a domain, lost ones included.
    pub(crate) fn members(&self, level: Domain, domain: usize) -> &[NodeId] {
        self.members[level as usize].get(&domain).map_or(&[], Vec::as_slice)
    }

    /// The domain of a level that a node is in; numbers are per level.
    pub(crate) fn domain(&self, node: NodeId, level: Domain) -> usize {
        self.nodes[node].domains[level as usize]
    }

    /// The nodes of some domains, of those that run servers.
    pub(crate) fn hosts_of(&self, level: Domain, domains: &[usize]) -> Vec<HostName> {
        let inside = |id: &NodeId| domains.contains(&self.domain(*id, level)) && self.nodes[*id].state.runs();
        (0..self.nodes.len()).filter(inside).map(|id| self.nodes[id].name.clone()).collect()
    }

    /// The domains of a level that can still be lost, in order.
    pub(crate) fn domains(&self, level: Domain) -> Vec<usize> {
        let running = (0..self.nodes.len()).filter(|id| self.nodes[*id].state.runs());
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
        self.units[unit].apart.iter().copied()
    }

    /// Whether a node has every label that a unit requires.
    pub(crate) fn labels_met(&self, unit: UnitId, node: NodeId) -> bool {
        let has = &self.nodes[node].labels;
        let mut wanted = self.units[unit].class.iter().flat_map(|cluster| &self.clusters[*cluster].spec.require_labels);
        wanted.all(|(key, value)| has.get(key) == Some(value))
    }

    /// How many nodes take new servers.
    pub(crate) const fn nodes_up(&self) -> usize {
        self.up
    }
}

/// The first eight bytes of a name as a number, in the order of names: most comparisons end there.
fn first_bytes(name: &HostName) -> u64 {
    name.as_str().bytes().chain(std::iter::repeat(0)).take(8).fold(0, |number, byte| number << 8 | u64::from(byte))
}

fn spec_of(cluster: &Cluster) -> Cluster {
    Cluster {
        need: cluster.need.clone(),
        spread: cluster.spread,
        protect: cluster.protect,
        priority: cluster.priority,
        after: cluster.after.clone(),
        with: cluster.with.clone(),
        require_labels: cluster.require_labels.clone(),
        servers: BTreeMap::new(),
    }
}

fn resource_names(snapshot: &Snapshot) -> Vec<String> {
    let all = snapshot.nodes.values().map(|node| &node.capacity).chain(snapshot.clusters.values().map(|cluster| &cluster.need));
    let other: BTreeSet<&str> = all.flat_map(|amounts| amounts.other.keys().map(String::as_str)).collect();
    ["cpu", "memory"].into_iter().chain(other).map(str::to_owned).collect()
}

fn nodes(snapshot: &Snapshot, amounts: impl Fn(&Resources) -> Amounts) -> (Vec<NodeView>, [BTreeMap<usize, Vec<NodeId>>; 4]) {
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
    let view = |(id, (name, node)): (NodeId, (&HostName, &Node))| NodeView {
        name: name.clone(),
        state: node.state,
        labels: node.labels.clone(),
        capacity: amounts(&node.capacity),
        domains: Domain::ALL.map(|level| domain(id, node, level)),
    };
    let views: Vec<NodeView> = snapshot.nodes.iter().enumerate().map(view).collect();
    let members = Domain::ALL.map(|level| {
        let mut members: BTreeMap<usize, Vec<NodeId>> = BTreeMap::new();
        views.iter().enumerate().for_each(|(id, node)| members.entry(node.domains[level as usize]).or_default().push(id));
        members
    });
    (views, members)
}

pub(crate) fn add(to: &mut [u64], more: &[u64]) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to = to.saturating_add(*more));
}

pub(crate) fn sub(from: &mut [u64], less: &[u64]) {
    from.iter_mut().zip(less).for_each(|(from, less)| *from = from.saturating_sub(*less));
}

pub(crate) fn fits(need: &[u64], within: &[u64]) -> bool {
    need.iter().zip(within).all(|(need, within)| need <= within)
}
