//! Imports, and who partitions are to each other.

use super::PartitionRecord;
use pan_model::import::ImportState;
use pan_model::{Epoch, ImportSpec};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Which partition a name stands for: one that gets a name anew is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its network identifier; no partition made later has it.
    pub vni: u32,
    /// See [`PartitionRecord::life`].
    pub life: u64,
}

impl PartitionRecord {
    /// Which partition it is.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        Identity { vni: self.vni, life: self.life }
    }
}

/// An import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRecord {
    /// What was asked for.
    pub spec: ImportSpec,
    /// Its number within the PAN; no other import, and no way, ever has it.
    pub number: u32,
    /// Its addresses, in the order of its partition's networks.
    pub addresses: Vec<IpAddr>,
    /// The epoch of its place in its partition's network, when the epoch of its partition's owner was `from`.
    pub epoch: Epoch,
    /// See `epoch`.
    pub from: Epoch,
    /// Who the partition is whose service it is, from when that one exported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Identity>,
    /// The way there, while both want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<WayRecord>,
    /// What its partition was told of it last.
    #[serde(default)]
    pub told: ImportState,
}

/// The way from an import to its service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayRecord {
    /// Its number within the PAN.
    pub number: u32,
    /// The addresses of the service's partition that stand for the import there.
    pub addresses: Vec<IpAddr>,
    /// The epoch of their place, when the epoch of the owner of the import's partition was `from`.
    pub epoch: Epoch,
    /// See `epoch`.
    pub from: Epoch,
}
