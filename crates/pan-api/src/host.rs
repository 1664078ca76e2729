//! Host as the API shows it.

use pan_model::HostName;
use pan_model::host::{Fabrics, Role};
use pan_model::node::NodeState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// Its name.
    pub name: HostName,
    /// Its roles.
    pub roles: Vec<Role>,
    /// As of its heartbeats: `joining`, `alive`, `suspect` or `dead`.
    pub state: NodeState,
    /// On which fabrics it is heard.
    pub fabrics: Fabrics,
    /// The version of its agent.
    pub version: String,
    /// Its address on the fabrics.
    pub address: IpAddr,
    /// Whether its agent reports (its heartbeats come from another process).
    pub agent: bool,
}
