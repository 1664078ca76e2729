//! The machine's own link to a lab's outside network, so that its shell reaches public addresses.
//!
//! The first lab's network is reached as it is: the link is a port of the bridge. Further labs have
//! the same addresses inside, so the k-th is reached as 198.19.k.0/24, translated prefix to prefix in
//! the lab's own namespace.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use pan_linux::netns::Netns;
use pan_linux::rtnl::{Protocol, Rtnl, RtnlError};
use pan_linux::{nft, sysctl};

use crate::address::{MACHINE, Net, OUTSIDE_V4, outside};
use crate::error::LabError;
use crate::lock::LabLock;
use crate::name::LabName;
use crate::state::MachineLink;

/// The lab's end of the link.
const PORT: &str = "machine";
/// The lab's own address towards the machine where prefixes are translated.
const GATEWAY: u8 = 253;

/// Makes the link.
pub(crate) fn connect(name: &LabName) -> Result<MachineLink, LabError> {
    let step = || format!("link laboratory {name} to this machine");
    // Two labs coming up at the same time must not both be the first.
    let _numbering = LabLock::of_machine_links(name)?;
    let device = name.machine_link();
    let machine = Netns::current().map_err(LabError::kernel(step()))?;
    let rtnl = Rtnl::open_in(&machine).map_err(LabError::kernel(step()))?;
    let taken = networks_in_use(&rtnl).map_err(LabError::kernel(step()))?;
    let free = |network: &Ipv4Net| !taken.iter().any(|used| used.contains(network) || network.contains(used));
    let further = (1..=255).map(|k| Ipv4Net::new_assert(Ipv4Addr::new(198, 19, k, 0), 24));
    let network = std::iter::once(OUTSIDE_V4).chain(further).find(free).ok_or_else(|| LabError::Spec {
        field: "machine link",
        problem: "198.18.0.0/24 and all of 198.19.0.0/16 are in use on this machine".into(),
    })?;
    let lab = Netns::open(&name.netns()).map_err(LabError::kernel(step()))?;
    let inner = Rtnl::open_in(&lab).map_err(LabError::kernel(step()))?;
    let made = if network == OUTSIDE_V4 {
        connect_direct(&rtnl, &inner, &lab, &device)
    } else {
        connect_translated(&rtnl, &inner, &lab, &device, network)
    };
    made.map_err(LabError::kernel(step()))?;
    if network != OUTSIDE_V4 {
        translate(&lab, network)?;
    }
    Ok(MachineLink { device, network })
}

/// Removes the link; none is fine.
pub(crate) fn disconnect(name: &LabName) -> Result<(), LabError> {
    let step = || format!("remove the link {}", name.machine_link());
    let rtnl = Rtnl::open().map_err(LabError::kernel(step()))?;
    rtnl.delete(&name.machine_link()).map_err(LabError::kernel(step()))
}

/// Networks of 198.18.0.0/15 this machine already has an address or a route for.
fn networks_in_use(rtnl: &Rtnl) -> Result<Vec<Ipv4Net>, RtnlError> {
    let range = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15);
    let mut used = Vec::new();
    for link in rtnl.links()? {
        used.extend(rtnl.addrs(&link.name)?);
    }
    used.extend(rtnl.routes(Protocol::Static)?.into_iter().map(|route| route.dst));
    Ok(used
        .into_iter()
        .filter_map(|net| match net {
            IpNet::V4(net) => Some(net.trunc()),
            IpNet::V6(_) => None,
        })
        .filter(|net| range.contains(net))
        .collect())
}

fn connect_direct(machine: &Rtnl, inner: &Rtnl, lab: &Netns, device: &str) -> Result<(), RtnlError> {
    machine.delete(device)?;
    machine.add_veth_to(device, PORT, lab)?;
    let mut batch = inner.batch();
    batch.set_addrgen_none(PORT)?;
    batch.set_master(PORT, Net::Outside.name())?;
    batch.set_up(PORT)?;
    batch.commit()?;
    let mut batch = machine.batch();
    batch.set_up(device)?;
    for address in outside(MACHINE) {
        batch.replace_addr(device, address)?;
    }
    batch.commit()
}

fn connect_translated(machine: &Rtnl, inner: &Rtnl, lab: &Netns, device: &str, network: Ipv4Net) -> Result<(), RtnlError> {
    let [a, b, c, _] = network.network().octets();
    let at = |byte: u8| Ipv4Addr::new(a, b, c, byte);
    machine.delete(device)?;
    machine.add_veth_to(device, PORT, lab)?;
    // The lab's end answers for its own address only, and routes for all the others: hence two
    // addresses in a small network of their own at the top of the prefix, and a route for the rest.
    let near = |byte: u8| IpNet::from(Ipv4Net::new_assert(at(byte), 30));
    let mut batch = inner.batch();
    batch.set_addrgen_none(PORT)?;
    batch.set_up(PORT)?;
    batch.replace_addr(PORT, near(GATEWAY))?;
    for address in outside(MACHINE) {
        batch.replace_addr(Net::Outside.name(), address)?;
    }
    batch.commit()?;
    let mut batch = machine.batch();
    batch.set_up(device)?;
    batch.replace_addr(device, near(MACHINE))?;
    batch.commit()?;
    machine.replace_route(&pan_linux::rtnl::Route {
        dst: network.into(),
        src: Some(IpAddr::V4(at(MACHINE))),
        hops: vec![pan_linux::rtnl::Hop { via: Some(IpAddr::V4(at(GATEWAY))), dev: device.to_owned() }],
        mtu: None,
        rto_min: None,
    })
}

/// Translates prefix to prefix, and the machine's address to the one it has in a first lab.
fn translate(lab: &Netns, network: Ipv4Net) -> Result<(), LabError> {
    let step = "translate addresses for this machine";
    sysctl::set(Some(lab), "net/ipv4/ip_forward", "1").map_err(LabError::kernel(step))?;
    let own = outside(MACHINE)[0].addr();
    let script = format!(
        "table ip pan_reach {{\n  \
           chain prerouting {{\n    type nat hook prerouting priority dstnat; policy accept;\n    \
             iifname \"{PORT}\" dnat ip prefix to ip daddr map {{ {network} : {OUTSIDE_V4} }}\n  }}\n  \
           chain postrouting {{\n    type nat hook postrouting priority srcnat; policy accept;\n    \
             oifname \"{out}\" snat to {own}\n  }}\n}}\n",
        out = Net::Outside.name(),
    );
    nft::load(Some(lab), &script).map_err(LabError::kernel(step))
}
