//! One partition's network namespace on this director: links, addresses, routes, neighbours, and its
//! [`Tables`]. Effects only.
//!
//! Everything is taken over if it is there, so that an agent that starts again disturbs no connection.

use crate::error::Trouble;
use crate::metrics::Counts;
use crate::rules::{INSIDE, OUTSIDE};
use crate::specs::{Seat, Wiring};
use crate::tables::Tables;
use ipnet::IpNet;
use pan_linux::conntrack;
use pan_linux::netns::Netns;
use pan_linux::rtnl::{self, Link, Neighbour, Protocol, Rtnl};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the outer link of a namespace leads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outside<'a> {
    /// To clients, by an interface of the host.
    Clients(&'a str),
    /// To another namespace.
    Beside(&'a Netns),
    /// There is none.
    Nowhere,
}

/// The namespace of one partition.
#[derive(Debug)]
pub(crate) struct Namespace {
    vni: u32,
    port: String,
    netns: Netns,
    inside: Rtnl,
    tables: Tables,
    /// What somebody else changed, as far as it was seen and not yet told.
    drift: Vec<String>,
    wiring: Option<Wiring>,
    public: Option<BTreeSet<IpNet>>,
    /// Whether the public addresses set last are still those; shared with whoever announces them.
    current: Arc<AtomicBool>,
}

impl Namespace {
    /// Takes over the partition's namespace, or makes it.
    pub(crate) fn open(seat: Seat, counts: Arc<Counts>) -> Result<Self, Trouble> {
        let Seat { vni, name, port } = seat;
        let netns = if Netns::exists(&name) { Netns::open(&name)? } else { Netns::create(&name)? };
        let inside = Rtnl::open_in(&netns)?;
        let tables = Tables::open(vni, netns.try_clone()?, counts)?;
        Ok(Self { vni, port, netns, inside, tables, drift: Vec::new(), wiring: None, public: None, current: Arc::default() })
    }

    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Whether links and rules were in force at the last look.
    pub(crate) fn is_wired(&self) -> bool {
        self.wiring.is_some()
    }

    /// The rules.
    pub(crate) fn tables(&mut self) -> &mut Tables {
        &mut self.tables
    }

    /// Looks whether what was put in force still is. What is not is forgotten, so that the next [`Tables::load`],
    /// [`Self::wire`] and [`Self::set_public`] make it anew, and [`Self::take_drift`] says so once.
    pub(crate) fn look(&mut self) -> Result<(), Trouble> {
        self.tables.look()?;
        if let Some(wiring) = &self.wiring {
            let amiss = self.amiss(wiring).map_err(|source| Trouble::Wiring { vni: self.vni, source })?;
            if !amiss.is_empty() {
                self.drift.extend(amiss);
                self.wiring = None;
            }
        }
        if let Some(public) = &self.public {
            let present = self.public_addresses().map_err(|source| Trouble::Wiring { vni: self.vni, source })?;
            let differ: Vec<String> = present.symmetric_difference(public).map(|net| format!("address {}", net.addr())).collect();
            if !differ.is_empty() {
                self.drift.extend(differ);
                self.public = None;
            }
        }
        Ok(())
    }

    /// What somebody else changed since this was asked last.
    pub(crate) fn take_drift(&mut self) -> Option<Trouble> {
        let mut what = self.tables.take_drift();
        what.append(&mut self.drift);
        (!what.is_empty()).then(|| Trouble::Drifted { vni: self.vni, what: what.join(", ") })
    }

    /// Links, addresses, routes and neighbours that are not as `wiring` says.
    fn amiss(&self, wiring: &Wiring) -> rtnl::Result<Vec<String>> {
        let links = self.inside.links()?;
        let mut amiss = Vec::new();
        for (name, mac) in [(INSIDE, Some(wiring.gateway_mac)), (OUTSIDE, wiring.outside_mac)] {
            let Some(mac) = mac else { continue };
            let fine = |link: &&Link| link.name == name && link.up && link.mac == Some(mac) && (name == OUTSIDE || link.mtu == wiring.mtu);
            if !links.iter().any(|link| fine(&link)) {
                amiss.push(format!("link {name}"));
            }
        }
        let present: Vec<IpNet> = self.inside.addrs(INSIDE)?.into_iter().filter(|net| !is_link_local(net)).collect();
        let extra = present.iter().filter(|net| !wiring.gateways.contains(net));
        let lost = wiring.gateways.iter().filter(|net| !present.contains(net));
        amiss.extend(extra.chain(lost).map(|net| format!("address {net}")));
        amiss.extend(self.unconnected(wiring)?.iter().map(|net| format!("route to {}", net.trunc())));
        let routes = self.inside.routes(Protocol::Static)?;
        let lost = wiring.routes.iter().filter(|route| !routes.iter().any(|other| other.dst == route.dst && other.hops == route.hops));
        amiss.extend(lost.map(|route| format!("route to {}", route.dst)));
        let neighbours = self.inside.neighs(INSIDE)?;
        let lost = wiring.neighbours.iter().filter(|(address, mac)| !neighbours.contains(&Neighbour { address: **address, mac: **mac }));
        amiss.extend(lost.map(|(address, _)| format!("neighbour {address}")));
        Ok(amiss)
    }

    /// The gateway's addresses whose networks have lost the route that came with them.
    fn unconnected(&self, wiring: &Wiring) -> rtnl::Result<Vec<IpNet>> {
        let routes = self.inside.routes(Protocol::Kernel)?;
        let connected = |net: &IpNet| routes.iter().any(|route| route.dst == net.trunc() && route.hops.iter().any(|hop| hop.dev == INSIDE));
        Ok(wiring.gateways.iter().filter(|net| !connected(net)).copied().collect())
    }

    /// Makes links, addresses of the gateway, routes and neighbours those of `wiring`.
    pub(crate) fn wire(&mut self, host: &Rtnl, outside: Outside<'_>, wiring: &Wiring) -> Result<(), Trouble> {
        if self.wiring.as_ref() == Some(wiring) {
            return Ok(());
        }
        self.wiring = None;
        let made = self.make_links(host, outside, wiring).and_then(|()| self.set_links(wiring)).and_then(|()| self.set_neighbours(wiring));
        made.map_err(|source| Trouble::Wiring { vni: self.vni, source })?;
        self.wiring = Some(wiring.clone());
        Ok(())
    }

    fn make_links(&mut self, host: &Rtnl, outside: Outside<'_>, wiring: &Wiring) -> rtnl::Result<()> {
        let links = self.inside.links()?;
        let has = |name: &str| links.iter().any(|link| link.name == name);
        if !has(INSIDE) {
            host.delete(&self.port)?;
            host.add_veth_to(&self.port, INSIDE, &self.netns)?;
        }
        match (outside, wiring.outside_mac) {
            (Outside::Nowhere, _) | (_, None) => self.inside.delete(OUTSIDE)?,
            _ if has(OUTSIDE) => {}
            (Outside::Clients(interface), Some(mac)) => {
                // Made under a name that the host does not have: the kernel may look for it there.
                let fresh = format!("po{}", self.vni);
                if !has(&fresh) {
                    host.add_macvlan(&fresh, interface, &self.netns, mac)?;
                }
                self.inside.rename(&fresh, OUTSIDE)?;
            }
            (Outside::Beside(other), Some(_)) => {
                self.inside.add_veth_to(OUTSIDE, OUTSIDE, other)?;
                self.public = None;
            }
        }
        Ok(())
    }

    /// Takes the outer link away, and with it the other namespace's, if it leads to one.
    pub(crate) fn unplug(&mut self) -> Result<(), Trouble> {
        (self.wiring, self.public) = (None, None);
        self.inside.delete(OUTSIDE).map_err(|source| Trouble::Wiring { vni: self.vni, source })
    }

    fn set_links(&self, wiring: &Wiring) -> rtnl::Result<()> {
        let links = self.inside.links()?;
        let mac_of = |name: &str| links.iter().find(|link: &&Link| link.name == name).and_then(|link| link.mac);
        let mut batch = self.inside.batch();
        batch.set_up("lo")?;
        if mac_of(INSIDE) != Some(wiring.gateway_mac) {
            batch.set_mac(INSIDE, wiring.gateway_mac)?;
        }
        if let Some(mac) = wiring.outside_mac.filter(|mac| mac_of(OUTSIDE) != Some(*mac)) {
            batch.set_mac(OUTSIDE, mac)?;
        }
        batch.set_addrgen_none(INSIDE)?.set_mtu(INSIDE, wiring.mtu)?.set_up(INSIDE)?;
        if wiring.outside_mac.is_some() {
            batch.set_addrgen_none(OUTSIDE)?.set_up(OUTSIDE)?;
        }
        // The route to its network comes with an address, and only then.
        for gateway in self.unconnected(wiring)? {
            batch.del_addr(INSIDE, gateway)?;
        }
        for gateway in &wiring.gateways {
            batch.replace_addr(INSIDE, *gateway)?;
        }
        for old in self.inside.addrs(INSIDE)?.into_iter().filter(|old| !wiring.gateways.contains(old) && !is_link_local(old)) {
            batch.del_addr(INSIDE, old)?;
        }
        batch.commit()?;
        // A route needs its interface up, and a gateway the route to its own network.
        for route in &wiring.routes {
            self.inside.replace_route(route)?;
        }
        Ok(())
    }

    fn set_neighbours(&self, wiring: &Wiring) -> rtnl::Result<()> {
        let present = self.inside.neighs(INSIDE)?;
        let mut batch = self.inside.batch();
        for Neighbour { address, mac } in &present {
            if wiring.neighbours.get(address) != Some(mac) {
                batch.del_neigh(INSIDE, *address)?;
            }
        }
        for (address, mac) in &wiring.neighbours {
            if !present.contains(&Neighbour { address: *address, mac: *mac }) {
                batch.replace_neigh(INSIDE, *address, *mac)?;
            }
        }
        batch.commit()
    }

    /// Makes the public addresses on the outside link those given, and says which may be new there to the
    /// neighbours: all, when nobody knows what an earlier life of this agent came to announce.
    pub(crate) fn set_public(&mut self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, Trouble> {
        let wanted: BTreeSet<IpNet> = addresses.iter().copied().map(IpNet::from).collect();
        if self.public.as_ref() == Some(&wanted) {
            return Ok(Vec::new());
        }
        let known = self.public.take().unwrap_or_default();
        self.current.store(false, Ordering::Release);
        self.change_public(&wanted).map_err(|source| Trouble::Wiring { vni: self.vni, source })?;
        let fresh = wanted.difference(&known).map(IpNet::addr).collect();
        self.public = Some(wanted);
        self.current = Arc::new(AtomicBool::new(true));
        Ok(fresh)
    }

    /// True until the public addresses change again.
    pub(crate) fn current(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.current)
    }

    fn change_public(&self, wanted: &BTreeSet<IpNet>) -> rtnl::Result<()> {
        let present = self.public_addresses()?;
        let mut batch = self.inside.batch();
        for address in present.difference(wanted) {
            batch.del_addr(OUTSIDE, *address)?;
        }
        for address in wanted.difference(&present) {
            batch.replace_addr(OUTSIDE, *address)?;
        }
        batch.commit()
    }

    fn public_addresses(&self) -> rtnl::Result<BTreeSet<IpNet>> {
        Ok(self.inside.addrs(OUTSIDE)?.into_iter().filter(|net| !is_link_local(net)).collect())
    }

    /// Forgets all tracked connections to servers.
    pub(crate) fn forget(&self, servers: &BTreeSet<IpAddr>) -> Result<u64, Trouble> {
        conntrack::delete_by_reply_src(&self.netns, servers).map_err(|source| Trouble::Forget { vni: self.vni, source })
    }

    /// Removes the namespace with all that is in it. Whoever runs in it may keep it for a moment, but nothing outside hears of it any more.
    pub(crate) fn remove(host: &Rtnl, seat: &Seat) -> Result<(), Trouble> {
        let failed = |source| Trouble::Wiring { vni: seat.vni, source };
        host.delete(&seat.port).map_err(failed)?;
        if Netns::exists(&seat.name) {
            Rtnl::open_in(&Netns::open(&seat.name)?)?.delete(OUTSIDE).map_err(failed)?;
        }
        Ok(Netns::remove(&seat.name)?)
    }
}

fn is_link_local(net: &IpNet) -> bool {
    match net.addr() {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
