//! One partition's network namespace on this director: rules, settings, links, addresses. Effects only.
//!
//! Everything is taken over if it is there, so that an agent that starts again disturbs no connection.

use crate::error::Trouble;
use crate::rules::{INSIDE, OUTSIDE};
use crate::ruleset::Ruleset;
use crate::specs::{Wiring, gateway_port, namespace_name};
use ipnet::IpNet;
use pan_linux::netns::Netns;
use pan_linux::rtnl::{self, Link, Neighbour, Rtnl};
use pan_linux::{conntrack, nft, sysctl};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// Settings of the namespace, in force before it has links. Forwarding, and connections that were accepted by
/// another director are taken up mid-stream whatever their windows; nobody is redirected, and an address is
/// answered for only on the link it is on: the partition's own must not show outside.
const SETTINGS: [(&str, &str); 13] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/netfilter/nf_conntrack_tcp_loose", "1"),
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
];

/// The namespace of one partition.
#[derive(Debug)]
pub(crate) struct Namespace {
    vni: u32,
    netns: Netns,
    inside: Rtnl,
    /// What is known to be loaded; unknown at first and after an error.
    rules: Option<Ruleset>,
    wiring: Option<Wiring>,
    public: Option<BTreeSet<IpNet>>,
}

impl Namespace {
    /// Takes over the partition's namespace, or makes it.
    pub(crate) fn open(vni: u32) -> Result<Self, Trouble> {
        let name = namespace_name(vni);
        let netns = if Netns::exists(&name) { Netns::open(&name)? } else { Netns::create(&name)? };
        let inside = Rtnl::open_in(&netns)?;
        Ok(Self { vni, netns, inside, rules: None, wiring: None, public: None })
    }

    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Whether links and rules were in force at the last look.
    pub(crate) fn is_wired(&self) -> bool {
        self.wiring.is_some()
    }

    /// Whether the rules loaded are known.
    pub(crate) fn is_loaded(&self) -> bool {
        self.rules.is_some()
    }

    /// Loads the rules if they are not loaded. Live connections go on.
    pub(crate) fn load(&mut self, rules: Ruleset) -> Result<(), Trouble> {
        let script = match &self.rules {
            Some(loaded) => loaded.update(&rules),
            None => rules.replace(),
        };
        if script.is_empty() {
            return Ok(());
        }
        let first = self.rules.take().is_none();
        nft::load(Some(&self.netns), &script).map_err(|source| Trouble::Rules { vni: self.vni, source })?;
        if first {
            // Connection tracking has settings only once there are rules that need it.
            for (key, value) in SETTINGS {
                sysctl::set(Some(&self.netns), key, value)?;
            }
        }
        self.rules = Some(rules);
        Ok(())
    }

    /// Makes links, addresses of the gateway, routes and neighbours those of `wiring`.
    pub(crate) fn wire(&mut self, host: &Rtnl, interface: &str, wiring: &Wiring) -> Result<(), Trouble> {
        if self.wiring.as_ref() == Some(wiring) {
            return Ok(());
        }
        self.wiring = None;
        let made =
            self.make_links(host, interface, wiring).and_then(|()| self.set_links(wiring)).and_then(|()| self.set_neighbours(wiring));
        made.map_err(|source| Trouble::Wiring { vni: self.vni, source })?;
        self.wiring = Some(wiring.clone());
        Ok(())
    }

    fn make_links(&self, host: &Rtnl, interface: &str, wiring: &Wiring) -> rtnl::Result<()> {
        let links = self.inside.links()?;
        let has = |name: &str| links.iter().any(|link| link.name == name);
        if !has(INSIDE) {
            let port = gateway_port(self.vni);
            host.delete(&port)?;
            host.add_veth_to(&port, INSIDE, &self.netns)?;
        }
        if !has(OUTSIDE) {
            // Made under a name that the host does not have: the kernel may look for it there.
            let fresh = format!("po{}", self.vni);
            if !has(&fresh) {
                host.add_macvlan(&fresh, interface, &self.netns, wiring.outside_mac)?;
            }
            self.inside.rename(&fresh, OUTSIDE)?;
        }
        Ok(())
    }

    fn set_links(&self, wiring: &Wiring) -> rtnl::Result<()> {
        let links = self.inside.links()?;
        let mac_of = |name: &str| links.iter().find(|link: &&Link| link.name == name).and_then(|link| link.mac);
        let mut batch = self.inside.batch();
        batch.set_up("lo")?;
        if mac_of(INSIDE) != Some(wiring.gateway_mac) {
            batch.set_mac(INSIDE, wiring.gateway_mac)?;
        }
        batch.set_addrgen_none(INSIDE)?.set_mtu(INSIDE, wiring.mtu)?.set_up(INSIDE)?;
        batch.set_addrgen_none(OUTSIDE)?.set_up(OUTSIDE)?;
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
        self.change_public(&wanted).map_err(|source| Trouble::Wiring { vni: self.vni, source })?;
        let fresh = wanted.difference(&known).map(IpNet::addr).collect();
        self.public = Some(wanted);
        Ok(fresh)
    }

    fn change_public(&self, wanted: &BTreeSet<IpNet>) -> rtnl::Result<()> {
        let present: BTreeSet<IpNet> = self.inside.addrs(OUTSIDE)?.into_iter().filter(|net| !is_link_local(net)).collect();
        let mut batch = self.inside.batch();
        for address in present.difference(wanted) {
            batch.del_addr(OUTSIDE, *address)?;
        }
        for address in wanted.difference(&present) {
            batch.replace_addr(OUTSIDE, *address)?;
        }
        batch.commit()
    }

    /// Forgets tracked connections to a server.
    pub(crate) fn forget(&self, address: IpAddr) -> Result<u64, Trouble> {
        conntrack::delete_by_reply_src(&self.netns, address).map_err(|source| Trouble::Forget { address, source })
    }

    /// Live connections by server address.
    pub(crate) fn connections(&self) -> Result<HashMap<IpAddr, u64>, Trouble> {
        conntrack::count_by_reply_src(&self.netns).map_err(|source| Trouble::Count { vni: self.vni, source })
    }

    /// Removes the namespace with all that is in it.
    pub(crate) fn remove(host: &Rtnl, vni: u32) -> Result<(), Trouble> {
        host.delete(&gateway_port(vni)).map_err(|source| Trouble::Wiring { vni, source })?;
        Ok(Netns::remove(&namespace_name(vni))?)
    }
}

fn is_link_local(net: &IpNet) -> bool {
    match net.addr() {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
