//! Forwarding entries of bridges and VXLAN devices.
//!
//! A remote Ethernet address needs two: `self` on the VXLAN device says to which host its frames go,
//! `master` on the same device says that the bridge sends them there at all (bridge(8)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::batch::ABSENT;
use super::{Batch, Mac, Result, Rtnl, format_mac};

/// `NUD_PERMANENT | NUD_NOARP`, what bridge(8) calls `permanent`.
const PERMANENT: NeighbourState = NeighbourState::Other(0x80 | 0x40);
/// `NUD_REACHABLE | NUD_NOARP`, what bridge(8) calls `static`: never ages, never moves by learning.
const STATIC: NeighbourState = NeighbourState::Other(0x02 | 0x40);
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

/// A forwarding entry as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FdbEntry {
    /// Of a VXLAN device: frames to `mac` go to the host `dst`.
    Remote {
        /// Index of the VXLAN device.
        device: u32,
        /// Whose frames.
        mac: Mac,
        /// The host's address on the underlay.
        dst: IpAddr,
    },
    /// Of a bridge, static: frames to `mac` leave by this port.
    Port {
        /// Index of the port.
        device: u32,
        /// Whose frames.
        mac: Mac,
    },
}

impl Batch<'_> {
    /// Sends frames to `mac` from the VXLAN device to the host `dst`.
    ///
    /// # Errors
    /// The interface is not there.
    pub fn fdb_replace_self(&mut self, vxlan: &str, mac: Mac, dst: IpAddr) -> Result<&mut Self> {
        let what = || format!("forward {} from {vxlan} to {dst}", format_mac(mac));
        let mut message = message(self.index(vxlan, what)?, mac, NeighbourFlags::Own);
        message.header.state = PERMANENT;
        // An address here has the underlay's family, whatever the header says.
        let bytes = match dst {
            IpAddr::V4(dst) => dst.octets().to_vec(),
            IpAddr::V6(dst) => dst.octets().to_vec(),
        };
        let dst = NeighbourAddress::Other(bytes);
        message.attributes.push(NeighbourAttribute::Destination(dst));
        Ok(self.replace_entry(message, what()))
    }

    /// Sends frames to `mac` out of a bridge port.
    ///
    /// # Errors
    /// The interface is not there.
    pub fn fdb_replace_master(&mut self, port: &str, mac: Mac) -> Result<&mut Self> {
        let what = || format!("forward {} out of {port}", format_mac(mac));
        let mut message = message(self.index(port, what)?, mac, NeighbourFlags::Controller);
        message.header.state = STATIC;
        Ok(self.replace_entry(message, what()))
    }

    /// Removes an entry of a VXLAN device. One that is not there is fine.
    ///
    /// # Errors
    /// The kernel cannot be asked for the interface.
    pub fn fdb_del_self(&mut self, vxlan: &str, mac: Mac) -> Result<&mut Self> {
        self.delete_entry(vxlan, mac, NeighbourFlags::Own)
    }

    /// Removes a bridge's entry for `mac` if it points to this port. One that is not there is fine.
    ///
    /// # Errors
    /// The kernel cannot be asked for the interface.
    pub fn fdb_del_master(&mut self, port: &str, mac: Mac) -> Result<&mut Self> {
        self.delete_entry(port, mac, NeighbourFlags::Controller)
    }

    fn replace_entry(&mut self, message: NeighbourMessage, what: String) -> &mut Self {
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.push(RouteNetlinkMessage::NewNeighbour(message), flags, &[], what)
    }

    fn delete_entry(&mut self, device: &str, mac: Mac, on: NeighbourFlags) -> Result<&mut Self> {
        // A port that left its bridge took its entries along; the kernel then says EOPNOTSUPP.
        const GONE: &[i32] = &[ABSENT[0], ABSENT[1], ABSENT[2], ABSENT[3], libc::EOPNOTSUPP];
        let Some(index) = self.index_if_any(device)? else {
            return Ok(self);
        };
        let what = format!("stop forwarding {} on {device}", format_mac(mac));
        let message = RouteNetlinkMessage::DelNeighbour(message(index, mac, on));
        Ok(self.push(message, 0, GONE, what))
    }
}

impl Rtnl {
    /// See [`Batch::fdb_replace_self`].
    ///
    /// # Errors
    /// The interface is not there, or is no VXLAN device.
    pub fn fdb_replace_self(&self, vxlan: &str, mac: Mac, dst: IpAddr) -> Result<()> {
        self.once(|batch| batch.fdb_replace_self(vxlan, mac, dst))
    }

    /// See [`Batch::fdb_replace_master`].
    ///
    /// # Errors
    /// The interface is not there, or is no bridge port.
    pub fn fdb_replace_master(&self, port: &str, mac: Mac) -> Result<()> {
        self.once(|batch| batch.fdb_replace_master(port, mac))
    }

    /// See [`Batch::fdb_del_self`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn fdb_del_self(&self, vxlan: &str, mac: Mac) -> Result<()> {
        self.once(|batch| batch.fdb_del_self(vxlan, mac))
    }

    /// See [`Batch::fdb_del_master`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn fdb_del_master(&self, port: &str, mac: Mac) -> Result<()> {
        self.once(|batch| batch.fdb_del_master(port, mac))
    }

    /// Every static forwarding entry of the namespace; the bridges' and ports' own addresses, learned
    /// entries and multicast are left out.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn fdb(&self) -> Result<Vec<FdbEntry>> {
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Bridge;
        let request = RouteNetlinkMessage::GetNeighbour(request);
        self.dump("list forwarding entries", request, |answer| match answer {
            RouteNetlinkMessage::NewNeighbour(message) => read_entry(message),
            _ => None,
        })
    }
}

fn message(index: u32, mac: Mac, on: NeighbourFlags) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.flags = on;
    message.attributes.push(NeighbourAttribute::LinkLocalAddress(mac.to_vec()));
    message
}

fn read_entry(message: NeighbourMessage) -> Option<FdbEntry> {
    let state = u16::from(message.header.state);
    let device = message.header.ifindex;
    let (mut mac, mut dst): (Option<Mac>, Option<IpAddr>) = (None, None);
    let mut of_bridge = false;
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::LinkLocalAddress(bytes) => mac = bytes.try_into().ok(),
            NeighbourAttribute::Controller(_) => of_bridge = true,
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                dst = read_ip(&bytes);
            }
            _ => {}
        }
    }
    match (dst, of_bridge) {
        (Some(dst), _) => Some(FdbEntry::Remote { device, mac: mac?, dst }),
        (None, true) if state & NUD_NOARP != 0 && state & NUD_PERMANENT == 0 => Some(FdbEntry::Port { device, mac: mac? }),
        (None, _) => None,
    }
}

fn read_ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Ipv4Addr::from(b).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).into()),
        _ => None,
    }
}
