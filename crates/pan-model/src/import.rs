//! Import: a service of another partition, under a name of one's own. It leads there while the other partition exports it.

use crate::{PartitionName, ServiceName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most partitions that a service may name in `export`: each may cost the service's partition an address of its network.
pub const EXPORTS_MAX: usize = 100;

/// What an import asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ImportSpec {
    /// The partition whose service it is.
    pub partition: PartitionName,
    /// The service.
    pub service: ServiceName,
}

/// What can be seen of an import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImportState {
    /// Nothing answers: there is no such service, or it is not exported to this partition, or none of its servers takes connections.
    #[default]
    Waiting,
    /// The other partition exports the service, and it takes connections.
    Active,
}

impl fmt::Display for ImportState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Waiting => "waiting",
            Self::Active => "active",
        })
    }
}
