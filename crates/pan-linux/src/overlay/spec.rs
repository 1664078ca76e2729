//! What partition networks should look like on this host, and what came of it.

use std::net::IpAddr;

use crate::nft::{ElementsError, NftError};
use crate::origin::OriginError;
use crate::rtnl::{Mac, RtnlError};

/// One partition network as this host should have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// VXLAN network identifier, below 2^24.
    pub vni: u32,
    /// Largest packet in bytes: the fabric's less 70 (outer IPv6, UDP, VXLAN and inner Ethernet headers).
    pub mtu: u32,
    /// Who is on other hosts.
    pub remote: Vec<RemoteEntry>,
    /// Who is here.
    pub local: Vec<LocalPort>,
}

/// An Ethernet address on another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteEntry {
    /// The Ethernet address.
    pub mac: Mac,
    /// The IP addresses it answers to, both families.
    pub addresses: Vec<IpAddr>,
    /// The host's address on the underlay. If that is this host, frames go nowhere until the port
    /// is listed under [`NetworkSpec::local`].
    pub host: IpAddr,
    /// Of two entries for one Ethernet address the one with the larger epoch counts, and an entry older
    /// than the one in force is refused.
    pub epoch: u64,
}

/// An Ethernet address on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPort {
    /// The Ethernet address.
    pub mac: Mac,
    /// The IP addresses it answers to, both families.
    pub addresses: Vec<IpAddr>,
    /// The interface that becomes a port of the bridge.
    pub port: String,
    /// Its binding's, as in [`RemoteEntry::epoch`].
    pub epoch: u64,
}

/// What [`super::Overlay::apply`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Networks that exist now.
    pub networks: usize,
    /// Requests sent to the kernel; none if everything was as it should be.
    pub changed: usize,
    /// Local ports whose interface is not there (yet).
    pub missing: Vec<String>,
    /// Remote entries refused because a newer one is in force.
    pub stale: usize,
}

/// Why partition networks could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// The kernel refused a link or an entry of a network.
    #[error("partition network {vni}")]
    Network {
        /// The network.
        vni: u32,
        /// What was refused.
        #[source]
        source: RtnlError,
    },
    /// The present state could not be read.
    #[error("read the present partition networks")]
    Read {
        /// What failed.
        #[source]
        source: RtnlError,
    },
    /// The kernel does not say whether that rule is there.
    #[error("look for the rule that keeps partition networks from the host's own network stack")]
    Look {
        /// What failed.
        #[source]
        source: ElementsError,
    },
    /// Where frames may come from is not what it should be.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The rule that keeps frames from the host's own stack was refused.
    #[error("keep partition networks from the host's own network stack")]
    Closed {
        /// What was refused.
        #[source]
        source: NftError,
    },
}

/// The name of a network's bridge.
pub fn bridge_name(vni: u32) -> String {
    format!("pb{vni}")
}

/// The name of a network's VXLAN device.
pub fn vxlan_name(vni: u32) -> String {
    format!("px{vni}")
}

/// The identifier in a bridge's name, if it is a partition network's.
pub(super) fn vni_of_bridge(name: &str) -> Option<u32> {
    let vni = name.strip_prefix("pb")?.parse().ok()?;
    (bridge_name(vni) == name).then_some(vni)
}
