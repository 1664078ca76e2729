//! Explanations: certificates, what-ifs, reasons, timelines.

use pan_model::{Epoch, HostName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether every protection promise holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// Whether it does.
    pub ok: bool,
    /// The number of failures checked; each cluster's own promise when none was asked for.
    pub failures: Option<u32>,
    /// How many failure cases were tried.
    pub checked: u64,
    /// The case that breaks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterexample: Option<Counterexample>,
    /// Why there is neither proof nor counterexample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproved: Option<String>,
}

/// A failure after which a promise is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counterexample {
    /// The hosts that fail.
    pub hosts: Vec<HostName>,
    /// The server that has no place then, `PARTITION/SERVER`.
    pub object: String,
    /// What is missing.
    pub short: String,
}

/// What a failure or a new node would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhatIf {
    /// Servers that would move.
    pub moves: Vec<Move>,
    /// Servers that would have no place.
    pub lost: Vec<Lost>,
}

/// A server that would move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Move {
    /// `PARTITION/SERVER`.
    pub server: String,
    /// From where.
    pub from: Option<HostName>,
    /// To where.
    pub to: HostName,
    /// Why there.
    pub reason: String,
}

/// A server that would have no place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// `PARTITION/SERVER`.
    pub server: String,
    /// Why not.
    pub reason: String,
}

/// A failure domain that is being emptied, or is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainDrain {
    /// The label, `NAME=VALUE`.
    pub domain: String,
    /// How far it is.
    pub state: DrainState,
    /// The nodes with that label, and the servers still on each.
    pub nodes: Vec<DrainNode>,
    /// Why it does not go on, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far the drain of a domain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrainState {
    /// Nodes are being emptied.
    Draining,
    /// No further node may be drained now without breaking a promise; it goes on when that changes.
    Held,
    /// Every node with the label is empty.
    Done,
}

/// A node of a domain that is drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrainNode {
    /// Its name.
    pub name: HostName,
    /// Its turn has come.
    pub begun: bool,
    /// Servers bound to it.
    pub servers: u64,
}

/// What draining a domain would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrainPlan {
    /// Whether it can be done at all.
    pub ok: bool,
    /// Nodes that would be drained together, one batch after the other.
    pub batches: Vec<DrainBatch>,
    /// The promise it would break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterexample: Option<Counterexample>,
    /// Why it cannot be done, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Nodes that would be drained together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrainBatch {
    /// The nodes.
    pub nodes: Vec<HostName>,
    /// Where their servers would go.
    pub moves: Vec<Move>,
}

/// What draining a node would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeDrainPlan {
    /// Whether it is done without being forced: nothing would lack room.
    pub ok: bool,
    /// Where its servers would go.
    pub moves: Vec<Move>,
    /// Servers that run and would have no place.
    pub lost: Vec<Lost>,
    /// Clusters that are protected and would not be.
    pub unprotected: Vec<Unprotected>,
    /// All that would be missing, in words.
    pub missing: Vec<String>,
}

/// A cluster that is protected no more, and the failure that it does not survive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unprotected {
    /// `PARTITION/CLUSTER`.
    pub cluster: String,
    /// The hosts that fail.
    pub hosts: Vec<HostName>,
    /// The server that has no place then, `PARTITION/SERVER`.
    pub object: String,
    /// What is missing.
    pub short: String,
}

/// Why an object is as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// `KIND NAME`.
    pub object: String,
    /// What was decided.
    pub decision: String,
    /// What led to it.
    pub reasons: Vec<String>,
    /// What else there was, and why not.
    pub alternatives: Vec<String>,
}

/// A failover or another move, step by step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// What it is about: `PARTITION/SERVER` or a host.
    pub object: String,
    /// The epoch reached, for a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Whether it has ended.
    pub finished: bool,
    /// The steps.
    pub steps: Vec<Step>,
    /// From the first to the last step, milliseconds.
    pub total_ms: u64,
}

/// One step of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// RFC 3339, microseconds.
    pub at: String,
    /// What happened.
    pub step: String,
    /// Since the step before, milliseconds. All steps' together are `totalMs`.
    pub took_ms: u64,
    /// Why.
    pub reason: String,
}
