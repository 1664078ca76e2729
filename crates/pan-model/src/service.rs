//! Service: a public address and port, and how its traffic is spread over a cluster.

pub use crate::balance::{BalancePolicy, BalanceSpec, ChainStep};

use crate::proxy::{EditSpec, Forwarding, Limits, ProxyProtocol, Timeouts};
pub use crate::tls::{CertificateAndKey, Secret, ServiceTls};
pub use crate::web::{Percent, ServiceRetry, ServiceRoute, Upstream};
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
    /// How much a client may send (layer 7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Edits of every request and answer, before those of its route (layer 7).
    #[serde(default, skip_serializing_if = "EditSpec::is_none")]
    pub edits: EditSpec,
    /// What becomes of what a client says of where it is: `append` trusts what is in front of the service (layer 7).
    #[serde(default, skip_serializing_if = "is_default")]
    pub forwarding: Forwarding,
    /// Whether connections begin by saying who the client is, as what is in front of the service may (layer 7).
    #[serde(default, skip_serializing_if = "is_default")]
    pub proxy_protocol: ProxyProtocol,
    /// What servers of its clusters speak, where that is not HTTP/1.1 (layer 7).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub upstreams: Vec<Upstream>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl ServiceSpec {
    /// The clusters that answer, each once, with the first field that names it.
    #[must_use]
    pub fn clusters(&self) -> Vec<(&ClusterName, String)> {
        let own = self.cluster.iter().map(|name| (name, "cluster".to_owned()));
        let routed =
            self.routes.iter().enumerate().filter_map(|(at, route)| Some((route.cluster.as_ref()?, format!("routes[{at}].cluster"))));
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
        self.cluster.as_ref() == Some(cluster) || self.routes.iter().any(|route| route.cluster.as_ref() == Some(cluster))
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
