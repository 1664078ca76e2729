//! Server as the API shows it.

use pan_model::server::ServerState;
use pan_model::{ClusterName, Epoch, Mac, PartitionName, ServerName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Its partition.
    pub partition: PartitionName,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its name.
    pub name: ServerName,
    /// Its first address.
    pub address: IpAddr,
    /// All its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Its MAC address.
    pub mac: Mac,
    /// The node it is bound to (PAN roles) or an opaque failure domain.
    pub node: Option<String>,
    /// The epoch of its binding; grows with each.
    pub epoch: Epoch,
    /// What it is doing.
    pub state: ServerState,
    /// Times it was started again without being asked to.
    pub restarts: u64,
    /// When it entered this state, RFC 3339.
    pub since: String,
    /// Whether its cluster's protection covers it at present.
    pub protected: bool,
    /// What the state is about, when there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
