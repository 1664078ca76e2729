//! Service: a public address and port, and how its traffic is spread over a cluster.

pub use crate::balance::{BalancePolicy, BalanceSpec, ChainStep};

use crate::proxy::{MatchSpec, Timeouts};
pub use crate::tls::{CertificateAndKey, Secret, ServiceTls};
use crate::{ClusterName, PartitionName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a service asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// The public address; one of each family is given from the PAN's pool when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub address: Option<IpAddr>,
    /// The public port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The cluster that answers. At layer 7, whatever no route matches; it may be left out there if there are routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// The servers' port; the public one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
    /// 4: connections are spread, whatever they carry. 7: requests of HTTP are.
    #[serde(default)]
    pub layer: Layer,
    /// How connections, or requests, are spread.
    #[serde(default)]
    pub balance: BalanceSpec,
    /// Partitions that may use the service from inside, by an import of theirs. Whether there is one of that name is nothing that shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export: Vec<PartitionName>,
    /// TLS at the director (layer 7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServiceTls>,
    /// Which cluster has which requests (layer 7). The most specific route that matches has a request, wherever it stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub routes: Vec<ServiceRoute>,
    /// When a request is sent to another server (layer 7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<ServiceRetry>,
    /// How long each phase of a request may take (layer 7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
}

impl ServiceSpec {
    /// The clusters that answer, each once, with the first field that names it.
    #[must_use]
    pub fn clusters(&self) -> Vec<(&ClusterName, String)> {
        let own = self.cluster.iter().map(|name| (name, "cluster".to_owned()));
        let routed = self.routes.iter().enumerate().map(|(at, route)| (&route.cluster, format!("routes[{at}].cluster")));
        let mut all: Vec<(&ClusterName, String)> = Vec::new();
        for (name, place) in own.chain(routed) {
            if all.iter().all(|(known, _)| *known != name) {
                all.push((name, place));
            }
        }
        all
    }

    /// Whether a cluster answers, for some of it at least.
    #[must_use]
    pub fn is_answered_by(&self, cluster: &ClusterName) -> bool {
        self.cluster.as_ref() == Some(cluster) || self.routes.iter().any(|route| route.cluster == *cluster)
    }

    /// As it is shown to whoever may see it: without keys.
    #[must_use]
    pub fn shown(&self) -> Self {
        Self { tls: self.tls.as_ref().map(ServiceTls::shown), ..self.clone() }
    }

    /// The servers' port.
    #[must_use]
    pub fn target(&self) -> u16 {
        self.target_port.unwrap_or(self.port)
    }
}

/// Requests, and the cluster that has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceRoute {
    /// Which requests; all if absent.
    #[serde(default, rename = "match", skip_serializing_if = "is_everything")]
    pub matches: MatchSpec,
    /// Who answers.
    pub cluster: ClusterName,
    /// The share among routes with the same condition.
    #[serde(default = "usual", skip_serializing_if = "is_usual")]
    #[schemars(range(max = 1_000_000))]
    pub weight: u32,
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

/// The layer a service works at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layer {
    /// Connections.
    #[default]
    Four,
    /// Requests of HTTP.
    Seven,
}

impl Serialize for Layer {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(match self {
            Self::Four => 4,
            Self::Seven => 7,
        })
    }
}

impl<'de> Deserialize<'de> for Layer {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u8::deserialize(from)? {
            4 => Ok(Self::Four),
            7 => Ok(Self::Seven),
            other => Err(serde::de::Error::custom(format!("{other} is not a layer: expected 4 or 7"))),
        }
    }
}

impl JsonSchema for Layer {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Layer".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "integer", "enum": [4, 7]})
    }
}

/// What a backend of a service may be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// Takes new connections.
    Up,
    /// Takes none; does not work.
    Down,
    /// Takes none for the moment; its host is silent.
    Suspect,
    /// Takes no new ones; those it has may end.
    Draining,
}
