//! What the planner is told: nodes, partitions, clusters, and where each server is bound now.

use pan_model::{ClusterName, HostName, PartitionName, Resources, ServerName};
use std::collections::BTreeMap;
use std::fmt;

/// A cluster within the whole PAN.
pub type ClusterKey = (PartitionName, ClusterName);
/// A server within the whole PAN.
pub type ServerId = (PartitionName, ServerName);

/// The state of the PAN that a plan is a function of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every host in the node role.
    pub nodes: BTreeMap<HostName, Node>,
    /// Every partition; one that a cluster names but that is missing here has no limits.
    pub partitions: BTreeMap<PartitionName, Partition>,
    /// Every cluster.
    pub clusters: BTreeMap<ClusterKey, Cluster>,
}

/// A machine that runs servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it has for servers.
    pub capacity: Resources,
    /// Its labels; `rack`, `zone` and `region` say which failure domains it is in.
    pub labels: BTreeMap<String, String>,
    /// What it may be used for now.
    pub state: NodeState,
}

/// What a node may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// Runs servers and takes new ones.
    Up,
    /// Keeps its servers, takes none: neither new ones nor as a backup.
    Cordoned,
    /// Not heard well enough, or not to be spoken with, for the moment: as cordoned.
    Away,
    /// Its servers leave as soon as there is a place for them.
    Draining,
    /// Quarantined: keeps its servers and takes others only when their node dies.
    Spare,
    /// Dead.
    Down,
}

/// Limits of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    /// What it can always have.
    pub guaranteed: Option<Resources>,
    /// What it can never exceed.
    pub max: Option<Resources>,
}

/// A set of like servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// What one server needs.
    pub need: Resources,
    /// How its servers keep apart.
    pub spread: Spread,
    /// The failures it survives with all its servers.
    pub protect: Option<Protect>,
    /// Who goes first when there is not enough, 0 to 999; higher goes first.
    pub priority: u16,
    /// Clusters of the same partition that are placed, and started, before this one.
    pub after: Vec<ClusterName>,
    /// Clusters of the same partition whose server of the same number shares the node.
    pub with: Vec<ClusterName>,
    /// Labels that a node must have.
    pub require_labels: BTreeMap<String, String>,
    /// The wanted servers, and the node each is bound to now.
    pub servers: BTreeMap<ServerName, Option<HostName>>,
}

/// How the servers of a cluster keep apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Spread {
    /// They do not.
    #[default]
    None,
    /// Few per domain, if that costs nothing else.
    Prefer(Domain),
    /// At most one per domain.
    Require(Domain),
}

/// A promise: this many losses at the same time leave every server of the cluster running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protect {
    /// How many domains may be lost; 0 promises nothing.
    pub failures: u32,
    /// What is lost at once.
    pub domain: Domain,
}

/// A failure domain, from small to large.
///
/// The nodes that lack a domain's label are taken to be in one domain together: nothing shows that
/// they fail apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
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

impl Domain {
    /// All of them, small to large.
    pub const ALL: [Self; 4] = [Self::Node, Self::Rack, Self::Zone, Self::Region];

    /// The word for it, which is also the node label that tells it (except for `node`).
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Rack => "rack",
            Self::Zone => "zone",
            Self::Region => "region",
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl NodeState {
    /// Whether a server bound to such a node runs.
    #[must_use]
    pub const fn runs(self) -> bool {
        match self {
            Self::Up | Self::Cordoned | Self::Away | Self::Draining | Self::Spare => true,
            Self::Down => false,
        }
    }

    /// Whether such a node takes the servers of a node that died.
    #[must_use]
    pub const fn backs_up(self) -> bool {
        match self {
            Self::Up | Self::Spare => true,
            Self::Cordoned | Self::Away | Self::Draining | Self::Down => false,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Cordoned => "cordoned",
            Self::Away => "out of reach",
            Self::Draining => "draining",
            Self::Spare => "quarantined",
            Self::Down => "down",
        }
    }
}

impl Snapshot {
    /// The node a server is bound to; None if it is bound to none or does not exist.
    #[must_use]
    pub fn bound(&self, server: &ServerId) -> Option<&HostName> {
        self.cluster_of(server)?.1.servers.get(&server.1)?.as_ref()
    }

    /// The cluster that wants a server.
    #[must_use]
    pub fn cluster_of(&self, server: &ServerId) -> Option<(&ClusterKey, &Cluster)> {
        let (name, _) = server.1.as_str().rsplit_once('-')?;
        let key = (server.0.clone(), ClusterName::new(name).ok()?);
        self.clusters.get_key_value(&key).filter(|(_, cluster)| cluster.servers.contains_key(&server.1))
    }

    /// Binds a server to a node, or to none; nothing happens if no cluster wants the server.
    pub fn bind(&mut self, server: &ServerId, node: Option<HostName>) {
        let Some(key) = self.cluster_of(server).map(|(key, _)| key.clone()) else { return };
        if let Some(slot) = self.clusters.get_mut(&key).and_then(|cluster| cluster.servers.get_mut(&server.1)) {
            *slot = node;
        }
    }
}
