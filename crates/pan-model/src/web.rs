//! What a service of layer 7 says of requests.

use crate::ClusterName;
use crate::proxy::{EditSpec, MatchSpec, Protocol, RedirectSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Requests, and the cluster that has them or the address that their clients are sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceRoute {
    /// Which requests; all if absent.
    #[serde(default, rename = "match", skip_serializing_if = "is_everything")]
    pub matches: MatchSpec,
    /// Who answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// Or where else to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<RedirectSpec>,
    /// The share among routes with the same condition.
    #[serde(default = "usual", skip_serializing_if = "is_usual")]
    #[schemars(range(max = 1_000_000))]
    pub weight: u32,
    /// Edits of its requests and answers, after the service's.
    #[serde(default, skip_serializing_if = "EditSpec::is_none")]
    pub edits: EditSpec,
}

fn is_everything(matches: &MatchSpec) -> bool {
    *matches == MatchSpec::default()
}

const fn usual() -> u32 {
    100
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_usual(weight: &u32) -> bool {
    *weight == usual()
}

/// What the servers of a cluster speak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Upstream {
    /// Which cluster: one that answers.
    pub cluster: ClusterName,
    /// HTTP/1.1 if absent.
    #[serde(default)]
    pub protocol: Protocol,
    /// Whether they are told by the PROXY protocol, version 2, who the client is. Each request then has a connection of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub announce: bool,
}

/// When a request is sent to another server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceRetry {
    /// Retries in hundredths of the requests, besides ten a second; 20% if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Percent>,
    /// Times that a request is sent, the first included; 3 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub attempts: Option<u32>,
    /// Servers recognise requests by their `Idempotency-Key`: one that has it may be sent again whatever its method.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keyed: bool,
}

/// Hundredths, at most all: `20%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u8);

impl Serialize for Percent {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}%", self.0))
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let number = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let percent = number.and_then(|digits| digits.parse().ok()).filter(|percent| *percent <= 100).map(Self);
        percent.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a share: expected 0% to 100%, like 20%")))
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^(100|[0-9]{1,2})%$", "description": "hundredths: 20%"})
    }
}
