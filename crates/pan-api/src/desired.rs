//! What the controller wants of a host: the whole desired state, sent whole on each change.
//!
//! Level-triggered: a host needs only the newest. It refuses one older than it has applied ([`Generation`]).

use crate::peers::Peers;
use crate::report::Blank;
use crate::usage::Instance;
use crate::volume::{ReplicaOrder, SnapshotOrder, VolumeOrder};
use pan_model::cluster::{AllowSpec, FileSpec, HealthSpec, Image, StopSpec};
use pan_model::host::Role;
use pan_model::network::Cidr;
use pan_model::proxy::{
    BalanceSpec, CertificateSpec, EditSpec, Forwarding, Limits, Protocol, ProxyProtocol, RetrySpec, RouteSpec, Timeouts,
};
use pan_model::service::BackendState;
use pan_model::{
    Admission, BitRate, ClusterName, Cpu, Epoch, Generation, HostName, Mac, Name, PartitionName, Resources, ServerKey, ServerName,
    ServiceName,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Everything one host should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// [`crate::WIRE_VERSION`].
    pub version: u16,
    /// Orders desired states.
    pub generation: Generation,
    /// The host meant.
    pub host: HostName,
    /// What each of its roles called itself when it last knew no desired state, as the controller has it in the store. Absent in those of
    /// releases that do not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blanks: Option<BTreeMap<Role, Blank>>,
    /// The number under which it may take part. A node may use it only once nothing runs on it that is not in this
    /// desired state or a newer one.
    #[serde(default)]
    pub admission: Admission,
    /// All other hosts and the fabrics that reach them.
    pub peers: Peers,
    /// Partition networks this host takes part in.
    pub networks: Vec<Network>,
    /// Who answers for the gateways of those networks, and who would. Absent in those of releases in which nobody stands in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seats: Vec<Seat>,
    /// Servers this host should run (or should end in an orderly way).
    pub servers: Vec<ServerOrder>,
    /// Servers of hosts that are silent for the moment, which this host would get: everything of them may be made ready
    /// but nothing of theirs may run or be reached. Their epoch is not known yet and is 0; their `run` means nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warm: Vec<ServerOrder>,
    /// Instances that ended, and all that they used is written down: they need not be told of any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub billed: Vec<Instance>,
    /// Takeover units; empty unless the host is a director.
    pub units: Vec<Unit>,
    /// Imports of the partitions whose units are this director's, those that lead nowhere included; empty unless the host is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<ImportOrder>,
    /// Replicas of volumes; empty unless the host is a storage host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaOrder>,
    /// Snapshots of volumes; likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotOrder>,
}

/// Another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub host: HostName,
    /// Its address on `lo`.
    pub address: IpAddr,
    /// Its address on fabric A; absent while that fabric does not reach it.
    pub a: Option<IpAddr>,
    /// Its address on fabric B; absent while that fabric does not reach it.
    pub b: Option<IpAddr>,
}

/// A partition's network on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The partition.
    pub partition: PartitionName,
    /// VXLAN network identifier.
    pub vni: u32,
    /// The servers' MTU.
    pub mtu: u32,
    /// Its subnets.
    pub subnets: Vec<Cidr>,
    /// The gateway's addresses, one a subnet.
    pub gateways: Vec<IpAddr>,
    /// The gateway's MAC.
    pub gateway_mac: Mac,
    /// Where every address of the network is (this host included).
    pub entries: Vec<NetworkEntry>,
}

/// Where a MAC and its addresses are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkEntry {
    /// The MAC.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The host that has it.
    pub host: HostName,
    /// That host's address on the underlay.
    pub via: IpAddr,
    /// The epoch of the binding.
    pub epoch: Epoch,
    /// Whose server it is, where a cluster of the partition allows that one to speak to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// It stands for an import of another partition: what comes from it comes by a service.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_service: bool,
}

/// Which director answers for a takeover unit, and which one does while that one is silent and nobody has said yet what is to
/// become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The identifier of the partition's network.
    pub vni: u32,
    /// [`Unit::epoch`].
    pub epoch: Epoch,
    /// Who owns it.
    pub owner: HostName,
    /// Who stands in; nobody where no other director works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<HostName>,
}

/// A server that belongs on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerOrder {
    /// Which.
    pub key: ServerKey,
    /// Its cluster.
    pub cluster: ClusterName,
    /// The binding's epoch.
    pub epoch: Epoch,
    /// Grows when an operator asks for a restart; a running one of an older incarnation is stopped and started.
    pub incarnation: u64,
    /// What to do.
    pub run: RunOrder,
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses, in the order of the network's subnets.
    pub addresses: Vec<IpAddr>,
    /// Root file system.
    pub image: Image,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment, without the PAN_ variables.
    pub env: BTreeMap<String, String>,
    /// Files to place.
    pub files: Vec<FileSpec>,
    /// Limits.
    pub resources: Resources,
    /// The most processor time it may take, where its partition has a limit; otherwise what nobody else wants is there for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_max: Option<Cpu>,
    /// How to stop it.
    pub stop: StopSpec,
    /// How to check it.
    pub health: Option<HealthSpec>,
    /// Local restarts before giving up.
    pub restart_attempts: u32,
    /// The most that it sends, in bits a second; no limit without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<BitRate>,
    /// Who may begin to speak to it; everybody without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<AllowSpec>>,
    /// Volumes it has; it runs with all of them or not at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeOrder>,
}

/// What to do with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOrder {
    /// Run it.
    Run,
    /// Leave a running one alone, but do not start it: something it comes after is not there yet.
    Hold,
    /// End it in an orderly way: signal, grace, kill. Report `Absent` when it is gone.
    Stop,
}

/// A set of public addresses with their gateway: what moves between directors as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// The partition.
    pub partition: PartitionName,
    /// Its network's identifier.
    pub vni: u32,
    /// Whether this host answers for the unit now. Tables are kept by every director.
    pub owner: bool,
    /// Grows each time the owner changes.
    pub epoch: Epoch,
    /// Gateway addresses with their subnets, as (address, prefix length) in `subnets` order.
    pub gateways: Vec<IpAddr>,
    /// The gateway's MAC.
    pub gateway_mac: Mac,
    /// Its subnets.
    pub subnets: Vec<Cidr>,
    /// The public addresses of all services.
    pub public: Vec<IpAddr>,
    /// The services of layer 4.
    pub services: Vec<ServiceOrder>,
    /// The services of layer 7.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub web: Vec<WebOrder>,
}

impl Unit {
    /// The services of both layers.
    pub fn all_services(&self) -> impl Iterator<Item = &ServiceOrder> {
        self.services.iter().chain(self.web.iter().map(|web| &web.service))
    }

    /// The same, to change them.
    pub fn all_services_mut(&mut self) -> impl Iterator<Item = &mut ServiceOrder> {
        self.services.iter_mut().chain(self.web.iter_mut().map(|web| &mut web.service))
    }
}

/// A service a director should serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceOrder {
    /// Its name.
    pub name: ServiceName,
    /// Public addresses.
    pub addresses: Vec<IpAddr>,
    /// Public port.
    pub port: u16,
    /// The servers' port.
    pub target_port: u16,
    /// Its servers.
    pub backends: Vec<BackendOrder>,
}

/// A service of layer 7.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebOrder {
    /// Where it is, and the servers of all clusters that answer.
    pub service: ServiceOrder,
    /// Where requests go.
    pub routes: Vec<RouteSpec>,
    /// The clusters that routes name.
    pub clusters: Vec<WebCluster>,
    /// How the servers of each cluster share.
    pub balance: BalanceSpec,
    /// When a request is sent again.
    pub retry: RetrySpec,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// Certificates and their keys; without any, HTTP is spoken as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<CertificateSpec>,
    /// Edits of every request and answer.
    #[serde(default, skip_serializing_if = "EditSpec::is_none")]
    pub edits: EditSpec,
    /// How much a client may send.
    #[serde(default)]
    pub limits: Limits,
    /// What becomes of forwarding headers that a client sends.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// Whether connections begin by saying who the client is.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
}

/// A cluster that answers requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebCluster {
    /// Its name.
    pub name: ClusterName,
    /// Its servers, which are among the service's.
    pub servers: Vec<ServerName>,
    /// What they speak.
    #[serde(default)]
    pub protocol: Protocol,
    /// Whether they are told by the PROXY protocol who the client is.
    #[serde(default)]
    pub announce: bool,
}

/// A server behind a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendOrder {
    /// Fixed number of the server in its partition (1…): its index in the tables. Not reused while the server exists.
    pub index: u32,
    /// Which server.
    pub server: ServerName,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it takes connections.
    pub state: BackendState,
    /// Its share.
    pub weight: u32,
    /// The binding's epoch: when it grows, connections of the older binding are dead.
    pub epoch: Epoch,
}

/// An import: an address of its partition, and the way from there, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportOrder {
    /// Its number; no other import of the PAN ever has it.
    pub number: u32,
    /// Its partition.
    pub partition: PartitionName,
    /// Its name.
    pub name: Name,
    /// Where its partition's servers speak to it.
    pub near: ImportEnd,
    /// The way to the service, while both partitions want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<ImportWay>,
}

/// What stands for an import in a partition's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportEnd {
    /// The network's identifier.
    pub vni: u32,
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses, in the order of the network's subnets.
    pub addresses: Vec<IpAddr>,
    /// The epoch of its entry in the network's map.
    pub epoch: Epoch,
}

/// The way from an import to the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportWay {
    /// Its number. Another one is another consent, and nothing of the former goes on.
    pub number: u32,
    /// It was at another director before: connections that are under way may have begun there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moved: bool,
    /// From where the service's servers are spoken to.
    pub far: ImportEnd,
    /// The service. Its addresses, which are the other partition's, are left out.
    pub service: ServiceOrder,
}
