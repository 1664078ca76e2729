//! Clusters, and what policies make of them.

use pan_model::{ClusterSpec, Name};
use serde::{Deserialize, Serialize};

/// A cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// What was asked for.
    pub spec: ClusterSpec,
    /// Grows when something changes that a running server must be restarted for.
    pub revision: u64,
    /// Is being taken down.
    pub deleting: bool,
    /// The number of servers that policies give it at present, where it is another one than its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Scheduled>,
}

impl ClusterRecord {
    /// How many servers it is to have at present.
    #[must_use]
    pub fn wanted(&self) -> u32 {
        self.scheduled.as_ref().map_or(self.spec.servers, |scheduled| scheduled.servers)
    }
}

/// A number of servers that is not the cluster's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// The number.
    pub servers: u32,
    /// The policies that say so, or said so last if not all of it could be had.
    pub by: Vec<Name>,
}
