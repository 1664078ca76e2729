//! Cluster as the API shows it.

use pan_model::{ClusterName, ClusterSpec, Name, PartitionName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its partition.
    pub partition: PartitionName,
    /// Its name.
    pub name: ClusterName,
    /// Servers wanted: as many as its manifest says, or as policies make of that.
    pub desired: u32,
    /// The policies that give it another number of servers than its manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Name>,
    /// Servers running and healthy.
    pub running: u32,
    /// Whether its protection promise holds at present; false also when it has none.
    pub protected: bool,
    /// `ready` when all wanted servers run, `progressing`, `degraded` when some that ran do not, `stopped`, `deleting`.
    pub state: ClusterState,
    /// What was asked for.
    pub spec: ClusterSpec,
}

/// State of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// All wanted servers run.
    Ready,
    /// On the way there.
    Progressing,
    /// A server failed or has no place.
    Degraded,
    /// All servers were stopped by an operator.
    Stopped,
    /// Its servers are being taken down.
    Deleting,
}
