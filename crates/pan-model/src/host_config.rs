//! The configuration file of a host: who it is, its fabrics, its roles. One file serves every role on it.

use crate::cluster::check_egress;
use crate::host::Role;
use crate::registry::RegistryRule;
use crate::{BitRate, ByteSize, Cpu, HostName, Span};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The host's configuration (YAML, `pan ROLE --config FILE`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HostConfig {
    /// Format version, 1.
    pub version: u16,
    /// The host's name; also in its certificate.
    pub name: HostName,
    /// What it does.
    pub roles: Vec<Role>,
    /// Its own address, reachable over both fabrics, held on `lo`.
    pub address: IpAddr,
    /// Its two fabric interfaces.
    pub fabrics: FabricsConfig,
    /// Where the controllers are, this host included if it is one.
    pub controllers: Vec<PeerAddress>,
    /// The hosts that grant leases: one, or three to seven, the same list on every host. Empty: there are no leases,
    /// and a node that is cut off goes on until it hears otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lessors: Vec<PeerAddress>,
    /// The directors, which hear the heartbeats of nodes themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directors: Vec<PeerAddress>,
    /// Certificates: `ca.pem`, `host.pem`, `host.key`.
    pub tls: TlsFiles,
    /// The 32-byte keys, in hex, a line each, that authenticate this host's heartbeats; the first one is used. The
    /// controllers hand out new ones from time to time, and the host replaces the file.
    pub beat_key: PathBuf,
    /// The keys, in hex, from which every host's heartbeat keys are derived: for controllers, directors and lessors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pan_key: Option<PathBuf>,
    /// Timing profile: `lan`, `shared` or `wan`.
    pub profile: String,
    /// State that outlives a reboot.
    pub state_dir: PathBuf,
    /// State that does not, normally on tmpfs.
    pub run_dir: PathBuf,
    /// The node role's part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeConfig>,
    /// The storage role's part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageConfig>,
    /// The director role's part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub director: Option<DirectorConfig>,
    /// The controller role's part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<ControllerConfig>,
    /// Of a laboratory's host: what no other may do. No role of a host outside of one starts with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub laboratory: Option<LaboratoryConfig>,
}

impl HostConfig {
    /// Whether what is in volumes may go over the fabrics in the clear.
    #[must_use]
    pub fn volumes_in_the_clear(&self) -> bool {
        self.laboratory.as_ref().is_some_and(|laboratory| laboratory.volumes_in_the_clear)
    }
}

/// What only a laboratory may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LaboratoryConfig {
    /// A node's volumes go over the fabrics without TLS once both ends have shown who they are, and a storage host serves nodes that want it
    /// so: for `pan bench volume`, which tells what TLS costs.
    pub volumes_in_the_clear: bool,
}

/// The two fabrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FabricsConfig {
    /// Fabric A.
    pub a: FabricConfig,
    /// Fabric B.
    pub b: FabricConfig,
}

/// One fabric interface; the address is already on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FabricConfig {
    /// Interface name.
    pub interface: String,
    /// Address with prefix length, such as 10.201.0.11/16.
    pub address: IpNet,
}

/// A host as other hosts see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerAddress {
    /// Its name.
    pub name: HostName,
    /// Its host address.
    pub address: IpAddr,
    /// Its address on fabric A.
    pub a: IpAddr,
    /// Its address on fabric B.
    pub b: IpAddr,
}

/// Where the host's certificate and the PAN's CA are (PEM).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The PAN's CA certificate.
    pub ca: PathBuf,
    /// This host's certificate.
    pub cert: PathBuf,
    /// Its key, 0600.
    pub key: PathBuf,
}

/// What a node offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeConfig {
    /// Processor time offered to servers.
    pub cpu: Cpu,
    /// Memory offered to servers.
    pub memory: ByteSize,
    /// Labels: failure domains (`rack`, `zone`, `region`) and capabilities.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Paths of the node's root that no server may see, besides the built-in ones.
    #[serde(default)]
    pub hidden: Vec<PathBuf>,
    /// What the node's gate is made of; the best that the kernel allows when absent. A gate stays what it is until the next reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateChoice>,
    /// Images of servers: where from, and how much of them.
    #[serde(default)]
    pub images: ImagesConfig,
}

/// What a gate can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateChoice {
    /// A BPF program and an absolute deadline.
    Bpf,
    /// An nftables set whose element times out: bounded by two leases instead of one.
    NftSet,
}

/// Images that servers of a node may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ImagesConfig {
    /// Registries that may be asked, also by way of others that send there, and for permission (tokens). None by default.
    pub registries: Vec<RegistryRule>,
    /// The folder beneath which OCI layouts lie. Every partition may use what is in there. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layouts: Option<PathBuf>,
    /// Certificates (PEM) of whoever may vouch for registries.
    pub authorities: PathBuf,
    /// The largest image, unpacked.
    pub image_max: ByteSize,
    /// What all images of one partition may take here, those that come in included, and in proportion how many files they may have.
    pub partition_max: ByteSize,
    /// What is left free, at the least, on the disk where images are kept, and the same share of its inodes.
    pub free_min: ByteSize,
    /// How long a start's image may be on its way, at the most. It may wait for its turn for twice as long.
    pub patience: Span,
    /// How long an image stays that no server uses.
    pub keep: Span,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self {
            registries: Vec::new(),
            layouts: None,
            authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
            image_max: ByteSize(16 << 30),
            partition_max: ByteSize(32 << 30),
            free_min: ByteSize(1 << 30),
            patience: Span::millis(600_000),
            keep: Span::millis(86_400_000),
        }
    }
}

/// What a storage host offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StorageConfig {
    /// Where replicas lie: a folder on the disk meant for them. `volumes` in the state directory when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// How much volumes may be promised; what the file system of that folder holds when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<ByteSize>,
    /// Labels: failure domains (`rack`, `zone`, `region`).
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// The director's outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DirectorConfig {
    /// The interface towards the clients.
    pub interface: String,
}

/// The controller's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ControllerConfig {
    /// Further addresses for the API besides the listening sockets handed over at start (LISTEN_FDS).
    #[serde(default)]
    pub listen: Vec<SocketAddr>,
    /// SHA-256, in hex, of the administrator's token.
    pub admin_token_sha256: String,
    /// The key, in hex, from which all keys of heartbeats are derived, period after period: for controllers only.
    pub root_key: PathBuf,
    /// The authority's private key, 0600, with which the controllers certify hosts; the certificate is `tls.ca`.
    /// Without it no host can join and no certificate be renewed through this controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_key: Option<PathBuf>,
    /// How long a host's certificate is good; hosts renew theirs when a third of that is left.
    #[serde(default = "certificates_valid")]
    pub certificates_valid: Span,
    /// Where the PAN's state is kept.
    #[serde(default)]
    pub store: StoreConfig,
    /// Networks on the outside; public addresses are valid only inside them.
    pub outside: Vec<IpNet>,
    /// Public addresses that may be given to services that name none (first and last, inclusive).
    pub pools: Vec<Pool>,
    /// Addresses on the outside that others have, such as routers, clients and directors themselves (first and last,
    /// inclusive): no service gets one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Pool>,
    /// Whether `hostImage` defaults to allow.
    #[serde(default)]
    pub host_image_allowed: bool,
    /// Whether services of layer 7 may be made. What strangers send is parsed beside the director then; see docs/layer-7.md for what keeps the parser in.
    #[serde(default)]
    pub layer7: bool,
    /// The most that any server sends, in bits a second; its cluster may ask for less. No limit without.
    #[serde(default, deserialize_with = "egress", skip_serializing_if = "Option::is_none")]
    pub egress: Option<BitRate>,
    /// Of a laboratory that its machine can reach: how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
}

/// Long enough for a host to be away for a holiday, short enough for a stolen disk to lose its worth.
const fn certificates_valid() -> Span {
    Span::millis(30 * 86_400_000)
}

fn egress<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BitRate>, D::Error> {
    let rate = Option::<BitRate>::deserialize(from)?;
    rate.map_or(Ok(()), check_egress).map_err(serde::de::Error::custom)?;
    Ok(rate)
}

/// Where the PAN's state is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum StoreConfig {
    /// In a file in `state_dir`: for a PAN with one controller.
    #[default]
    Embedded,
    /// In etcd, reached at these URLs with the host's certificate.
    Etcd {
        /// `https://ADDRESS:PORT` of every member.
        endpoints: Vec<String>,
    },
}

/// The configuration of a host that is a member of the controllers' etcd (YAML, `pan etcd --config FILE`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EtcdConfig {
    /// Format version, 1.
    pub version: u16,
    /// Which member this is.
    pub name: HostName,
    /// All members.
    pub members: Vec<EtcdMember>,
    /// The same for all members of one PAN, different for different PANs.
    pub token: String,
    /// Timing profile: `lan`, `shared` or `wan`.
    pub profile: String,
    /// Certificates: for others as a server, and towards other members as a client.
    pub tls: TlsFiles,
    /// State that outlives a reboot.
    pub data_dir: PathBuf,
}

/// A member of etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdMember {
    /// Its name.
    pub name: HostName,
    /// Where it listens: on both fabrics.
    pub addresses: Vec<IpAddr>,
}

/// Port of etcd for controllers.
pub const ETCD_CLIENT_PORT: u16 = 2379;
/// Port of etcd for its other members.
pub const ETCD_PEER_PORT: u16 = 2380;

/// A range of public addresses, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// First address.
    pub first: IpAddr,
    /// Last address.
    pub last: IpAddr,
}

/// Prefix translation between the machine's shell and a laboratory's outside network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// The network inside.
    pub from: IpNet,
    /// The network of the same size as seen from the machine.
    pub to: IpNet,
}

/// Port of the controllers' HTTPS API on the fabrics.
pub const CONTROLLER_PORT: u16 = 7443;
/// Port of the node agents' HTTPS API.
pub const NODE_PORT: u16 = 7444;
/// UDP port of controllers for heartbeats and for the datagrams of membership.
pub const BEAT_PORT: u16 = 7445;
/// UDP port of lessors for heartbeats and for questions of the leader.
pub const LESSOR_PORT: u16 = 7446;
/// UDP port of directors for heartbeats.
pub const DIRECTOR_PORT: u16 = 7447;
/// Port of the directors' HTTPS, for metrics.
pub const DIRECTOR_METRICS_PORT: u16 = 7448;
/// Port of the storage hosts' HTTPS, for metrics.
pub const STORAGE_METRICS_PORT: u16 = 7449;
/// Port of the storage hosts for heads.
pub const REPLICA_PORT: u16 = 7450;
/// UDP port of nodes for what directors say that stand in for others.
pub const STAND_IN_PORT: u16 = 7451;
