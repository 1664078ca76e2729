//! Import as the API shows it.

use pan_model::import::ImportState;
use pan_model::{ImportSpec, Name, PartitionName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// An import: a service of another partition as this one's servers use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Import {
    /// Its partition.
    pub partition: PartitionName,
    /// Its name.
    pub name: Name,
    /// The first address by which its partition's servers reach it.
    pub address: IpAddr,
    /// All its addresses, in the order of the partition's networks.
    pub addresses: Vec<IpAddr>,
    /// The service's port; none while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether it leads anywhere. Why it does not is not told.
    pub state: ImportState,
    /// What was asked for.
    pub spec: ImportSpec,
}
