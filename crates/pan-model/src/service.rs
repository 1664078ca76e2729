//! Service: a public address and port, and how its traffic is spread over a cluster.

use crate::notyet::NotYet;
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
    /// The cluster that answers.
    pub cluster: ClusterName,
    /// The servers' port; the public one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
    /// 4: connections are spread. 7 is not yet supported.
    #[serde(default)]
    pub layer: Layer,
    /// How connections are spread.
    #[serde(default)]
    pub balance: BalanceSpec,
    /// Partitions that may use the service from inside, by an import of theirs. Whether there is one of that name is nothing that shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export: Vec<PartitionName>,
    /// TLS at the director.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub tls: Option<NotYet>,
    /// Routes by request.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub routes: Option<NotYet>,
    /// Retries.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub retry: Option<NotYet>,
    /// Timeouts.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub timeouts: Option<NotYet>,
}

/// The layer a service works at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layer {
    /// Connections.
    #[default]
    Four,
}

impl Serialize for Layer {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(4)
    }
}

impl<'de> Deserialize<'de> for Layer {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u8::deserialize(from)? {
            4 => Ok(Self::Four),
            7 => Err(serde::de::Error::custom(format!("layer 7: {}", crate::notyet::NOT_YET))),
            other => Err(serde::de::Error::custom(format!("{other} is not a layer: expected 4"))),
        }
    }
}

impl JsonSchema for Layer {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Layer".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "integer", "enum": [4]})
    }
}

/// How a service spreads its traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BalanceSpec {
    /// The way of spreading.
    #[serde(default)]
    pub policy: BalancePolicy,
    /// A chain of policies.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub chain: Option<NotYet>,
    /// What decides affinity.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub key: Option<NotYet>,
    /// Sticky sessions.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub sticky: Option<NotYet>,
    /// Slow start.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub slow_start: Option<NotYet>,
    /// Connection limits.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<NotYet>")]
    pub limits: Option<NotYet>,
}

/// The way of spreading connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BalancePolicy {
    /// Equal shares: the slots of the table go round the servers, connections fall on slots by hash.
    #[default]
    RoundRobin,
}

impl Serialize for BalancePolicy {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str("round-robin")
    }
}

impl<'de> Deserialize<'de> for BalancePolicy {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match String::deserialize(from)?.as_str() {
            "round-robin" => Ok(Self::RoundRobin),
            later @ ("capability" | "capacity" | "specifics" | "tandem" | "rules") => {
                Err(serde::de::Error::custom(format!("balance policy {later}: {}", crate::notyet::NOT_YET)))
            }
            other => Err(serde::de::Error::custom(format!("{other:?} is not a balance policy: expected round-robin"))),
        }
    }
}

impl JsonSchema for BalancePolicy {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BalancePolicy".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "enum": ["round-robin"]})
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
