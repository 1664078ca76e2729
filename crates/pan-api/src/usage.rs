//! What partitions used, hour by hour; and what a node tells of it: for each instance counters that only grow.

use pan_model::{ClusterName, Epoch, PartitionName, ServerKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most hours of clusters that one answer tells: ten megabytes.
pub const ROWS_MAX: usize = 50_000;

/// One instance of a server: what was started on a node under one epoch and incarnation, local restarts included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Instance {
    /// The server.
    pub key: ServerKey,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its incarnation.
    pub incarnation: u64,
}

/// What something used since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Processor time, microseconds.
    pub cpu_micros: u64,
    /// Memory over time, KiB times seconds.
    pub memory_kib_seconds: u64,
    /// Bytes that came in through its port.
    pub received: u64,
    /// Bytes that it sent.
    pub sent: u64,
}

impl Counters {
    fn each(self, other: Self, with: fn(u64, u64) -> u64) -> Self {
        Self {
            cpu_micros: with(self.cpu_micros, other.cpu_micros),
            memory_kib_seconds: with(self.memory_kib_seconds, other.memory_kib_seconds),
            received: with(self.received, other.received),
            sent: with(self.sent, other.sent),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// The larger one of each.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        self.each(other, u64::max)
    }

    /// The smaller one of each.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        self.each(other, u64::min)
    }

    /// What is more than in `other`.
    #[must_use]
    pub fn beyond(self, other: Self) -> Self {
        self.each(other, u64::saturating_sub)
    }
}

/// What an instance used, as its node counts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metered {
    /// Which.
    pub instance: Instance,
    /// The cluster it is of.
    pub cluster: ClusterName,
    /// When it began by the node's clock, microseconds since 1970.
    pub began: i64,
    /// What it used.
    pub used: Counters,
    /// It is no more; told until it is known to be written down.
    #[serde(default)]
    pub ended: bool,
}

/// What a cluster, or the volumes of a partition, used in an hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// The partition.
    pub partition: PartitionName,
    /// The cluster; absent for what no cluster has: volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// The beginning of the hour, RFC 3339, UTC.
    pub hour: String,
    /// Processor time, seconds.
    pub cpu_seconds: f64,
    /// Memory, GiB times hours.
    pub memory_gib_hours: f64,
    /// Storage, GiB times hours, each copy counted.
    pub storage_gib_hours: f64,
    /// Bytes that came in through the ports of its servers.
    pub received_bytes: u64,
    /// Bytes that its servers sent.
    pub sent_bytes: u64,
}
