//! Routes to the other hosts over both fabrics.

use pan_api::desired::Desired;
use pan_linux::rtnl::Rtnl;
use pan_linux::underlay::{Peer, Underlay, UnderlaySpec};
use pan_model::host_config::HostConfig;
use pan_model::neighbours::{Limits, Room};

use crate::error::Error;

/// Keeps the routes of the namespace it was made in.
#[derive(Debug)]
pub(crate) struct Routes {
    config: HostConfig,
    rtnl: Rtnl,
    underlay: Underlay,
    room: Room,
}

impl Routes {
    pub(crate) fn new(config: &HostConfig) -> Result<Self, Error> {
        Ok(Self { config: config.clone(), rtnl: Rtnl::open()?, underlay: Underlay::new(Rtnl::open()?)?, room: Room::default() })
    }

    /// Makes the routes those of the desired state, also where the kernel lost some; returns what is wrong, for people.
    pub(crate) fn apply(&mut self, desired: &Desired) -> Option<String> {
        self.underlay.apply(&spec(&self.config, desired)).err().map(|error| error.to_string())
    }

    /// What the kernel lacks room for, for people: not enough neighbours for all other hosts.
    pub(crate) fn warning(&mut self, desired: &Desired) -> Option<String> {
        let (others, fabric) = (desired.peers.iter().count(), self.config.fabrics.a.address.addr());
        let read = |like| self.rtnl.neighbour_limits(like).ok().flatten().map(|found| Limits { soft: found.soft, hard: found.hard });
        // Whoever reports it compares it with what was reported before.
        let _news = self.room.look(others, fabric, read);
        self.room.problem()
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
