//! Counting the live connections of servers. Reading the kernel's table of them takes long where there are many,
//! so it is done apart from everything else a director does.

use crate::error::Trouble;
use crate::web::Lines;
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
    /// Each with where to ask its proxy.
    units: Vec<(Unit, Netns, Option<Lines>)>,
}

impl Census {
    pub(crate) fn add(&mut self, unit: &Unit, netns: &Netns, proxy: Option<Lines>) -> Result<(), Trouble> {
        self.units.push((unit.clone(), netns.try_clone()?, proxy));
        Ok(())
    }

    /// Live connections of each server, and what could not be counted. Blocks.
    #[must_use]
    pub fn count(&self) -> (Vec<ConnectionCount>, Vec<Trouble>) {
        let (mut counts, mut troubles) = (Vec::new(), Vec::new());
        for (unit, netns, proxy) in &self.units {
            let by_address = conntrack::count_by_reply_src(netns).map_err(|source| Trouble::Count { vni: unit.vni, source });
            match by_address {
                Ok(by_address) => {
                    let of = |address: &IpAddr| by_address.get(address).copied().unwrap_or(0);
                    let requests = requests(unit, proxy.as_ref());
                    counts.extend(count(unit, of, |server| requests.get(server).copied().unwrap_or(0)));
                }
                Err(trouble) => troubles.push(trouble),
            }
        }
        (counts, troubles)
    }
}

/// Requests that servers have from a unit's proxy. Of one that does not say, each of its servers may have one; that is the partition's own trouble,
/// and holds up nobody else's counts.
fn requests(unit: &Unit, proxy: Option<&Lines>) -> BTreeMap<ServerName, u64> {
    let Some(proxy) = proxy else { return BTreeMap::new() };
    proxy.requests().unwrap_or_else(|error| {
        tracing::warn!(vni = unit.vni, %error, "the partition's proxy does not say which requests it has");
        let backends = unit.web.iter().flat_map(|web| &web.service.backends);
        backends.map(|backend| (backend.server.clone(), 1)).collect()
    })
}

/// Sums the connections of each server's addresses, and the requests that it has of a proxy.
fn count(unit: &Unit, of: impl Fn(&IpAddr) -> u64, requests: impl Fn(&ServerName) -> u64) -> Vec<ConnectionCount> {
    let servers: BTreeMap<&ServerName, &Vec<IpAddr>> =
        unit.all_services().flat_map(|service| &service.backends).map(|backend| (&backend.server, &backend.addresses)).collect();
    let one = |(server, addresses): (&ServerName, &Vec<IpAddr>)| ConnectionCount {
        partition: unit.partition.clone(),
        server: server.clone(),
        connections: addresses.iter().map(&of).sum::<u64>().saturating_add(requests(server)),
    };
    servers.into_iter().map(one).collect()
}
