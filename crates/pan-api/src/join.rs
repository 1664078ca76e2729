//! How a machine becomes a host: what it sends, and what it gets back.

use pan_model::HostName;
use pan_model::host::Role;
use pan_model::host_config::PeerAddress;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// `POST /v1/join`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The id of its token.
    pub token: String,
    /// The token's secret, 64 hexadecimal digits.
    pub secret: String,
    /// The name it believes to have; the token is good for one only.
    pub host: HostName,
    /// A certificate signing request of its own key, PEM.
    pub request: String,
    /// Its address on `lo`.
    pub address: IpAddr,
    /// Its address on fabric A.
    pub a: IpAddr,
    /// Its address on fabric B.
    pub b: IpAddr,
}

/// What makes it a host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// Its roles.
    pub roles: Vec<Role>,
    /// The PAN's authority, PEM.
    pub ca: String,
    /// Its certificate, PEM.
    pub cert: String,
    /// The keys of its heartbeats, the one to use first; 64 hexadecimal digits each.
    pub keys: Vec<String>,
    /// Those from which everybody's are derived, for those who judge others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pan_keys: Vec<String>,
    /// Timing profile.
    pub profile: String,
    /// Where the controllers are.
    pub controllers: Vec<Place>,
    /// The hosts that grant leases.
    pub lessors: Vec<Place>,
    /// The directors.
    pub directors: Vec<Place>,
}

/// `POST /internal/v1/renew`: a host wants its certificate anew, with the roles it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// [`crate::WIRE_VERSION`].
    pub version: u16,
    /// Which host.
    pub host: HostName,
    /// A certificate signing request of its key, PEM.
    pub request: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// The certificate, PEM.
    pub cert: String,
}

/// Where another host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// Its name.
    pub name: HostName,
    /// Its host address.
    pub address: IpAddr,
    /// Its address on fabric A.
    pub a: IpAddr,
    /// Its address on fabric B.
    pub b: IpAddr,
}

impl From<&PeerAddress> for Place {
    fn from(peer: &PeerAddress) -> Self {
        Self { name: peer.name.clone(), address: peer.address, a: peer.a, b: peer.b }
    }
}

impl From<Place> for PeerAddress {
    fn from(place: Place) -> Self {
        Self { name: place.name, address: place.address, a: place.a, b: place.b }
    }
}

/// Without the secret: what is printed ends up in logs.
impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Join({} with {})", self.host, self.token)
    }
}

/// Without the keys.
impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Joined({:?})", self.roles)
    }
}
