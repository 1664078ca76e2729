//! What an operator may ask of the controller.

use super::domain::Domain;
use pan_api::requests::Applied;
use pan_model::manifest::Document;
use pan_model::{ClusterName, HostName, PartitionName, ServerKey};
use std::collections::BTreeMap;

/// A change asked for.
#[derive(Debug, Clone)]
pub enum Request {
    /// Create or change objects; all or nothing.
    Apply {
        /// The documents, parsed.
        documents: Vec<Document>,
        /// Check everything, change nothing.
        dry_run: bool,
    },
    /// Delete an object.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its partition; absent for a partition itself.
        partition: Option<PartitionName>,
        /// Its name.
        name: String,
        /// Delete what depends on it as well.
        cascade: bool,
    },
    /// Change the number of servers of a cluster.
    Scale {
        /// The partition.
        partition: PartitionName,
        /// The cluster.
        cluster: ClusterName,
        /// Servers wanted.
        servers: u32,
    },
    /// Stop and start a server on its node.
    Restart(ServerKey),
    /// Stop a server until it is started again.
    Stop(ServerKey),
    /// Start a stopped or failed server.
    Start(ServerKey),
    /// Move a server at once, without waiting for its connections.
    Failover {
        /// The server.
        key: ServerKey,
        /// Where to; the planner chooses when absent.
        to: Option<HostName>,
    },
    /// Move a server after its connections have ended.
    Migrate {
        /// The server.
        key: ServerKey,
        /// Where to; the planner chooses when absent.
        to: Option<HostName>,
    },
    /// Move everything away from a node.
    Drain(HostName),
    /// Empty a failure domain, as far at a time as every promise allows.
    DrainDomain(Domain),
    /// End that.
    UndoDrain(Domain),
    /// Let a node take no new servers.
    Cordon(HostName),
    /// End a drain or a cordon.
    Uncordon(HostName),
    /// Forget a node's quarantine.
    Clear(HostName),
    /// Change labels of a node.
    Label {
        /// The node.
        node: HostName,
        /// New values; `None` removes.
        labels: BTreeMap<String, Option<String>>,
    },
}

/// Kinds that can be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A partition.
    Partition,
    /// A cluster.
    Cluster,
    /// A service.
    Service,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// What became of each document.
    Applied(Vec<Applied>),
    /// It is committed.
    Done,
}
