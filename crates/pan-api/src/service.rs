//! Service as the API shows it.

use crate::certificate::CertificateFacts;
use pan_model::service::BackendState;
use pan_model::{PartitionName, ServerName, ServiceName, ServiceSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its partition.
    pub partition: PartitionName,
    /// Its name.
    pub name: ServiceName,
    /// Its first public address.
    pub address: IpAddr,
    /// All its public addresses.
    pub addresses: Vec<IpAddr>,
    /// Its public port.
    pub port: u16,
    /// The director that owns the address (PAN roles only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub director: Option<String>,
    /// The servers behind it.
    pub backends: Vec<Backend>,
    /// `ready` when every director's tables hold every healthy backend and there is at least one.
    pub state: ServiceState,
    /// The partitions that may import it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<Export>,
    /// In a laboratory: the address to use from the machine's own shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<IpAddr>,
    /// What its certificates say, the first first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateFacts>,
    /// What was asked for, without keys.
    pub spec: ServiceSpec,
}

/// A partition that may import a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// Its name, as the service says it; there need not be one.
    pub partition: PartitionName,
    /// Whether it imports the service. It does not where that partition is not there.
    pub in_force: bool,
    /// What its connections come from: addresses of the service's own partition that stand for its imports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

/// A server behind a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backend {
    /// The server.
    pub server: ServerName,
    /// Whether it takes connections.
    pub state: BackendState,
    /// Its share.
    pub weight: u32,
    /// Connections it has now.
    pub connections: u64,
}

/// State of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// Connections are answered and the tables are up to date.
    Ready,
    /// The directors' tables lag behind.
    Progressing,
    /// No backend is up.
    Down,
}
