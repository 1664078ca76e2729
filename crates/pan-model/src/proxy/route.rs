//! Routes as documents have them.

use super::edit::EditSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A route: a condition, and a cluster or a redirect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RouteSpec {
    /// When; always if absent.
    #[serde(default, rename = "match")]
    pub matches: MatchSpec,
    /// Who answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Or where else to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<RedirectSpec>,
    /// The share among routes with the same condition.
    #[serde(default = "usual")]
    pub weight: u32,
    /// Edits after the service's.
    #[serde(default)]
    pub edits: EditSpec,
}

fn usual() -> u32 {
    100
}

/// A condition; all that it names has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct MatchSpec {
    /// The host: `shop.example`, or `*.example` for every name under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path and everything under it: `/api/` (which `/api` matches, and `/apix` does not). `=/api` is that path alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// One of these methods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub method: Vec<String>,
    /// Headers with one of their values being this.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, String>,
    /// Query parameters of this value, as written there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
}

/// Another address; what it leaves out stays as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RedirectSpec {
    /// `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// A host, with a port if that is not usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A path; the query stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// 301, 302, 303, 307 or 308, which it is when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}
