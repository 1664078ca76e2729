//! What the checker works on: the snapshot with numbers for names, read without the planner's help.

use crate::snapshot::{Domain, NodeState, Protect, ServerId, Snapshot, Spread};
use pan_model::{ClusterName, HostName, PartitionName, Resources, ServerName};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Machine<'a> {
    pub(super) name: &'a HostName,
    pub(super) takes: bool,
    pub(super) runs: bool,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) free: Vec<u64>,
    /// The servers on it.
    pub(super) residents: Vec<usize>,
    /// Its domain per level.
    domains: [usize; 4],
}

pub(super) struct Kind<'a> {
    partition: &'a PartitionName,
    pub(super) name: &'a ClusterName,
    pub(super) need: Vec<u64>,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) spread: Option<Domain>,
}

pub(super) struct Member<'a> {
    name: &'a ServerName,
    pub(super) cluster: usize,
    pub(super) group: usize,
    pub(super) home: Option<usize>,
    pub(super) protect: Option<Protect>,
}

pub(super) struct Ground<'a> {
    /// The names of resources: memory first, then cpu.
    pub(super) resources: Vec<&'a str>,
    pub(super) machines: Vec<Machine<'a>>,
    pub(super) clusters: Vec<Kind<'a>>,
    pub(super) members: Vec<Member<'a>>,
    /// Groups with more than one member.
    pub(super) groups: BTreeMap<usize, Vec<usize>>,
    /// Protected servers that run nowhere.
    pub(super) homeless: Vec<usize>,
    /// The machines of each domain, per level.
    inside: [BTreeMap<usize, Vec<usize>>; 4],
}

impl<'a> Ground<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, failures: Option<u32>) -> Self {
        let amounts = snapshot.nodes.values().map(|node| &node.capacity).chain(snapshot.clusters.values().map(|cluster| &cluster.need));
        let other: BTreeSet<&str> = amounts.flat_map(|amounts| amounts.other.keys().map(String::as_str)).collect();
        let resources: Vec<&str> = ["memory", "cpu"].into_iter().chain(other).collect();
        let dense = |of: &Resources| resources.iter().map(|name| of.amount(name)).collect::<Vec<u64>>();
        let mut machines = machines(snapshot, dense);
        let names: Vec<(u64, &HostName)> = machines.iter().map(|machine| (first_bytes(machine.name), machine.name)).collect();
        let (mut clusters, mut members) = (Vec::with_capacity(snapshot.clusters.len()), Vec::new());
        for (cluster, ((partition, name), spec)) in snapshot.clusters.iter().enumerate() {
            let spread = match spec.spread {
                Spread::Require(level) => Some(level),
                Spread::Prefer(_) | Spread::None => None,
            };
            let need = dense(&spec.need);
            let protect = spec.protect.filter(|protect| protect.failures > 0);
            let protect = protect.map(|own| Protect { failures: failures.unwrap_or(own.failures), domain: own.domain });
            for (name, bound) in &spec.servers {
                let home = bound
                    .as_ref()
                    .and_then(|host| names.binary_search(&(first_bytes(host), host)).ok())
                    .filter(|home| machines[*home].runs);
                if let Some(home) = home {
                    machines[home].residents.push(members.len());
                    machines[home].free.iter_mut().zip(&need).for_each(|(free, need)| *free = free.saturating_sub(*need));
                }
                members.push(Member { name, cluster, group: members.len(), home, protect });
            }
            clusters.push(Kind { partition, name, need, labels: &spec.require_labels, spread });
        }
        let inside = Domain::ALL.map(|level| {
            let mut inside: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            machines.iter().enumerate().for_each(|(id, machine)| inside.entry(machine.domains[level as usize]).or_default().push(id));
            inside
        });
        let (groups, homeless) = Default::default();
        let mut ground = Self { resources, machines, clusters, members, groups, homeless, inside };
        if snapshot.clusters.values().any(|cluster| !cluster.with.is_empty()) {
            ground.join(snapshot);
        }
        let homeless = ground.members.iter().enumerate().filter(|(_, member)| member.home.is_none() && member.protect.is_some());
        ground.homeless = homeless.map(|(index, _)| index).collect();
        ground
    }

    /// Joins servers that share a node, and gives all of a group the strongest promise in it.
    fn join(&mut self, snapshot: &Snapshot) {
        let ids: BTreeMap<ServerId, usize> = (0..self.members.len()).map(|index| (self.id(index), index)).collect();
        let mut together: BTreeMap<usize, Vec<usize>> = (0..self.members.len()).map(|index| (index, vec![index])).collect();
        for ((partition, cluster), spec) in &snapshot.clusters {
            for (name, with) in spec.servers.keys().flat_map(|name| spec.with.iter().map(move |with| (name, with))) {
                let (Some(one), Some(other)) = (ids.get(&(partition.clone(), name.clone())), partner(&ids, partition, cluster, name, with))
                else {
                    continue;
                };
                let (from, to) = (self.members[*one].group, self.members[other].group);
                if from != to {
                    let moved = together.remove(&from).expect("a group has members");
                    moved.iter().for_each(|member| self.members[*member].group = to);
                    together.entry(to).or_default().extend(moved);
                }
            }
        }
        together.values_mut().for_each(|members| members.sort_unstable());
        let mut strongest: BTreeMap<(usize, Option<usize>), Protect> = BTreeMap::new();
        for member in &self.members {
            if let Some(protect) = member.protect {
                let most = strongest.entry((member.group, member.home)).or_insert(protect);
                *most = Protect { failures: most.failures.max(protect.failures), domain: most.domain.max(protect.domain) };
            }
        }
        self.members.iter_mut().for_each(|member| member.protect = strongest.get(&(member.group, member.home)).copied());
        self.groups = together.into_iter().filter(|(_, members)| members.len() > 1).collect();
    }

    pub(super) fn id(&self, member: usize) -> ServerId {
        let member = &self.members[member];
        (self.clusters[member.cluster].partition.clone(), member.name.clone())
    }

    pub(super) fn kind(&self, member: usize) -> &Kind<'a> {
        &self.clusters[self.members[member].cluster]
    }

    /// What some servers need together.
    pub(super) fn need(&self, members: &[usize]) -> Vec<u64> {
        let mut sum = vec![0_u64; self.resources.len()];
        for need in members.iter().map(|member| &self.kind(*member).need) {
            sum.iter_mut().zip(need).for_each(|(sum, need)| *sum = sum.saturating_add(*need));
        }
        sum
    }

    /// The domain of a machine; those without the label are in one together.
    pub(super) fn domain(&self, machine: usize, level: Domain) -> usize {
        self.machines[machine].domains[level as usize]
    }

    /// The machines of a domain, dead ones included.
    pub(super) fn inside(&self, level: Domain, domain: usize) -> &[usize] {
        self.inside[level as usize].get(&domain).map_or(&[], Vec::as_slice)
    }

    /// The domains that can still be lost.
    pub(super) fn domains(&self, level: Domain) -> Vec<usize> {
        let runs = |machines: &[usize]| machines.iter().any(|machine| self.machines[*machine].runs);
        self.inside[level as usize].iter().filter(|(_, machines)| runs(machines)).map(|(domain, _)| *domain).collect()
    }
}

/// The first eight bytes of a name as a number, in the order of names: most comparisons end there.
fn first_bytes(name: &HostName) -> u64 {
    name.as_str().bytes().chain(std::iter::repeat(0)).take(8).fold(0, |number, byte| number << 8 | u64::from(byte))
}

fn machines<'a>(snapshot: &'a Snapshot, dense: impl Fn(&Resources) -> Vec<u64>) -> Vec<Machine<'a>> {
    let labels = Domain::ALL.map(|level| {
        let all: BTreeSet<&str> = snapshot.nodes.values().filter_map(|node| node.labels.get(level.word()).map(String::as_str)).collect();
        all.into_iter().collect::<Vec<&str>>()
    });
    let domain = |id: usize, own: &BTreeMap<String, String>, level: Domain| match level {
        Domain::Node => id,
        Domain::Rack | Domain::Zone | Domain::Region => own
            .get(level.word())
            .map_or(0, |label| 1 + labels[level as usize].binary_search(&label.as_str()).expect("every label is listed")),
    };
    let machine = |(id, (name, node)): (usize, (&'a HostName, &'a crate::snapshot::Node))| Machine {
        name,
        takes: matches!(node.state, NodeState::Up | NodeState::Spare),
        runs: node.state != NodeState::Down,
        labels: &node.labels,
        free: dense(&node.capacity),
        residents: Vec::new(),
        domains: Domain::ALL.map(|level| domain(id, &node.labels, level)),
    };
    snapshot.nodes.iter().enumerate().map(machine).collect()
}

/// The server of another cluster with the same number.
fn partner(
    ids: &BTreeMap<ServerId, usize>,
    partition: &PartitionName,
    cluster: &ClusterName,
    name: &ServerName,
    with: &ClusterName,
) -> Option<usize> {
    let number = name.as_str().strip_prefix(cluster.as_str())?.strip_prefix('-')?;
    let other = ServerName::new(format!("{with}-{number}")).ok()?;
    ids.get(&(partition.clone(), other)).copied()
}
