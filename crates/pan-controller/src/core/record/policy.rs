//! Policies.

use pan_model::PolicySpec;
use serde::{Deserialize, Serialize};

/// A policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// What was asked for.
    pub spec: PolicySpec,
    /// The windows that it was in when it was looked at last, one of a schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<OpenWindow>,
    /// When a window begins or is over next, as was found then (wall, microseconds since 1970).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// A window that has begun; times are wall clock, microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenWindow {
    /// The number of the schedule, from 0.
    pub schedule: usize,
    /// Its first instant.
    pub from: i64,
    /// The first instant after it.
    pub until: i64,
}
