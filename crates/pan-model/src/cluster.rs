//! Cluster: a set of like servers with a protection level.

pub use crate::allow::AllowSpec;
pub use crate::image::Image;
use crate::notyet::NotYet;
use crate::volume::ServerVolume;
use crate::{BitRate, ByteSize, ClusterName, Cpu, Resources, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a cluster asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterSpec {
    /// How many servers; named `CLUSTER-1` and up. Scaling down removes the highest.
    pub servers: u32,
    /// The root file system, read-only under a private writable layer: `host` (the node's own), `dir:PATH`, `oci:REGISTRY/NAME:TAG`,
    /// `oci:REGISTRY/NAME@sha256:…`, or `oci-layout:PATH`.
    pub image: Image,
    /// Program and arguments. May be left out with an image of `oci` or `oci-layout` that has its own; otherwise replaces all of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Environment, over the image's. PAN_PARTITION, PAN_CLUSTER, PAN_SERVER and PAN_INSTANCE are always there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Files written into the server's private layer before it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileSpec>,
    /// What one server needs. Default of each that is not given: 100m cpu, 64MiB memory.
    #[serde(default)]
    pub resources: ServerResources,
    /// Failures that the cluster is guaranteed to survive with all its servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protect: Option<ProtectSpec>,
    /// Keep the servers apart: `node`, `rack`, `zone`, `region`, or softly with `prefer-` before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Node labels that a server needs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Clusters that must be in a state before this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<AfterSpec>,
    /// Clusters whose server of the same number runs on the same node and moves together with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<ClusterName>,
    /// Who goes first when there is not enough, 0 to 999.
    #[serde(default = "default_priority")]
    #[schemars(range(max = 999))]
    pub priority: u16,
    /// What happens when the node a server failed over from returns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failback: Option<Failback>,
    /// How a server is asked to stop.
    #[serde(default)]
    pub stop: StopSpec,
    /// How a server shows that it works. Without it a running process counts as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// How often a server is started again on its node before it is moved.
    #[serde(default)]
    pub restart: RestartSpec,
    /// Volumes, one set per server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<ServerVolume>,
    /// Who may begin to speak to its servers. Without it, everybody in the partition and all of its services; with it, nobody else but
    /// those named, also not its own servers among each other. What its servers begin themselves is always answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub allow: Option<Vec<AllowSpec>>,
    /// Confirmation before a move.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub confirm: Option<NotYet>,
}

const CPU_DEFAULT: Cpu = Cpu(100);
const MEMORY_DEFAULT: ByteSize = ByteSize(64 << 20);
/// A full frame a second and a half is what TCP gives up on.
const EGRESS_MIN: BitRate = BitRate(64_000);

/// Whether a server may be limited to sending so much.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_egress(rate: BitRate) -> Result<(), String> {
    if rate >= EGRESS_MIN {
        return Ok(());
    }
    Err(format!("{rate} is too little for a server to be reached at all: at least {EGRESS_MIN}"))
}

/// What one server needs, and what it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServerResources {
    /// Processor time.
    #[serde(default = "default_cpu")]
    pub cpu: Cpu,
    /// Memory.
    #[serde(default = "default_memory")]
    pub memory: ByteSize,
    /// Whatever else a node declares, by name, in its own unit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, u64>,
    /// The most that it sends to its network, in bits a second: `100Mbit`. Without it there is no limit, unless the PAN has one. Changes
    /// while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<BitRate>,
}

impl ServerResources {
    /// What a place for it has to have.
    #[must_use]
    pub fn needed(&self) -> Resources {
        Resources { cpu: self.cpu, memory: self.memory, other: self.other.clone() }
    }
}

impl Default for ServerResources {
    fn default() -> Self {
        Self { cpu: CPU_DEFAULT, memory: MEMORY_DEFAULT, other: BTreeMap::new(), egress: None }
    }
}

const fn default_cpu() -> Cpu {
    CPU_DEFAULT
}

const fn default_memory() -> ByteSize {
    MEMORY_DEFAULT
}

const fn default_priority() -> u16 {
    500
}

/// A file placed in a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Absolute path inside the server.
    pub path: String,
    /// Its content.
    pub content: String,
}

/// Failures to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtectSpec {
    /// How many nodes or failure domains may be lost at the same time.
    pub failures: u32,
    /// What is lost at once.
    #[serde(default)]
    pub domain: Domain,
}

/// A failure domain; all but `node` are read off the nodes' labels of that name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// One machine.
    #[default]
    Node,
    /// Nodes with the same `rack` label.
    Rack,
    /// Nodes with the same `zone` label.
    Zone,
    /// Nodes with the same `region` label.
    Region,
}

/// How the servers of a cluster keep apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// At most one per node.
    Node,
    /// At most one per rack.
    Rack,
    /// At most one per zone.
    Zone,
    /// At most one per region.
    Region,
    /// Few per node, softly.
    PreferNode,
    /// Few per rack, softly.
    PreferRack,
    /// Few per zone, softly.
    PreferZone,
    /// Few per region, softly.
    PreferRegion,
}

/// A cluster to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AfterSpec {
    /// The cluster.
    pub cluster: ClusterName,
    /// The state it must be in.
    #[serde(default)]
    pub state: AfterState,
}

/// The state waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AfterState {
    /// All its servers run and are healthy.
    #[default]
    Running,
}

/// What happens when the old node returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Failback {
    /// The server stays where it is.
    Stay,
    /// It goes back; not yet supported.
    Return,
    /// The operator is asked; not yet supported.
    Ask,
}

/// How a server is asked to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StopSpec {
    /// The signal sent first.
    pub signal: StopSignal,
    /// Time for its connections to end, and then for it to stop, before it is killed.
    pub grace: Span,
}

impl Default for StopSpec {
    fn default() -> Self {
        Self { signal: StopSignal::Term, grace: Span::millis(10_000) }
    }
}

/// A signal that asks a program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// SIGTERM.
    Term,
    /// SIGQUIT.
    Quit,
    /// SIGINT.
    Int,
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGKILL.
    Kill,
    /// SIGWINCH (Apache's graceful stop).
    Winch,
}

/// A check that is run on the node, inside the server's network. Exactly one of `http`, `tcp`, `exec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthSpec {
    /// GET; 200 to 399 is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// A connection that is accepted is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpCheck>,
    /// Exit status 0 is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecCheck>,
    /// How often.
    #[serde(default = "default_every")]
    pub every: Span,
    /// How many failures in a row make a server unhealthy that was healthy. It gets no connections then, and is started again when it stays so for three times as long.
    #[serde(default = "default_failures")]
    pub failures: u32,
    /// How long one check may take.
    #[serde(default = "default_every_timeout")]
    pub timeout: Span,
    /// How long a start may take until the first check succeeds; never less than `failures` times `every`. A server that takes longer is treated as one that ended: it is started again, and moved when `restart.attempts` are used up.
    #[serde(default = "default_start")]
    pub start: Span,
}

impl HealthSpec {
    /// How long a start may take.
    #[must_use]
    pub fn start_max(&self) -> Duration {
        self.start.0.max(self.every.0.saturating_mul(self.failures))
    }
}

const fn default_every() -> Span {
    Span::millis(1_000)
}

const fn default_every_timeout() -> Span {
    Span::millis(1_000)
}

const fn default_start() -> Span {
    Span::millis(60_000)
}

const fn default_failures() -> u32 {
    3
}

/// GET `path` on `port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// TCP port.
    pub port: u16,
    /// Path, beginning with '/'.
    #[serde(default = "root_path")]
    pub path: String,
}

fn root_path() -> String {
    "/".into()
}

/// Connect to `port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    /// TCP port.
    pub port: u16,
}

/// Run a command in the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecCheck {
    /// Program and arguments.
    pub command: Vec<String>,
}

/// Restarts on the same node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestartSpec {
    /// How many in a row, with pauses from 200ms to 10s, before the server has failed on its node and is moved. A minute of health forgives earlier ones.
    pub attempts: u32,
}

impl Default for RestartSpec {
    fn default() -> Self {
        Self { attempts: 2 }
    }
}
