//! What a host tells the controller: who it is, and what it sees.

use crate::usage::Metered;
use crate::volume::{PoolReport, ReplicaReport, VolumeReport};
use pan_model::host::Role;
use pan_model::host_config::HostConfig;
use pan_model::{Admission, ByteSize, Cpu, Epoch, Generation, HostName, PartitionName, ServerKey, ServerName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// `POST /internal/v1/hello`: a host presents itself; its certificate vouches for name and roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::WIRE_VERSION`].
    pub version: u16,
    /// Its name.
    pub host: HostName,
    /// Its roles.
    pub roles: Vec<Role>,
    /// The program's version.
    pub software: String,
    /// Its address on `lo`.
    pub address: IpAddr,
    /// Its address on fabric A.
    pub a: IpAddr,
    /// Its address on fabric B.
    pub b: IpAddr,
    /// What it offers, if it is a node.
    pub node: Option<Offer>,
    /// What it offers, if it keeps volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageOffer>,
}

impl Hello {
    /// How a host presents itself by its configuration; only one in the node role offers anything.
    #[must_use]
    pub fn of(config: &HostConfig) -> Self {
        let node = config.node.as_ref().filter(|_| config.roles.contains(&Role::Node));
        Self {
            version: crate::WIRE_VERSION,
            host: config.name.clone(),
            roles: config.roles.clone(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            address: config.address,
            a: config.fabrics.a.address.addr(),
            b: config.fabrics.b.address.addr(),
            node: node.map(|node| Offer { cpu: node.cpu, memory: node.memory, labels: node.labels.clone() }),
            storage: None,
        }
    }
}

/// What a storage host offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageOffer {
    /// What its disks hold.
    pub capacity: ByteSize,
    /// Labels of its configuration.
    pub labels: BTreeMap<String, String>,
}

/// What a node offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory.
    pub memory: ByteSize,
    /// Labels of its configuration.
    pub labels: BTreeMap<String, String>,
}

/// `POST /internal/v1/report`: what a role process on a host sees; sent on change and once a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`crate::WIRE_VERSION`].
    pub version: u16,
    /// The host.
    pub host: HostName,
    /// The role that speaks.
    pub role: Role,
    /// The host's boot identifier (random at boot, kept in run_dir).
    pub boot: u64,
    /// Nanoseconds of the host's boot clock when this was written: of two reports of one role and boot the
    /// higher one is the newer, whichever way and whenever they arrive.
    pub sequence: u64,
    /// The newest desired state that is fully applied.
    pub applied: Generation,
    /// What it calls itself while it knows no desired state: it takes only one that names it ([`crate::desired::Desired::blanks`]). Absent
    /// once it knows one. Filled in by the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blank: Option<Blank>,
    /// The process before this one did not end by itself, and had given no sign of life for long. Said for some minutes. Filled in by the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted: Option<Restarted>,
    /// The number it takes part under (node role).
    #[serde(default)]
    pub admission: Admission,
    /// Lessors no longer acknowledge that number: it asks for the next one (node role).
    #[serde(default)]
    pub wants_admission: bool,
    /// The gate as the agent sees it (node role with lessors).
    #[serde(default)]
    pub gate: Option<GateReport>,
    /// All servers on the host (node role).
    #[serde(default)]
    pub servers: Vec<ServerReport>,
    /// What instances of servers used, those that ended and are not written down included (node role).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<Metered>,
    /// Connections per backend (director role, owner of the unit).
    #[serde(default)]
    pub connections: Vec<ConnectionCount>,
    /// Replicas it keeps (storage role).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaReport>,
    /// The disk they lie on (storage role).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolReport>,
    /// What servers that are here sent and may not send (node role); nothing of those that sent nothing of the kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedFrames>,
    /// What servers sent to beyond their networks (director role, owner of the unit); nothing of those that sent nothing there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beyond: Vec<RefusedPackets>,
    /// The numbers of the ways of imports that are in place (director role).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ways: Vec<u32>,
    /// Things that went wrong and are being tried again, for people.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// What a role calls itself that knows no desired state, as after a boot: a number that it drew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blank(pub u64);

/// A role was started again because it stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restarted {
    /// When, by the host's wall clock, microseconds since 1970.
    pub at: i64,
    /// How long the process before it had given no sign of life.
    pub silent_ms: u64,
}

/// Frames of a server that its node refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedFrames {
    /// The server.
    pub key: ServerKey,
    /// What is wrong with them.
    pub why: RefusedWhy,
    /// How many, since the server came or the agent began.
    pub frames: u64,
}

/// Packets to beyond a partition's network that its gateway refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedPackets {
    /// The partition.
    pub partition: PartitionName,
    /// The server's address.
    pub from: IpAddr,
    /// How many, since the role began.
    pub packets: u64,
}

/// What is wrong with a frame of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefusedWhy {
    /// It comes from another Ethernet address.
    Ethernet,
    /// It comes from another IP address.
    Address,
    /// ARP in the name of another.
    Arp,
    /// Neighbour discovery in the name of another, or of a router.
    Neighbour,
    /// It prescribes its route.
    Route,
    /// Neither IP nor ARP, or tagged for a VLAN.
    Protocol,
    /// It is for the node itself.
    Host,
    /// It begins what the cluster of the server that it is for allows nobody, or others; told of that server, not of the one it is from.
    Uninvited,
    /// It begins something beyond the partition's network; told by a gateway, not by a port.
    Beyond,
}

impl RefusedWhy {
    /// Those that a server's port refuses, with the words that metrics have for them.
    pub const AT_PORTS: [(Self, &str); 8] = [
        (Self::Ethernet, "ethernet"),
        (Self::Address, "address"),
        (Self::Arp, "arp"),
        (Self::Neighbour, "neighbour"),
        (Self::Route, "route"),
        (Self::Protocol, "protocol"),
        (Self::Host, "host"),
        (Self::Uninvited, "uninvited"),
    ];
}

/// What a node's agent knows of its gate beyond what heartbeats say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateReport {
    /// Why the kernel has no BPF gate, where that was tried.
    pub bpf_refused: Option<String>,
    /// For how long it stays open if nobody renews the lease, milliseconds; zero when it is shut.
    pub left_ms: u64,
}

/// One server as its node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerReport {
    /// Which.
    pub key: ServerKey,
    /// The epoch it runs with.
    pub epoch: Epoch,
    /// The incarnation it runs as.
    pub incarnation: u64,
    /// What it is doing.
    pub phase: Phase,
    /// The newest desired state whose order for it this is the outcome of, or the way to; the default while a newer
    /// order has not been taken up yet.
    #[serde(default)]
    pub followed: Generation,
    /// PAN_INSTANCE of the running process.
    pub instance: Option<String>,
    /// Automatic restarts so far under this epoch.
    pub restarts: u64,
    /// What the phase is about.
    pub message: Option<String>,
    /// Its attached volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeReport>,
    /// Steps of its latest start, for timelines: (name, wall clock in microseconds since 1970).
    #[serde(default)]
    pub steps: Vec<(String, i64)>,
}

/// What a server on a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Being made, or running and not yet healthy.
    Starting,
    /// Running and healthy.
    Healthy,
    /// Running, was healthy, is not now.
    Unhealthy,
    /// Asked to stop, not gone yet.
    Stopping,
    /// Between two local restarts.
    Restarting,
    /// Local restarts are used up; not running.
    Failed,
    /// Not running and nothing of it is left. Reported once after a stop, for as long as it is in the desired state.
    Absent,
}

/// Live connections of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCount {
    /// The partition.
    pub partition: PartitionName,
    /// The server.
    pub server: ServerName,
    /// Connections that may still carry requests.
    pub connections: u64,
}

/// How much a count has grown. One that is smaller than before was begun anew.
#[must_use]
pub fn counted_since(before: Option<&u64>, now: u64) -> u64 {
    now - before.copied().filter(|before| *before <= now).unwrap_or(0)
}
