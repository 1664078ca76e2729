//! A server's network namespace and the cable into it. The host's end stays down and on no bridge until
//! the server runs; the server's end has its addresses and routes at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use pan_api::desired::ServerOrder;
use pan_linux::allow::Allow;
use pan_linux::netns::Netns;
use pan_linux::rtnl::{Hop, Protocol, Route, Rtnl};
use pan_linux::sysctl;
use pan_linux::userns::IdRange;

use super::ApplyError;
use crate::host::Host;
use crate::names::{self, DEVICE};
use crate::server::record::Cable;
use crate::users::UserSpace;

/// TCP waits 200 ms otherwise before it sends again, which is most of the gap when a peer moves.
const RTO_MIN: Duration = Duration::from_millis(20);

/// Addresses are handed out, so nothing is to be detected, solicited or made up; see the kernel's
/// Documentation/networking/ip-sysctl.rst.
const SETTINGS: [(&str, &str); 6] = [
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/autoconf", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
];

/// Makes namespace and cable, unless both are there from an earlier start under the same binding.
pub(super) fn make(host: &Host, order: &ServerOrder, cable: &Cable, users: &UserSpace) -> Result<(), ApplyError> {
    let (netns, port) = (names::netns(&order.key), names::port(&order.key));
    if Netns::exists(&netns) && host.rtnl.link_index(&port)?.is_some() {
        // Not so after the start of an agent that gave servers no user namespace, which ran until now.
        if users.open.owns(Netns::open(&netns)?).map_err(ApplyError::Owner)? {
            return Ok(());
        }
        host.network.detach(&port);
    }
    remove(host, order)?;
    match fill(host, order, cable, users) {
        Ok(()) => Ok(()),
        Err(error) => {
            // Half a cable would be taken for a whole one by the next start.
            if let Err(again) = remove(host, order) {
                tracing::warn!(error = crate::error::chain(&again), netns, "half a cable stays behind");
            }
            Err(error)
        }
    }
}

/// Removes both. Nothing there is fine.
pub(super) fn remove(host: &Host, order: &ServerOrder) -> Result<(), ApplyError> {
    host.rtnl.delete(&names::port(&order.key))?;
    Ok(Netns::remove(&names::netns(&order.key))?)
}

fn fill(host: &Host, order: &ServerOrder, cable: &Cable, users: &UserSpace) -> Result<(), ApplyError> {
    let port = &names::port(&order.key);
    let space = Netns::create_in(&names::netns(&order.key), &users.open)?;
    space.run(|| {
        SETTINGS.iter().try_for_each(|(key, value)| sysctl::set(None, key, value))?;
        sysctl::set(None, "net/ipv4/ping_group_range", &everybody(users.named.ids))
    })??;
    host.rtnl.add_veth_numbered(port, port_number(crate::boot::random().map_err(ApplyError::Random)?), DEVICE, &space)?;
    let mut outside = host.rtnl.batch();
    outside.set_addrgen_none(port)?.set_mtu(port, cable.mtu)?;
    outside.commit()?;

    if order.allow.is_some() {
        // Who may speak to it is said before its port is opened. What takes a process is done here, where nobody waits for a failover.
        Allow::open(space.try_clone()?)?.apply(Some(&[]))?;
    }
    let nets = order.addresses.iter().map(|address| net_of(*address, cable)).collect::<Result<Vec<_>, _>>()?;
    let inside = Rtnl::open_in(&space)?;
    let mut batch = inside.batch();
    batch.set_up("lo")?.set_addrgen_none(DEVICE)?.set_mac(DEVICE, order.mac.0)?.set_mtu(DEVICE, cable.mtu)?;
    for net in &nets {
        batch.replace_addr(DEVICE, *net)?;
    }
    batch.set_up(DEVICE)?;
    batch.commit()?;

    let mut batch = inside.batch();
    for net in &nets {
        // The kernel's own IPv6 route has a better metric and would win over one put beside it.
        if net.addr().is_ipv6() {
            batch.del_route(net.trunc());
        }
        batch.replace_route(&route(net.trunc(), None, Some(RTO_MIN)), Protocol::Static)?;
    }
    for gateway in &cable.gateways {
        let reached = nets.iter().any(|net| net.contains(gateway));
        if reached {
            batch.replace_route(&route(everywhere(*gateway), Some(*gateway), None), Protocol::Static)?;
        }
    }
    Ok(batch.commit()?)
}

/// The number of the host's end, which the server sees as its peer's (`eth0@if…`): the kernel's own would count what is and was started
/// on the node, whoever it is of. Above what the kernel counts up to; one that is taken already, which is one in 2^30, is drawn anew
/// with the next attempt to start.
fn port_number(drawn: u64) -> u32 {
    const COUNTED: u32 = 1 << 24;
    COUNTED + (drawn as u32 & ((1 << 30) - 1))
}

/// All groups of a server: any of its programs may send echo requests, for which it would need `NET_RAW` otherwise. See icmp(7).
fn everybody(ids: IdRange) -> String {
    format!("{} {}", ids.outside(0), ids.outside(ids.count - 1))
}

fn route(dst: IpNet, via: Option<IpAddr>, rto_min: Option<Duration>) -> Route {
    Route { dst, src: None, hops: vec![Hop { via, dev: DEVICE.into() }], mtu: None, rto_min }
}

fn everywhere(like: IpAddr) -> IpNet {
    let all = match like {
        IpAddr::V4(_) => IpNet::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => IpNet::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    };
    all.expect("a prefix length of zero is valid")
}

/// The address with the prefix length of the partition's network it lies in.
fn net_of(address: IpAddr, cable: &Cable) -> Result<IpNet, ApplyError> {
    let subnet = cable.subnets.iter().find(|subnet| subnet.0.contains(&address));
    let subnet = subnet.ok_or(ApplyError::Address { address })?;
    Ok(IpNet::new(address, subnet.0.prefix_len()).expect("the prefix length is one of the same family"))
}
