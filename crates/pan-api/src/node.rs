//! Node as the API shows it.

use pan_model::host::Fabrics;
use pan_model::node::NodeState;
use pan_model::{ByteSize, Cpu, HostName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub name: HostName,
    /// What it is good for.
    pub state: NodeState,
    /// On which fabrics it is heard.
    pub fabrics: Fabrics,
    /// Processor time.
    pub cpu: Amount<Cpu>,
    /// Memory.
    pub memory: Amount<ByteSize>,
    /// Servers bound to it.
    pub servers: u64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// How much of a resource there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Amount")]
pub struct Amount<T> {
    /// Offered by the node.
    pub total: T,
    /// Neither used nor reserved.
    pub free: T,
    /// Kept for servers of nodes that may fail.
    pub reserved: T,
}
