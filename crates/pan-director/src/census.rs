//! Counting the live connections of servers. Reading the kernel's table of them takes long where there are many,
//! so it is done apart from everything else a director does.

use crate::error::Trouble;
use pan_api::desired::Unit;
use pan_api::report::ConnectionCount;
use pan_linux::conntrack;
use pan_linux::netns::Netns;
use pan_model::ServerName;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The units to count for, with their namespaces; may be sent to another thread.
#[derive(Debug, Default)]
pub struct Census {
    units: Vec<(Unit, Netns)>,
}

impl Census {
    pub(crate) fn add(&mut self, unit: &Unit, netns: &Netns) -> Result<(), Trouble> {
        self.units.push((unit.clone(), netns.try_clone()?));
        Ok(())
    }

    /// Live connections of each server, and what could not be counted. Blocks.
    #[must_use]
    pub fn count(&self) -> (Vec<ConnectionCount>, Vec<Trouble>) {
        let (mut counts, mut troubles) = (Vec::new(), Vec::new());
        for (unit, netns) in &self.units {
            match conntrack::count_by_reply_src(netns) {
                Ok(by_address) => counts.extend(count(unit, |address| by_address.get(address).copied().unwrap_or(0))),
                Err(source) => troubles.push(Trouble::Count { vni: unit.vni, source }),
            }
        }
        (counts, troubles)
    }
}

/// Sums the connections of each server's addresses.
fn count(unit: &Unit, of: impl Fn(&IpAddr) -> u64) -> Vec<ConnectionCount> {
    let servers: BTreeMap<&ServerName, &Vec<IpAddr>> =
        unit.services.iter().flat_map(|service| &service.backends).map(|backend| (&backend.server, &backend.addresses)).collect();
    let one = |(server, addresses): (&ServerName, &Vec<IpAddr>)| ConnectionCount {
        partition: unit.partition.clone(),
        server: server.clone(),
        connections: addresses.iter().map(&of).sum(),
    };
    servers.into_iter().map(one).collect()
}
