//! Permanent neighbour entries: which Ethernet address an IP address has.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::address::family;
use super::batch::ABSENT;
use super::{Batch, Mac, Result, Rtnl};

/// A permanent neighbour entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Neighbour {
    /// The IP address.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: Mac,
}

impl Batch<'_> {
    /// Makes `mac` the permanent Ethernet address of `address` on `device`.
    ///
    /// # Errors
    /// The interface is not there.
    pub fn replace_neigh(&mut self, device: &str, address: IpAddr, mac: Mac) -> Result<&mut Self> {
        let what = || format!("neighbour {address} on {device}");
        let mut message = message(self.index(device, what)?, address);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLocalAddress(mac.to_vec()));
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        Ok(self.push(RouteNetlinkMessage::NewNeighbour(message), flags, &[], what()))
    }

    /// Removes a neighbour. One that is not there is fine.
    ///
    /// # Errors
    /// The kernel cannot be asked for the interface.
    pub fn del_neigh(&mut self, device: &str, address: IpAddr) -> Result<&mut Self> {
        let Some(index) = self.index_if_any(device)? else {
            return Ok(self);
        };
        let message = RouteNetlinkMessage::DelNeighbour(message(index, address));
        let what = format!("remove neighbour {address} from {device}");
        Ok(self.push(message, 0, ABSENT, what))
    }
}

impl Rtnl {
    /// See [`Batch::replace_neigh`].
    ///
    /// # Errors
    /// The interface is not there, or the kernel refuses.
    pub fn replace_neigh(&self, device: &str, address: IpAddr, mac: Mac) -> Result<()> {
        self.once(|batch| batch.replace_neigh(device, address, mac))
    }

    /// See [`Batch::del_neigh`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn del_neigh(&self, device: &str, address: IpAddr) -> Result<()> {
        self.once(|batch| batch.del_neigh(device, address))
    }

    /// The permanent neighbours of an interface, both families; empty if it is not there.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn neighs(&self, device: &str) -> Result<Vec<Neighbour>> {
        let Some(index) = self.link_index(device)? else {
            return Ok(Vec::new());
        };
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Unspec;
        request.attributes.push(NeighbourAttribute::IfIndex(index));
        let request = RouteNetlinkMessage::GetNeighbour(request);
        self.dump("list neighbours", request, |answer| match answer {
            RouteNetlinkMessage::NewNeighbour(message)
                if message.header.ifindex == index && message.header.state == NeighbourState::Permanent =>
            {
                read_neighbour(message)
            }
            _ => None,
        })
    }
}

fn message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message
}

fn read_neighbour(message: NeighbourMessage) -> Option<Neighbour> {
    let (mut address, mut mac) = (None, None);
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                address = Some(ip.into());
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                address = Some(ip.into());
            }
            NeighbourAttribute::LinkLocalAddress(bytes) => mac = bytes.try_into().ok(),
            _ => {}
        }
    }
    Some(Neighbour { address: address?, mac: mac? })
}
