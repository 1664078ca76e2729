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
