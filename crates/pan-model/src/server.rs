//! Server: a logical machine, bound to a node while it runs.

use crate::{PartitionName, ServerName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which server: its partition and its name there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ServerKey {
    /// The partition.
    pub partition: PartitionName,
    /// The name within it.
    pub name: ServerName,
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.name)
    }
}

/// What a server is doing, as everybody sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServerState {
    /// The controller that answers was just started and has not heard of it yet.
    Unknown,
    /// Waits for a place, or for a cluster it comes after.
    Pending,
    /// Has a place, does not answer yet.
    Starting,
    /// Runs and is healthy.
    Running,
    /// Its node is silent.
    Suspect,
    /// Is being started elsewhere because its node died.
    FailingOver,
    /// Ends its connections, or was asked to stop.
    Stopping,
    /// Was stopped by an operator.
    Stopped,
    /// Does not stay up; tried again with back-off.
    Failed,
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Suspect => "suspect",
            Self::FailingOver => "failing-over",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        })
    }
}
