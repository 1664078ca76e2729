//! Routes of the main table, with one or several next hops.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteNextHop, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::address::family;
use super::batch::ABSENT;
use super::{Batch, Result, Rtnl, RtnlError};

/// A unicast route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to; `0.0.0.0/0` and `::/0` are the default routes.
    pub dst: IpNet,
    /// The source address packets of this host get.
    pub src: Option<IpAddr>,
    /// The ways there. Several share the traffic by flow (ECMP).
    pub hops: Vec<Hop>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// TCP's smallest retransmission timeout on this route, in whole milliseconds.
    pub rto_min: Option<Duration>,
}

/// One way to a destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The gateway; none if the destination is on the link.
    pub via: Option<IpAddr>,
    /// The interface.
    pub dev: String,
}

/// Who put a route in; the kernel keeps this number with the route (`RTA_PROTOCOL` in rtnetlink(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The kernel's own, which comes with an address.
    Kernel,
    /// An administrator's.
    Static,
    /// Host-to-host routes over the fabrics, number 80.
    Fabric,
}

impl Protocol {
    fn number(self) -> RouteProtocol {
        match self {
            Protocol::Kernel => RouteProtocol::Kernel,
            Protocol::Static => RouteProtocol::Static,
            // Not in rt_protos; between keepalived's 18, babel's 42 and the routing daemons' 186 up.
            Protocol::Fabric => RouteProtocol::Other(80),
        }
    }
}

impl Batch<'_> {
    /// Puts a route in, or changes the one to the same destination.
    ///
    /// # Errors
    /// No hop is given, or a hop's interface is not there.
    pub fn replace_route(&mut self, route: &Route, protocol: Protocol) -> Result<&mut Self> {
        let what = || format!("route to {}", route.dst);
        let mut message = RouteMessage::default();
        message.header = header(route.dst);
        message.header.protocol = protocol.number();
        message.header.kind = RouteType::Unicast;
        message.header.scope = RouteScope::Universe;
        let attributes = &mut message.attributes;
        push_destination(attributes, route.dst);
        attributes.extend(route.src.map(|src| RouteAttribute::PrefSource(src.into())));
        let metrics = metrics(route);
        if !metrics.is_empty() {
            attributes.push(RouteAttribute::Metrics(metrics));
        }
        match route.hops.as_slice() {
            [] => {
                let reason = "expected at least one hop";
                return Err(RtnlError::Invalid { what: what(), reason });
            }
            [hop] => {
                let index = self.index(&hop.dev, what)?;
                if hop.via.is_none() && route.dst.addr().is_ipv4() {
                    message.header.scope = RouteScope::Link;
                }
                let attributes = &mut message.attributes;
                attributes.extend(hop.via.map(|via| RouteAttribute::Gateway(via.into())));
                attributes.push(RouteAttribute::Oif(index));
            }
            hops => {
                let mut ways = Vec::with_capacity(hops.len());
                for hop in hops {
                    let mut way = RouteNextHop::default();
                    way.interface_index = self.index(&hop.dev, what)?;
                    way.attributes.extend(hop.via.map(|via| RouteAttribute::Gateway(via.into())));
                    ways.push(way);
                }
                message.attributes.push(RouteAttribute::MultiPath(ways));
            }
        }
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        Ok(self.push(RouteNetlinkMessage::NewRoute(message), flags, &[], what()))
    }

    /// Removes the route to a destination. One that is not there is fine.
    pub fn del_route(&mut self, dst: IpNet) -> &mut Self {
        let mut message = RouteMessage::default();
        message.header = header(dst);
        // "Nowhere" stands for any scope in a request to delete.
        message.header.scope = RouteScope::NoWhere;
        push_destination(&mut message.attributes, dst);
        let what = format!("remove the route to {dst}");
        self.push(RouteNetlinkMessage::DelRoute(message), 0, ABSENT, what)
    }
}

impl Rtnl {
    /// Puts a static route in, or changes the one to the same destination.
    ///
    /// # Errors
    /// No hop is given, an interface is not there, or the kernel refuses.
    pub fn replace_route(&self, route: &Route) -> Result<()> {
        self.once(|batch| batch.replace_route(route, Protocol::Static))
    }

    /// See [`Batch::del_route`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn del_route(&self, dst: IpNet) -> Result<()> {
        self.once(|batch| Ok(batch.del_route(dst)))
    }

    /// The routes of one owner in the main table, both families.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn routes(&self, protocol: Protocol) -> Result<Vec<Route>> {
        let names = self.link_names()?;
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            request.header.table = RouteHeader::RT_TABLE_MAIN;
            request.header.protocol = protocol.number();
            let request = RouteNetlinkMessage::GetRoute(request);
            let found = self.dump("list routes", request, |answer| match answer {
                RouteNetlinkMessage::NewRoute(message) if message.header.protocol == protocol.number() => {
                    read_route(message, |index| names.get(&index).cloned())
                }
                _ => None,
            });
            match found {
                Ok(found) => routes.extend(found),
                // The kernel makes the table with the first route in it.
                Err(error) if error.errno() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(routes)
    }
}

fn header(dst: IpNet) -> RouteHeader {
    RouteHeader {
        address_family: family(dst.addr()),
        destination_prefix_length: dst.prefix_len(),
        table: RouteHeader::RT_TABLE_MAIN,
        ..RouteHeader::default()
    }
}

fn push_destination(attributes: &mut Vec<RouteAttribute>, dst: IpNet) {
    if dst.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(dst.network().into()));
    }
}

/// The metric's number in `linux/rtnetlink.h`, which is its bit in the lock metric.
const RTAX_RTO_MIN: u32 = 13;

fn metrics(route: &Route) -> Vec<RouteMetric> {
    let rto_min = route.rto_min.map(|least| u32::try_from(least.as_millis()).unwrap_or(u32::MAX));
    // TCP heeds a route's minimum only when the route locks it (tcp_rto_min in net/ipv4/tcp.c).
    let lock = rto_min.map(|_| RouteMetric::Lock(1 << RTAX_RTO_MIN));
    [lock, route.mtu.map(RouteMetric::Mtu), rto_min.map(RouteMetric::RtoMin)].into_iter().flatten().collect()
}

fn read_route(message: RouteMessage, name: impl Fn(u32) -> Option<String>) -> Option<Route> {
    let unspecified: IpAddr = match message.header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let mut dst = unspecified;
    let (mut src, mut mtu, mut rto_min) = (None, None, None);
    let (mut gateway, mut device) = (None, None);
    let mut hops = Vec::new();
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => dst = read_ip(&address)?,
            RouteAttribute::PrefSource(address) => src = read_ip(&address),
            RouteAttribute::Gateway(address) => gateway = read_ip(&address),
            RouteAttribute::Oif(index) => device = name(index),
            RouteAttribute::MultiPath(ways) => {
                hops.extend(ways.iter().filter_map(|way| read_hop(way, &name)));
            }
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric {
                        RouteMetric::Mtu(bytes) => mtu = Some(bytes),
                        RouteMetric::RtoMin(ms) => rto_min = Some(Duration::from_millis(ms.into())),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if hops.is_empty() {
        hops.extend(device.map(|dev| Hop { via: gateway, dev }));
    }
    Some(Route { dst: IpNet::new(dst, message.header.destination_prefix_length).ok()?, src, hops, mtu, rto_min })
}

fn read_hop(way: &RouteNextHop, name: impl Fn(u32) -> Option<String>) -> Option<Hop> {
    let via = way.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => read_ip(address),
        _ => None,
    });
    Some(Hop { via, dev: name(way.interface_index)? })
}

fn read_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
