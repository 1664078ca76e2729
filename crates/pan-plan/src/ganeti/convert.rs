//! From a file to a snapshot and back.
//!
//! An instance with a secondary node is promised to survive the loss of a node; where it would go is the planner's
//! choice, for nodes that run from the network need no copy of its disk. A file made from a snapshot says `drbd` for
//! protected servers, with the backup as the secondary.

use super::text::{Group, Instance, Inventory, Machine, Policy, Role, Spec};
use crate::protect::Reserves;
use crate::snapshot::{Cluster, Domain, Node, NodeState, Protect, ServerId, Snapshot, Spread};
use pan_model::{ByteSize, ClusterName, Cpu, HostName, PartitionName, Resources, ServerName};
use std::collections::BTreeMap;

/// The label that says which group a node is in.
const GROUP: &str = "group";

/// The resource that stands for disk, in MiB.
const DISK: &str = "disk";

/// What nodes of a snapshot without any disk are said to have: enough for every instance that is said to need 1 GiB.
const DISK_UNLIMITED: u64 = 1 << 30;

/// A file as a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The snapshot: one partition, a cluster for each kind of instance.
    pub snapshot: Snapshot,
    /// The names of nodes in the file.
    pub machines: BTreeMap<HostName, String>,
    /// The names of instances in the file.
    pub instances: BTreeMap<ServerId, String>,
}

impl Inventory {
    /// The file's nodes and instances as a snapshot. Names that are no host names are replaced by numbered ones.
    /// Memory is in MiB in the file; a core counts as often as the policy of the whole allows.
    #[must_use]
    pub fn import(&self) -> Imported {
        let ratio = self.policies.iter().find(|policy| policy.owner.is_empty()).and_then(|policy| policy.cpu_ratio.parse().ok());
        let (mut nodes, mut machines) = (BTreeMap::new(), BTreeMap::new());
        let mut hosts: BTreeMap<&str, HostName> = BTreeMap::new();
        for (index, machine) in self.machines.iter().enumerate() {
            let numbered = || HostName::new(format!("node-{}", index + 1)).expect("a number makes a host name");
            let own = HostName::new(machine.name.as_str()).ok().filter(|host| !nodes.contains_key(host));
            let host = own.unwrap_or_else(numbered);
            nodes.insert(host.clone(), machine.node(ratio.unwrap_or(1.0)));
            machines.insert(host.clone(), machine.name.clone());
            hosts.insert(machine.name.as_str(), host);
        }
        let partition = PartitionName::new("ganeti").expect("a partition name");
        let mut kinds: BTreeMap<(u64, u64, u64, bool), Vec<&Instance>> = BTreeMap::new();
        for instance in &self.instances {
            let protected = instance.secondary.is_some() && instance.balanced;
            kinds.entry((instance.memory, instance.cpus, instance.disk, protected)).or_default().push(instance);
        }
        let (mut clusters, mut names) = (BTreeMap::new(), BTreeMap::new());
        for (((memory, cpus, disk, protected), instances), number) in kinds.into_iter().zip(1..) {
            let name = ClusterName::new(format!("kind-{number}")).expect("a number makes a cluster name");
            let mut cluster = kind(resources(cpus * 1000, memory, disk), protected);
            for (instance, ordinal) in instances.into_iter().zip(1..) {
                let server = ServerName::of(&name, ordinal);
                names.insert((partition.clone(), server.clone()), instance.name.clone());
                cluster.servers.insert(server, hosts.get(instance.primary.as_str()).cloned());
            }
            clusters.insert((partition.clone(), name), cluster);
        }
        Imported { snapshot: Snapshot { nodes, partitions: BTreeMap::new(), clusters }, machines, instances: names }
    }

    /// A snapshot's nodes and bound servers as a file. Cores are whole; memory is rounded down for nodes and up for
    /// servers, so that what fits in the file fits here too.
    #[must_use]
    pub fn export(snapshot: &Snapshot, reserves: &Reserves) -> Self {
        let group = Group {
            name: "pan".to_owned(),
            uuid: "pan".to_owned(),
            policy: "preferred".to_owned(),
            tags: Vec::new(),
            networks: Vec::new(),
        };
        let mut machines: BTreeMap<&HostName, Machine> =
            snapshot.nodes.iter().map(|(host, node)| (host, Machine::of(host, node, &group))).collect();
        let mut instances = Vec::new();
        for ((partition, _), cluster) in &snapshot.clusters {
            for (server, host) in cluster.servers.iter().filter_map(|(server, host)| Some((server, host.as_ref()?))) {
                let Some(machine) = machines.get_mut(host) else { continue };
                let backup = reserves.backup.get(&(partition.clone(), server.clone()));
                let instance = Instance::of(&format!("{partition}.{server}"), &cluster.need, host, backup);
                machine.memory_free = machine.memory_free.saturating_sub(instance.memory);
                machine.disk_free = machine.disk_free.saturating_sub(instance.disk);
                if let Some(machine) = backup.and_then(|backup| machines.get_mut(backup)) {
                    machine.disk_free = machine.disk_free.saturating_sub(instance.disk);
                }
                instances.push(instance);
            }
        }
        let machines = machines.into_values().collect();
        Self { policies: vec![open_policy("")], groups: vec![group], machines, instances, tags: Vec::new() }
    }
}

/// A policy that forbids nothing, with as many virtual processors as cores.
fn open_policy(owner: &str) -> Policy {
    let least = Spec::default();
    let most = Spec { memory: u32::MAX.into(), cpus: 1 << 20, disk: u32::MAX.into(), disks: 16, cards: 8, spindles: 1 << 20 };
    let standard = Spec { memory: 1024, cpus: 1, disk: 1024, disks: 1, cards: 1, spindles: 1 };
    let templates = ["plain", "drbd"].map(str::to_owned).to_vec();
    let (cpu_ratio, spindle_ratio) = ("1.0".to_owned(), "1000000.0".to_owned());
    Policy { owner: owner.to_owned(), standard, bounds: vec![(least, most)], templates, cpu_ratio, spindle_ratio }
}

fn resources(milli: u64, memory: u64, disk: u64) -> Resources {
    let other = std::iter::once((DISK.to_owned(), disk)).filter(|(_, amount)| *amount > 0).collect();
    Resources { cpu: Cpu(milli), memory: ByteSize(memory << 20), other }
}

fn kind(need: Resources, protected: bool) -> Cluster {
    Cluster {
        need,
        spread: Spread::None,
        protect: protected.then_some(Protect { failures: 1, domain: Domain::Node }),
        priority: 500,
        after: Vec::new(),
        with: Vec::new(),
        require_labels: BTreeMap::new(),
        servers: BTreeMap::new(),
    }
}

impl Machine {
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    fn node(&self, ratio: f64) -> Node {
        let cores = (self.cores as f64 * ratio * 1000.0) as u64;
        let capacity = resources(cores.saturating_sub(self.cores_own * 1000), self.memory.saturating_sub(self.memory_own), self.disk);
        let state = match self.role {
            Role::Online | Role::Master => NodeState::Up,
            Role::Offline => NodeState::Down,
        };
        Node { capacity, labels: std::iter::once((GROUP.to_owned(), self.group.clone())).collect(), state }
    }

    fn of(host: &HostName, node: &Node, group: &Group) -> Self {
        let memory = node.capacity.memory.0 >> 20;
        let disk = node.capacity.other.get(DISK).copied().unwrap_or(DISK_UNLIMITED);
        Self {
            name: host.to_string(),
            memory,
            memory_own: 0,
            memory_free: memory,
            disk,
            disk_free: disk,
            cores: node.capacity.cpu.0 / 1000,
            role: if node.state.runs() { Role::Online } else { Role::Offline },
            group: group.uuid.clone(),
            spindles: 1,
            tags: Vec::new(),
            exclusive_storage: false,
            spindles_free: 0,
            cores_own: 0,
            speed: "1.0".to_owned(),
        }
    }
}

impl Instance {
    fn of(name: &str, need: &Resources, host: &HostName, backup: Option<&HostName>) -> Self {
        Self {
            name: name.to_owned(),
            memory: need.memory.0.div_ceil(1 << 20),
            disk: need.other.get(DISK).copied().unwrap_or(1024),
            cpus: need.cpu.0.div_ceil(1000),
            status: "running".to_owned(),
            balanced: true,
            primary: host.to_string(),
            secondary: backup.map(ToString::to_string),
            template: if backup.is_some() { "drbd" } else { "plain" }.to_owned(),
            tags: Vec::new(),
            spindle_use: 1,
            spindles: "-".to_owned(),
            forthcoming: false,
        }
    }
}
