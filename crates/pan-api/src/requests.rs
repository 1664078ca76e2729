//! Bodies of the API's requests and the answers that are not objects.

use crate::ApiError;
use pan_model::node::NodeState;
use pan_model::{HostName, PartitionName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /v1/apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Apply {
    /// YAML texts, each with any number of documents.
    pub files: Vec<File>,
    /// Check everything, change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// A text and the name errors call it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Name for errors.
    pub name: String,
    /// YAML.
    pub text: String,
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// Its kind, lower case.
    pub kind: String,
    /// Its partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionName>,
    /// Its name.
    pub name: String,
    /// What happened.
    pub result: ApplyResult,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}

/// What happened to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApplyResult {
    /// It is new.
    Created,
    /// It is different now.
    Changed,
    /// It was so already.
    Unchanged,
    /// It was refused, and with it all others of the same apply.
    Refused,
}

/// `POST /v1/partitions/P/clusters/C/scale`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Servers wanted.
    pub servers: u32,
}

/// `POST /v1/partitions/P/servers/S/failover` and `…/migrate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveTo {
    /// The node to move to; chosen by the planner when absent.
    #[serde(default)]
    pub to: Option<HostName>,
}

/// `POST /v1/nodes/N/label`; `None` removes a label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// The labels to change.
    pub labels: BTreeMap<String, Option<String>>,
}

/// `POST /v1/whatif`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WhatIfRequest {
    /// Hosts that fail.
    #[serde(default)]
    pub fail: Vec<HostName>,
    /// A node that joins, `name=…,cpu=…,memory=…[,LABEL=VALUE…]`.
    #[serde(default)]
    pub add_node: Option<String>,
}

/// `POST /v1/partitions/P/servers/S/exec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Its whole standard input, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
}

/// One line of the answer to an exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecFrame {
    /// Standard output, base64.
    Stdout(String),
    /// Standard error, base64.
    Stderr(String),
    /// It ended with this status (128 + signal number when killed).
    Exit(i32),
}

/// `GET /v1/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// The program's version.
    pub software: String,
    /// The version of this interface, the first part of its paths.
    pub api: String,
    /// [`crate::WIRE_VERSION`].
    pub wire: u16,
}

/// The header that says with what is read how many milliseconds ago it was the newest for sure.
pub const AGE_HEADER: &str = "pan-age-ms";

/// `GET /healthz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Always true: a controller that is not well answers with an error.
    pub ok: bool,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The controller that decides, as it is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<HostName>,
    /// Hosts by state.
    pub hosts: Vec<HostsIn>,
    /// Members of the controllers' store; none where it is one file.
    pub store: Vec<StoreMember>,
}

/// Hosts of one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostsIn {
    /// Which state.
    pub state: NodeState,
    /// Which hosts.
    pub hosts: Vec<HostName>,
}

/// A member of the controllers' store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreMember {
    /// Its name, or where it should be.
    pub name: String,
    /// Whether it answers.
    pub answers: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/drains`, `…/whatif` and `…/undo`: the nodes with a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// The label, `NAME=VALUE`.
    pub domain: String,
}
