//! Event: what happened and why.

use crate::PartitionName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Normal life.
    Info,
    /// Somebody should look some time.
    Warning,
    /// Somebody should look now.
    Alarm,
}

/// Something that happened. Numbers are per partition; PAN-wide events have no partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Order within the partition (or within the PAN's own events).
    pub number: u64,
    /// RFC 3339, UTC, microseconds.
    pub time: String,
    /// The partition it belongs to; absent for the PAN's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionName>,
    /// Kind of the object: `server`, `node`, `service`, ….
    pub kind: String,
    /// Name of the object.
    pub object: String,
    /// One word in CamelCase, such as `NodeDead`.
    pub reason: String,
    /// What happened, for people.
    pub message: String,
    /// How much it matters.
    pub severity: Severity,
}
