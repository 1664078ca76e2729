//! Edits of headers that a service or route asks for.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Edits of requests and of answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct EditSpec {
    /// Of a request before a server has it.
    pub request: HeaderSpec,
    /// Of an answer before the client has it.
    pub response: HeaderSpec,
}

/// Edits of one head: first `remove`, then `set`, then `add`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct HeaderSpec {
    /// Headers that are to have this value alone.
    pub set: BTreeMap<String, String>,
    /// Values that are added to those that are there.
    pub add: BTreeMap<String, String>,
    /// Headers that are taken out.
    pub remove: Vec<String>,
}
