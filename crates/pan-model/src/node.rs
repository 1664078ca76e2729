//! Node: a host in the node role; runs servers, keeps nothing that matters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a node is good for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Known, not heard of yet.
    Joining,
    /// Heard on at least one fabric.
    Alive,
    /// Silent for a few periods.
    Suspect,
    /// Silent for so long that its servers are started elsewhere.
    Dead,
    /// Its servers are being moved away by an operator.
    Draining,
    /// Keeps its servers, takes no new ones.
    Cordoned,
    /// Died too often; used only as a spare.
    Quarantined,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Joining => "joining",
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Draining => "draining",
            Self::Cordoned => "cordoned",
            Self::Quarantined => "quarantined",
        })
    }
}
