//! Routes to the other hosts over both fabrics.

use pan_api::desired::Desired;
use pan_linux::rtnl::Rtnl;
use pan_linux::underlay::{Peer, Underlay, UnderlaySpec};
use pan_model::host_config::HostConfig;

use crate::error::Error;

/// Keeps the routes of the namespace it was made in.
#[derive(Debug)]
pub(crate) struct Routes {
    config: HostConfig,
    underlay: Underlay,
}

impl Routes {
    pub(crate) fn new(config: &HostConfig) -> Result<Self, Error> {
        Ok(Self { config: config.clone(), underlay: Underlay::new(Rtnl::open()?)? })
    }

    /// Makes the routes those of the desired state, also where the kernel lost some; returns what is wrong, for people.
    pub(crate) fn apply(&mut self, desired: &Desired) -> Option<String> {
        self.underlay.apply(&spec(&self.config, desired)).err().map(|error| error.to_string())
    }
}

fn spec(config: &HostConfig, desired: &Desired) -> UnderlaySpec {
    UnderlaySpec {
        local: config.address,
        dev_a: config.fabrics.a.interface.clone(),
        dev_b: config.fabrics.b.interface.clone(),
        peers: desired.peers.iter().map(|peer| Peer { address: peer.address, a: peer.a, b: peer.b }).collect(),
    }
}
