//! Why a request would go where it would go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A request that somebody wonders about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Question {
    /// The service.
    pub service: String,
    /// The path, with a query or without.
    pub path: String,
    /// GET if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The client's address.
    #[schemars(with = "String")]
    pub client: IpAddr,
}

/// What the rule of a route that came into question said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleSaid {
    /// The first route that has this condition, by its place in the document.
    pub route: usize,
    /// What, and because of which part.
    pub said: String,
}

/// Where it would go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// The place in the document of the route that has it; none if no route matches. Of routes that share by weight, one that may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<usize>,
    /// What rules said, in the order in which they were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSaid>,
    /// Where the client is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
    /// The cluster that would have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Whether suspicion and ejection are ignored because they are of too many.
    pub panics: bool,
    /// Servers that could not have it.
    pub out: Vec<Out>,
    /// Those that could.
    pub scores: Vec<Score>,
    /// The one that would; none if nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<Picked>,
}

/// A server that is struck out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Out {
    /// Which.
    pub server: String,
    /// At which stage.
    pub stage: String,
    /// Why.
    pub why: String,
}

/// A server that may have the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// Which.
    pub server: String,
    /// Its weight now.
    pub weight: u32,
    /// Requests that it has.
    pub in_flight: u32,
    /// How long it lately takes to answer, in microseconds; 0 if it never did.
    pub latency_us: u64,
    /// What the policy compares, if it compares servers: a load, and what divides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<(u64, u64)>,
}

/// The server that would have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Picked {
    /// Which.
    pub server: String,
    /// Why.
    pub why: String,
}
