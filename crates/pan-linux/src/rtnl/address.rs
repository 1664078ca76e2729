//! Addresses of interfaces.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::batch::ABSENT;
use super::{Batch, Result, Rtnl};

impl Batch<'_> {
    /// Gives an interface an address, or leaves it there. IPv6 addresses are usable at once: no
    /// duplicate detection is made, because addresses are handed out, not chosen.
    ///
    /// # Errors
    /// The interface is not there.
    pub fn replace_addr(&mut self, device: &str, address: IpNet) -> Result<&mut Self> {
        let what = || format!("add address {address} to {device}");
        let index = self.index(device, what)?;
        let mut message = message(index, address);
        if address.addr().is_ipv6() {
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        Ok(self.push(RouteNetlinkMessage::NewAddress(message), flags, &[], what()))
    }

    /// Takes an address from an interface. One that is not there is fine.
    ///
    /// # Errors
    /// The kernel cannot be asked for the interface.
    pub fn del_addr(&mut self, device: &str, address: IpNet) -> Result<&mut Self> {
        let Some(index) = self.index_if_any(device)? else {
            return Ok(self);
        };
        let message = RouteNetlinkMessage::DelAddress(message(index, address));
        let what = format!("remove address {address} from {device}");
        Ok(self.push(message, 0, ABSENT, what))
    }
}

impl Rtnl {
    /// See [`Batch::replace_addr`].
    ///
    /// # Errors
    /// The interface is not there, or the kernel refuses.
    pub fn replace_addr(&self, device: &str, address: IpNet) -> Result<()> {
        self.once(|batch| batch.replace_addr(device, address))
    }

    /// See [`Batch::del_addr`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn del_addr(&self, device: &str, address: IpNet) -> Result<()> {
        self.once(|batch| batch.del_addr(device, address))
    }

    /// The addresses of an interface, both families; empty if it is not there.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn addrs(&self, device: &str) -> Result<Vec<IpNet>> {
        let Some(index) = self.link_index(device)? else {
            return Ok(Vec::new());
        };
        let mut request = AddressMessage::default();
        request.header.index = index;
        let request = RouteNetlinkMessage::GetAddress(request);
        self.dump("list addresses", request, |answer| match answer {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == index => read_address(&message),
            _ => None,
        })
    }
}

fn message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    if let IpNet::V4(net) = address
        && net.prefix_len() < 31
        && net.addr() != Ipv4Addr::LOCALHOST
    {
        message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
    }
    message
}

fn read_address(message: &AddressMessage) -> Option<IpNet> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            // On point-to-point links Address is the far end and Local ours; elsewhere IPv6 has
            // Address only.
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            _ => {}
        }
    }
    IpNet::new(found?, message.header.prefix_len).ok()
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
