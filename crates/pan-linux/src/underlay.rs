//! Host-to-host routes over the two fabrics, level-triggered: what should be is compared with the
//! kernel's own table each time, so nothing is remembered and any drift is put right.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::rtnl::{Hop, Protocol, Route, Rtnl, RtnlError};
use crate::sysctl::{self, SysctlError};

/// Another host, and where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its host address, the same over both fabrics.
    pub address: IpAddr,
    /// Its address on fabric A; none while that way is down or absent.
    pub a: Option<IpAddr>,
    /// Its address on fabric B; none while that way is down or absent.
    pub b: Option<IpAddr>,
}

/// What the routes of this host should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderlaySpec {
    /// This host's own address, put on `lo`.
    pub local: IpAddr,
    /// The interface on fabric A.
    pub dev_a: String,
    /// The interface on fabric B.
    pub dev_b: String,
    /// Every other host.
    pub peers: Vec<Peer>,
}

/// Why the routes could not be set.
#[derive(Debug, thiserror::Error)]
pub enum UnderlayError {
    /// An address or a route was refused.
    #[error("host-to-host routes")]
    Rtnl(#[from] RtnlError),
    /// A kernel setting was refused.
    #[error("kernel settings for host-to-host routes")]
    Sysctl(#[from] SysctlError),
}

/// Flows are spread over both fabrics by addresses and ports, and a route over a fabric without
/// carrier is not used.
const SETTINGS: [(&str, &str); 4] = [
    ("net/ipv4/fib_multipath_hash_policy", "1"),
    ("net/ipv6/fib_multipath_hash_policy", "1"),
    ("net/ipv4/conf/all/ignore_routes_with_linkdown", "1"),
    ("net/ipv6/conf/all/ignore_routes_with_linkdown", "1"),
];

/// The keeper of one host's fabric routes.
#[derive(Debug)]
pub struct Underlay {
    rtnl: Rtnl,
}

impl Underlay {
    /// Prepares the namespace that `rtnl` is bound to: hashing by layer 4, dead links not used.
    ///
    /// # Errors
    /// A kernel setting is refused.
    pub fn new(rtnl: Rtnl) -> Result<Underlay, UnderlayError> {
        for (key, value) in SETTINGS {
            sysctl::set(Some(rtnl.netns()), key, value)?;
        }
        Ok(Underlay { rtnl })
    }

    /// Makes the kernel's fabric routes those of `spec` and returns how many were changed. A peer
    /// with no way left keeps the route it has: better a route that may heal than none.
    ///
    /// # Errors
    /// The local address or a route was refused; the others were set all the same.
    pub fn apply(&mut self, spec: &UnderlaySpec) -> Result<usize, UnderlayError> {
        let links = self.rtnl.links()?;
        let is_up = |device: &str| links.iter().any(|link| link.up && link.name == device);
        self.prepare_devices(spec, &is_up)?;
        let present = self.rtnl.routes(Protocol::Fabric)?;
        let (wanted, kept) = wanted_routes(spec, &is_up);

        // By destination: every host of a large PAN looks at its thousands of routes once a second.
        let mut by_dst: BTreeMap<IpNet, Vec<&Route>> = BTreeMap::new();
        for old in &present {
            by_dst.entry(old.dst).or_default().push(old);
        }
        let listed: BTreeSet<IpNet> = wanted.iter().map(|route| route.dst).chain(kept).collect();
        let mut batch = self.rtnl.batch();
        for old in present.iter().filter(|old| !listed.contains(&old.dst)) {
            batch.del_route(old.dst);
        }
        for route in &wanted {
            if !by_dst.get(&route.dst).is_some_and(|there| there.iter().any(|old| same(old, route))) {
                batch.replace_route(route, Protocol::Fabric)?;
            }
        }
        let changed = batch.len();
        batch.commit()?;
        Ok(changed)
    }

    fn prepare_devices(&self, spec: &UnderlaySpec, is_up: &impl Fn(&str) -> bool) -> Result<(), UnderlayError> {
        if !is_up("lo") {
            self.rtnl.set_up("lo")?;
        }
        let local = host_net(spec.local);
        if !self.rtnl.addrs("lo")?.contains(&local) {
            self.rtnl.replace_addr("lo", local)?;
        }
        // An answer may come back over the other fabric; strict reverse-path filtering drops it.
        for device in [&spec.dev_a, &spec.dev_b].into_iter().filter(|dev| is_up(dev)) {
            let key = format!("net/ipv4/conf/{device}/rp_filter");
            if sysctl::get(Some(self.rtnl.netns()), &key)? != "2" {
                sysctl::set(Some(self.rtnl.netns()), &key, "2")?;
            }
        }
        Ok(())
    }
}

/// The routes to have, and the destinations whose present route, if any, is to be left alone.
fn wanted_routes(spec: &UnderlaySpec, is_up: &impl Fn(&str) -> bool) -> (Vec<Route>, Vec<IpNet>) {
    let (mut wanted, mut kept) = (Vec::new(), Vec::new());
    for peer in &spec.peers {
        if peer.address == spec.local {
            continue;
        }
        let ways = [(&spec.dev_a, peer.a), (&spec.dev_b, peer.b)];
        let hops: Vec<Hop> = ways
            .into_iter()
            .filter(|(device, _)| is_up(device))
            .filter_map(|(device, via)| Some(Hop { via: Some(via?), dev: device.clone() }))
            .collect();
        let dst = host_net(peer.address);
        if hops.is_empty() {
            kept.push(dst);
            continue;
        }
        wanted.push(Route { dst, src: Some(spec.local), hops, mtu: None, rto_min: None });
    }
    (wanted, kept)
}

/// Equal but for the order of the hops, which the kernel may change.
fn same(a: &Route, b: &Route) -> bool {
    let sorted = |route: &Route| {
        let mut hops = route.hops.clone();
        hops.sort();
        Route { hops, ..route.clone() }
    };
    sorted(a) == sorted(b)
}

fn host_net(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(a: Option<&str>, b: Option<&str>) -> UnderlaySpec {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        UnderlaySpec {
            local: ip("10.200.0.1"),
            dev_a: "fa".into(),
            dev_b: "fb".into(),
            peers: vec![Peer { address: ip("10.200.0.2"), a: a.map(ip), b: b.map(ip) }],
        }
    }

    fn devices(spec: &UnderlaySpec, up: &[&str]) -> Vec<String> {
        let (wanted, kept) = wanted_routes(spec, &|device| up.contains(&device));
        assert_eq!(wanted.len() + kept.len(), 1);
        let hops = wanted.into_iter().flat_map(|route| route.hops);
        hops.map(|hop| hop.dev).collect()
    }

    #[test]
    fn a_route_takes_the_ways_that_are_up_on_both_sides() {
        let (a, b) = (Some("10.201.0.2"), Some("10.202.0.2"));
        assert_eq!(devices(&spec(a, b), &["fa", "fb"]), ["fa", "fb"]);
        assert_eq!(devices(&spec(None, b), &["fa", "fb"]), ["fb"]);
        assert_eq!(devices(&spec(a, b), &["fa"]), ["fa"]);
        assert_eq!(devices(&spec(a, None), &["fb"]), [""; 0]);
        assert_eq!(devices(&spec(None, None), &["fa", "fb"]), [""; 0]);
    }
}
