//! Partition as the API shows it.

use pan_model::network::Cidr;
use pan_model::partition::CapacitySpec;
use pan_model::{PartitionName, PartitionSpec, Resources};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Partition {
    /// Its name.
    pub name: PartitionName,
    /// Its networks, IPv4 first.
    pub networks: Vec<Cidr>,
    /// What it was promised and may use.
    pub capacity: CapacitySpec,
    /// What its servers take.
    pub used: Resources,
    /// Always `ready`.
    pub state: PartitionState,
    /// What was asked for.
    pub spec: PartitionSpec,
}

/// State of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartitionState {
    /// It exists.
    Ready,
    /// Its servers are being taken down.
    Deleting,
}
