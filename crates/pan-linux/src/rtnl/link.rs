//! Links: bridges, veth pairs, VXLAN and macvlan devices, and what they are set to.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoMacVlan, InfoPortData, InfoPortKind,
    InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use super::batch::ABSENT;
use super::{Batch, Mac, Result, Rtnl, format_mac};
use crate::netlink::{attributes, find};
use crate::netns::Netns;

/// One interface as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; none if the device has addresses of another size.
    pub mac: Option<Mac>,
    /// The index of the bridge it is a port of.
    pub master: Option<u32>,
    /// True if it was set up (which says nothing about the cable).
    pub up: bool,
    /// True if the device sees a carrier.
    pub carrier: bool,
    /// `veth`, `bridge`, `vxlan`, …; none for physical devices and `lo`.
    pub kind: Option<String>,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u32,
}

/// What a bridge is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSpec {
    /// Its fixed address. Without one a bridge takes its lowest port's and, whenever that changes,
    /// the kernel forgets all neighbours of the bridge, permanent ones too.
    pub mac: Mac,
    /// Whether it listens to multicast memberships.
    pub mcast_snooping: bool,
}

/// What a VXLAN device is made with (RFC 7348). It never learns: forwarding entries are given to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VxlanSpec {
    /// Network identifier, below 2^24.
    pub vni: u32,
    /// Source address of the outer packets.
    pub local: IpAddr,
    /// UDP port; 4789 is the registered one.
    pub port: u16,
    /// Largest inner packet in bytes.
    pub mtu: u32,
}

/// Settings of a bridge port; those that are none stay as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortFlags {
    /// Learn source addresses.
    pub learning: Option<bool>,
    /// Send unicast frames of unknown destination out of this port.
    pub flood: Option<bool>,
    /// Send multicast frames of unknown destination out of this port.
    pub mcast_flood: Option<bool>,
    /// Send broadcast frames out of this port.
    pub bcast_flood: Option<bool>,
    /// Answer ARP and neighbour solicitations for hosts behind this port from the bridge's own
    /// neighbour table, and send none out of it.
    pub neigh_suppress: Option<bool>,
    /// Which of the group addresses that bridges keep to themselves (01:80:c2:00:00:0x, a bit for each x but 1) are bridged like any
    /// other when they come in here. Others are handed to the host by this very port, unseen by the bridge's rules.
    pub groups: Option<u16>,
}

impl PortFlags {
    fn data(&self) -> Vec<InfoBridgePort> {
        [
            self.learning.map(InfoBridgePort::Learning),
            self.flood.map(InfoBridgePort::UnicastFlood),
            self.mcast_flood.map(InfoBridgePort::MulticastFlood),
            self.bcast_flood.map(InfoBridgePort::BroadcastFlood),
            self.neigh_suppress.map(InfoBridgePort::NeighSupress),
            self.groups.map(InfoBridgePort::GroupFwdMask),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Batch<'_> {
    /// Makes a bridge.
    pub fn add_bridge(&mut self, name: &str, spec: &BridgeSpec) -> &mut Self {
        let data = InfoData::Bridge(vec![InfoBridge::MulticastSnooping(spec.mcast_snooping)]);
        let mut message = new_link(name, InfoKind::Bridge, Some(data));
        message.attributes.push(LinkAttribute::Address(spec.mac.to_vec()));
        self.create(message, format!("add bridge {name}"))
    }

    /// Makes a veth pair; the second end is made in `b_netns` if one is given.
    pub fn add_veth(&mut self, a: &str, b: &str, b_netns: Option<&Netns>) -> &mut Self {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::IfName(b.to_owned()));
        peer.attributes.extend(b_netns.map(in_netns));
        let data = InfoData::Veth(InfoVeth::Peer(peer));
        let message = new_link(a, InfoKind::Veth, Some(data));
        self.create(message, format!("add veth pair {a}, {b}"))
    }

    /// Makes a veth pair with the second end in another namespace, where the first one's `number` can be seen: it is the interface's in
    /// this namespace instead of the next that the kernel would give.
    pub fn add_veth_numbered(&mut self, a: &str, number: u32, b: &str, b_netns: &Netns) -> &mut Self {
        let mut peer = LinkMessage::default();
        peer.attributes.extend([LinkAttribute::IfName(b.to_owned()), in_netns(b_netns)]);
        let data = InfoData::Veth(InfoVeth::Peer(peer));
        let mut message = new_link(a, InfoKind::Veth, Some(data));
        message.header.index = number;
        self.create(message, format!("add veth pair {a} ({number}), {b}"))
    }

    /// Makes a VXLAN device with UDP checksums and without learning.
    pub fn add_vxlan(&mut self, name: &str, spec: &VxlanSpec) -> &mut Self {
        let data = InfoData::Vxlan(vec![
            InfoVxlan::Id(spec.vni),
            match spec.local {
                IpAddr::V4(local) => InfoVxlan::Local(local),
                IpAddr::V6(local) => InfoVxlan::Local6(local),
            },
            InfoVxlan::Port(spec.port),
            InfoVxlan::Learning(false),
            InfoVxlan::UDPCsum(true),
        ]);
        let mut message = new_link(name, InfoKind::Vxlan, Some(data));
        message.attributes.push(LinkAttribute::Mtu(spec.mtu));
        self.create(message, format!("add VXLAN {} as {name}", spec.vni))
    }

    /// Makes a macvlan device in bridge mode on `parent`, inside `target`.
    ///
    /// # Errors
    /// `parent` is not there.
    pub fn add_macvlan(&mut self, name: &str, parent: &str, target: &Netns, mac: Mac) -> Result<&mut Self> {
        let what = || format!("add macvlan {name} on {parent}");
        let parent_index = self.index(parent, what)?;
        let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)]);
        let mut message = new_link(name, InfoKind::MacVlan, Some(data));
        message.attributes.extend([LinkAttribute::Link(parent_index), LinkAttribute::Address(mac.to_vec()), in_netns(target)]);
        Ok(self.create(message, what()))
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// It is not there.
    pub fn set_up(&mut self, name: &str) -> Result<&mut Self> {
        self.change(name, "set up", |message| {
            message.header.flags |= LinkFlags::Up;
            message.header.change_mask |= LinkFlags::Up;
        })
    }

    /// Sets an interface down.
    ///
    /// # Errors
    /// It is not there.
    pub fn set_down(&mut self, name: &str) -> Result<&mut Self> {
        self.change(name, "set down", |message| {
            message.header.change_mask |= LinkFlags::Up;
        })
    }

    /// Gives an interface an Ethernet address.
    ///
    /// # Errors
    /// It is not there.
    pub fn set_mac(&mut self, name: &str, mac: Mac) -> Result<&mut Self> {
        let action = format!("set address {} of", format_mac(mac));
        let attribute = LinkAttribute::Address(mac.to_vec());
        self.change_attribute(name, &action, attribute)
    }

    /// Sets the largest packet, in bytes without the Ethernet header.
    ///
    /// # Errors
    /// The interface is not there.
    pub fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<&mut Self> {
        let action = format!("set MTU {mtu} of");
        self.change_attribute(name, &action, LinkAttribute::Mtu(mtu))
    }

    /// Makes an interface a port of a bridge.
    ///
    /// # Errors
    /// The interface or the bridge is not there.
    pub fn set_master(&mut self, name: &str, bridge: &str) -> Result<&mut Self> {
        let index = self.index(bridge, || format!("make {name} a port of {bridge}"))?;
        self.change_attribute(name, &format!("set bridge {bridge} of"), LinkAttribute::Controller(index))
    }

    /// Takes an interface off its bridge. One that is not there, or goes away at this moment, is on none.
    ///
    /// # Errors
    /// The kernel cannot be asked for its index.
    pub fn unset_master(&mut self, name: &str) -> Result<&mut Self> {
        let Some(index) = self.index_if_any(name)? else {
            return Ok(self);
        };
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::Controller(0)];
        let what = format!("take {name} off its bridge");
        Ok(self.push(RouteNetlinkMessage::SetLink(message), 0, ABSENT, what))
    }

    /// Moves an interface into another network namespace; there it is down.
    ///
    /// # Errors
    /// It is not there.
    pub fn set_netns(&mut self, name: &str, target: &Netns) -> Result<&mut Self> {
        self.change_attribute(name, "move to another namespace:", in_netns(target))
    }

    /// Renames an interface.
    ///
    /// # Errors
    /// It is not there.
    pub fn rename(&mut self, name: &str, new: &str) -> Result<&mut Self> {
        let action = format!("rename to {new}:");
        self.change_attribute(name, &action, LinkAttribute::IfName(new.to_owned()))
    }

    /// Keeps the kernel from giving an interface a link-local IPv6 address when it goes up.
    ///
    /// # Errors
    /// It is not there.
    pub fn set_addrgen_none(&mut self, name: &str) -> Result<&mut Self> {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let attribute = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
        self.change_attribute(name, "turn off link-local addresses of", attribute)
    }

    /// Sets flags of a bridge port.
    ///
    /// # Errors
    /// It is not there.
    pub fn set_bridge_port(&mut self, name: &str, flags: &PortFlags) -> Result<&mut Self> {
        let what = || format!("set bridge port flags of {name}");
        let mut message = LinkMessage::default();
        message.header.index = self.index(name, what)?;
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(flags.data())),
        ]));
        // Port data travels in RTM_NEWLINK only; without NLM_F_CREATE that changes what is there.
        Ok(self.push(RouteNetlinkMessage::NewLink(message), 0, &[], what()))
    }

    /// Removes an interface, and with a veth its other end. One that is not there is fine.
    ///
    /// # Errors
    /// The kernel cannot be asked for its index.
    pub fn delete(&mut self, name: &str) -> Result<&mut Self> {
        let Some(index) = self.index_if_any(name)? else {
            return Ok(self);
        };
        let mut message = LinkMessage::default();
        message.header.index = index;
        let what = format!("delete interface {name}");
        Ok(self.push(RouteNetlinkMessage::DelLink(message), 0, ABSENT, what))
    }

    fn create(&mut self, message: LinkMessage, what: String) -> &mut Self {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.push(RouteNetlinkMessage::NewLink(message), flags, &[], what)
    }

    fn change(&mut self, name: &str, action: &str, edit: impl FnOnce(&mut LinkMessage)) -> Result<&mut Self> {
        let what = || format!("{action} {name}");
        let mut message = LinkMessage::default();
        message.header.index = self.index(name, what)?;
        edit(&mut message);
        Ok(self.push(RouteNetlinkMessage::SetLink(message), 0, &[], what()))
    }

    fn change_attribute(&mut self, name: &str, action: &str, attribute: LinkAttribute) -> Result<&mut Self> {
        self.change(name, action, |message| message.attributes.push(attribute))
    }
}

impl Rtnl {
    /// All interfaces of the namespace.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn links(&self) -> Result<Vec<Link>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump_raw("list interfaces", request, |answer| Ok(read_link(answer.payload())))
    }

    /// See [`Batch::add_bridge`].
    ///
    /// # Errors
    /// The kernel refuses, for instance because the name is taken.
    pub fn add_bridge(&self, name: &str, spec: &BridgeSpec) -> Result<()> {
        self.once(|batch| Ok(batch.add_bridge(name, spec)))
    }

    /// Makes a veth pair with both ends here.
    ///
    /// # Errors
    /// The kernel refuses, for instance because a name is taken.
    pub fn add_veth(&self, a: &str, b: &str) -> Result<()> {
        self.once(|batch| Ok(batch.add_veth(a, b, None)))
    }

    /// Makes a veth pair with the second end in another namespace.
    ///
    /// # Errors
    /// The kernel refuses, for instance because a name is taken.
    pub fn add_veth_to(&self, a: &str, b: &str, b_netns: &Netns) -> Result<()> {
        self.once(|batch| Ok(batch.add_veth(a, b, Some(b_netns))))
    }

    /// See [`Batch::add_veth_numbered`].
    ///
    /// # Errors
    /// The kernel refuses, for instance because name or number are taken.
    pub fn add_veth_numbered(&self, a: &str, number: u32, b: &str, b_netns: &Netns) -> Result<()> {
        self.once(|batch| Ok(batch.add_veth_numbered(a, number, b, b_netns)))
    }

    /// See [`Batch::add_vxlan`].
    ///
    /// # Errors
    /// The kernel refuses, for instance because name or identifier are taken.
    pub fn add_vxlan(&self, name: &str, spec: &VxlanSpec) -> Result<()> {
        self.once(|batch| Ok(batch.add_vxlan(name, spec)))
    }

    /// See [`Batch::add_macvlan`].
    ///
    /// # Errors
    /// `parent` is not there, or the kernel refuses.
    pub fn add_macvlan(&self, name: &str, parent: &str, target: &Netns, mac: Mac) -> Result<()> {
        self.once(|batch| batch.add_macvlan(name, parent, target, mac))
    }

    /// See [`Batch::set_up`].
    ///
    /// # Errors
    /// The interface is not there, or the kernel refuses.
    pub fn set_up(&self, name: &str) -> Result<()> {
        self.once(|batch| batch.set_up(name))
    }

    /// See [`Batch::set_down`].
    ///
    /// # Errors
    /// The interface is not there, or the kernel refuses.
    pub fn set_down(&self, name: &str) -> Result<()> {
        self.once(|batch| batch.set_down(name))
    }

    /// See [`Batch::set_mac`].
    ///
    /// # Errors
    /// The interface is not there, or the kernel refuses.
    pub fn set_mac(&self, name: &str, mac: Mac) -> Result<()> {
        self.once(|batch| batch.set_mac(name, mac))
    }

    /// See [`Batch::set_mtu`].
    ///
    /// # Errors
    /// The interface is not there, or the kernel refuses.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> Result<()> {
        self.once(|batch| batch.set_mtu(name, mtu))
    }

    /// See [`Batch::set_master`].
    ///
    /// # Errors
    /// The interface or the bridge is not there, or the kernel refuses.
    pub fn set_master(&self, name: &str, bridge: &str) -> Result<()> {
        self.once(|batch| batch.set_master(name, bridge))
    }

    /// See [`Batch::unset_master`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn unset_master(&self, name: &str) -> Result<()> {
        self.once(|batch| batch.unset_master(name))
    }

    /// See [`Batch::set_netns`].
    ///
    /// # Errors
    /// The interface is not there, or the kernel refuses.
    pub fn set_netns(&self, name: &str, target: &Netns) -> Result<()> {
        self.once(|batch| batch.set_netns(name, target))
    }

    /// See [`Batch::rename`].
    ///
    /// # Errors
    /// The interface is not there, or the new name is taken.
    pub fn rename(&self, name: &str, new: &str) -> Result<()> {
        self.once(|batch| batch.rename(name, new))
    }

    /// See [`Batch::set_addrgen_none`].
    ///
    /// # Errors
    /// The interface is not there, or has no IPv6.
    pub fn set_addrgen_none(&self, name: &str) -> Result<()> {
        self.once(|batch| batch.set_addrgen_none(name))
    }

    /// See [`Batch::set_bridge_port`].
    ///
    /// # Errors
    /// The interface is not there, or is no bridge port.
    pub fn set_bridge_port(&self, name: &str, flags: &PortFlags) -> Result<()> {
        self.once(|batch| batch.set_bridge_port(name, flags))
    }

    /// See [`Batch::delete`].
    ///
    /// # Errors
    /// The kernel refuses, for instance for `lo`.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.once(|batch| batch.delete(name))
    }
}

fn new_link(name: &str, kind: InfoKind, data: Option<InfoData>) -> LinkMessage {
    let mut info = vec![LinkInfo::Kind(kind)];
    info.extend(data.map(LinkInfo::Data));
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::LinkInfo(info)];
    message
}

fn in_netns(target: &Netns) -> LinkAttribute {
    LinkAttribute::NetNsFd(target.as_fd().as_raw_fd())
}

/// Reads the few attributes wanted, by hand: real network cards send many that
/// `netlink-packet-route` does not know or finds malformed, and one such must not hide all interfaces.
fn read_link(payload: &[u8]) -> Option<Link> {
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_ne_bytes);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    // struct ifinfomsg: family, padding, type, index, flags, change (rtnetlink(7)).
    let flags = LinkFlags::from_bits_retain(number(payload.get(8..12)?)?);
    let mut link = Link {
        index: number(payload.get(4..8)?)?,
        name: String::new(),
        mac: None,
        master: None,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        kind: None,
        mtu: 0,
    };
    for (kind, value) in attributes(payload.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_ADDRESS => link.mac = value.try_into().ok(),
            libc::IFLA_MASTER => link.master = number(value),
            libc::IFLA_MTU => link.mtu = number(value)?,
            libc::IFLA_LINKINFO => link.kind = find(value, libc::IFLA_INFO_KIND).map(text),
            _ => {}
        }
    }
    Some(link)
}
