//! Host as the API shows it.

use pan_model::host::{Fabrics, Role};
use pan_model::node::NodeState;
use pan_model::{Admission, ByteSize, HostName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// Its name.
    pub name: HostName,
    /// Its roles.
    pub roles: Vec<Role>,
    /// As of its heartbeats: `unknown`, `joining`, `alive`, `suspect` or `dead`.
    pub state: NodeState,
    /// On which fabrics it is heard.
    pub fabrics: Fabrics,
    /// The version of its agent.
    pub version: String,
    /// Its address on the fabrics.
    pub address: IpAddr,
    /// Whether its agent reports (its heartbeats come from another process).
    pub agent: bool,
    /// Whether it is the controller that leads.
    #[serde(default)]
    pub leads: bool,
    /// What keeps its servers from sending without a lease; absent where it is not known, and for who is no node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// How its lease stands; absent where it is not known, and for who is no node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// What it keeps of volumes; absent for who is no storage host, or never said what it offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
}

/// What a storage host keeps of volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// What its disks hold.
    pub capacity: ByteSize,
    /// What of that is promised: the sizes of the volumes it keeps copies of, and of their snapshots.
    pub promised: ByteSize,
    /// What the copies take; absent until it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<ByteSize>,
    /// What is free on the disk, whoever takes the rest; absent until it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<ByteSize>,
    /// How many copies of volumes it has; absent until it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u64>,
    /// How many snapshots it has.
    pub snapshots: u64,
    /// How many requests it refused since it was started, of heads that had lost their volume; absent until it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// Whether it may be given more at present.
    pub takes: bool,
    /// Its labels; `region`, `zone` and `rack` say which failure domains it is in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What is wrong with its disk, or with copies on it, such as blocks that rotted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trouble: Vec<String>,
}

/// A node's gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// What it is made of, found by trying.
    pub kind: GateKind,
    /// Why the kernel has no BPF gate, in its words, where that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_refused: Option<String>,
}

/// What a gate is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// A BPF program with an absolute deadline.
    Bpf,
    /// A set of nftables whose element times out.
    NftSet,
    /// There is none: nothing keeps its servers from sending.
    None,
}

/// A node's lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// How it stands.
    pub state: LeaseState,
    /// The number the node takes part under; it grows when the node is declared dead.
    pub admission: Admission,
    /// What was left of it when the node's agent looked last (once a second), milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}

/// How a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseState {
    /// Not admitted yet.
    None,
    /// Its servers may send.
    Held,
    /// Not renewed in time: opens again by itself when a majority of lessors acknowledges.
    Expired,
    /// Revoked: opens again under a new number only.
    Fenced,
}
