//! Policy as the API shows it, and what policies make of clusters at a moment.

use pan_model::policy::Effect;
use pan_model::{ClusterName, Name, PartitionName, PolicySpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Its partition.
    pub partition: PartitionName,
    /// Its name.
    pub name: Name,
    /// The cluster that it is about.
    pub cluster: ClusterName,
    /// Whether any of its windows is open.
    pub state: PolicyState,
    /// The windows that are open, one of a schedule.
    pub active: Vec<ActiveWindow>,
    /// When a window begins or is over next; none if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What was asked for.
    pub spec: PolicySpec,
}

/// State of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PolicyState {
    /// A window of it is open.
    Active,
    /// None is.
    Idle,
}

/// A window that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveWindow {
    /// The number of the schedule in the policy, from 0.
    pub schedule: usize,
    /// What holds.
    pub effect: Effect,
    /// Its first instant.
    pub from: String,
    /// The first instant after it.
    pub until: String,
}

/// What policies make of a cluster from a moment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    /// The cluster.
    pub cluster: ClusterName,
    /// From when on.
    pub at: String,
    /// The number of servers in its manifest.
    pub own: u32,
    /// The number of servers that it is to have.
    pub servers: u32,
    /// The schedules that decide that; none where its manifest does.
    pub because: Vec<Because>,
    /// When any of its windows begins or is over next; none if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What contradicts what, if anything does. The larger number counts then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clash: Option<String>,
    /// Why it cannot be had as the PAN is now, where one moment was asked for and that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short: Option<String>,
}

/// A schedule that decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Because {
    /// The policy.
    pub policy: Name,
    /// Its window.
    #[serde(flatten)]
    pub window: ActiveWindow,
}
