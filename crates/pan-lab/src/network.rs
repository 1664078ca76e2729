//! The lab's networks: four bridges in a namespace of the lab's own, and a cable from each to every
//! host that is on it.

use std::os::fd::OwnedFd;

use pan_linux::netns::Netns;
use pan_linux::rtnl::{BridgeSpec, Rtnl};
use pan_linux::{nft, sysctl, tap};

use crate::address::Net;
use crate::error::LabError;
use crate::fault::Cut;
use crate::name::{LabHost, LabName};
use crate::state::LabState;

/// Makes the lab's namespace with its bridges.
pub(crate) fn build(name: &LabName) -> Result<(), LabError> {
    let step = || format!("build the networks of laboratory {name}");
    let ns = Netns::create(&name.netns()).map_err(LabError::kernel(step()))?;
    let rtnl = Rtnl::open_in(&ns).map_err(LabError::kernel(step()))?;
    let bridges = || -> pan_linux::rtnl::Result<()> {
        for net in Net::ALL {
            let spec = BridgeSpec { mac: net.bridge_mac(), mcast_snooping: false };
            rtnl.add_bridge(net.name(), &spec)?;
            let mut batch = rtnl.batch();
            batch.set_addrgen_none(net.name())?;
            batch.set_up(net.name())?;
            batch.commit()?;
        }
        rtnl.set_up("lo")
    };
    bridges().map_err(LabError::kernel(step()))
}

/// Makes a host's namespace and its cables, addresses included.
pub(crate) fn plug(name: &LabName, host: LabHost) -> Result<(), LabError> {
    let step = || format!("connect host {host} of laboratory {name}");
    let lab = Netns::open(&name.netns()).map_err(LabError::kernel(step()))?;
    let ns = Netns::create(&name.host_netns(host)).map_err(LabError::kernel(step()))?;
    // Addresses are unique by plan; a second of duplicate detection would delay every boot.
    for key in ["net/ipv6/conf/default/accept_dad", "net/ipv6/conf/default/dad_transmits"] {
        sysctl::set(Some(&ns), key, "0").map_err(LabError::kernel(step()))?;
    }
    let outer = Rtnl::open_in(&lab).map_err(LabError::kernel(step()))?;
    let inner = Rtnl::open_in(&ns).map_err(LabError::kernel(step()))?;
    let connect = || -> pan_linux::rtnl::Result<()> {
        inner.set_up("lo")?;
        if let Some(address) = host.address() {
            inner.replace_addr("lo", address.into())?;
        }
        for net in Net::ALL {
            if let Some(mac) = host.mac_on(net) {
                let (port, device) = (host.port_on(net), net.name());
                outer.delete(&port)?;
                outer.add_veth_to(&port, device, &ns)?;
                let mut batch = outer.batch();
                batch.set_addrgen_none(&port)?;
                batch.set_master(&port, device)?;
                batch.set_up(&port)?;
                batch.commit()?;
                let mut batch = inner.batch();
                batch.set_mac(device, mac)?;
                if net != Net::Outside {
                    batch.set_addrgen_none(device)?;
                }
                batch.set_up(device)?;
                for address in host.addresses_on(net) {
                    batch.replace_addr(device, address)?;
                }
                batch.commit()?;
            }
        }
        Ok(())
    };
    connect().map_err(LabError::kernel(step()))
}

/// Cuts the power of a host's bridge ports: from now on nothing it says is heard.
pub(crate) fn ports_down(name: &LabName, host: LabHost) -> Result<(), LabError> {
    let step = || format!("take the links of host {host} down");
    let lab = Netns::open(&name.netns()).map_err(LabError::kernel(step()))?;
    let rtnl = Rtnl::open_in(&lab).map_err(LabError::kernel(step()))?;
    let down = || -> pan_linux::rtnl::Result<()> {
        for net in Net::ALL {
            let port = host.port_on(net);
            if rtnl.link_index(&port)?.is_some() {
                rtnl.set_down(&port)?;
            }
        }
        Ok(())
    };
    down().map_err(LabError::kernel(step()))
}

/// Removes a host's cables and namespace; what is not there is fine.
pub(crate) fn unplug(name: &LabName, host: LabHost) -> Result<(), LabError> {
    let step = || format!("disconnect host {host} of laboratory {name}");
    if Netns::exists(&name.netns()) {
        let lab = Netns::open(&name.netns()).map_err(LabError::kernel(step()))?;
        let rtnl = Rtnl::open_in(&lab).map_err(LabError::kernel(step()))?;
        for net in Net::ALL {
            rtnl.delete(&host.port_on(net)).map_err(LabError::kernel(step()))?;
        }
        for net in Net::FABRICS {
            rtnl.delete(&detour(host, net).bridge).map_err(LabError::kernel(step()))?;
        }
    }
    Netns::remove(&name.host_netns(host)).map_err(LabError::kernel(step()))
}

/// Makes the bridges drop exactly what the state says is cut. The ports stay up: neither side sees
/// anything but silence.
pub(crate) fn apply_cuts(state: &LabState) -> Result<(), LabError> {
    let mut rules = String::new();
    for host in &state.hosts {
        for (net, cut) in [(Net::FabricA, host.cut_a), (Net::FabricB, host.cut_b)] {
            // Cut on both sides of a detour, so that what is under way in it is lost too.
            for port in [host.name.port_on(net), detour(host.name, net).far] {
                // What a host sends comes in at its port.
                if matches!(cut, Cut::Out | Cut::Both) {
                    rules.push_str(&format!("    iifname \"{port}\" drop\n"));
                }
                if matches!(cut, Cut::In | Cut::Both) {
                    rules.push_str(&format!("    oifname \"{port}\" drop\n"));
                }
            }
        }
    }
    let script = format!(
        "table bridge pan_faults\n\
         delete table bridge pan_faults\n\
         table bridge pan_faults {{\n  chain forward {{\n    \
         type filter hook forward priority -300; policy accept;\n{rules}  }}\n}}\n"
    );
    let step = "cut or heal links";
    let lab = Netns::open(&state.name.netns()).map_err(LabError::kernel(step))?;
    nft::load(Some(&lab), &script).map_err(LabError::kernel(step))
}

/// The parts of a delayed link, see [`crate::delay`].
struct Detour {
    /// Joins the host's port and `near`.
    bridge: String,
    /// The relay's port on the host's side.
    near: String,
    /// The relay's port on the lab's side.
    far: String,
}

fn detour(host: LabHost, net: Net) -> Detour {
    let port = host.port_on(net);
    Detour { bridge: format!("{port}-b"), near: format!("{port}-h"), far: format!("{port}-w") }
}

fn rtnl_of(name: &LabName, step: &str) -> Result<(Netns, Rtnl), LabError> {
    let lab = Netns::open(&name.netns()).map_err(LabError::kernel(step))?;
    let rtnl = Rtnl::open_in(&lab).map_err(LabError::kernel(step))?;
    Ok((lab, rtnl))
}

/// Builds the detours of both fabrics, not yet used. Returns their ports: near and far of A, near and far of B.
pub(crate) fn build_detour(name: &LabName, host: LabHost) -> Result<Vec<OwnedFd>, LabError> {
    let step = format!("build a detour for host {host}");
    let (lab, rtnl) = rtnl_of(name, &step)?;
    let mut ports = Vec::new();
    for net in Net::FABRICS {
        let parts = detour(host, net);
        let mut bridge_mac = host.mac_on(net).unwrap_or(net.bridge_mac());
        // Locally administered like the host's own, and nobody's.
        bridge_mac[1] = 0xfd;
        rtnl.add_bridge(&parts.bridge, &BridgeSpec { mac: bridge_mac, mcast_snooping: false }).map_err(LabError::kernel(&*step))?;
        for (port, bridge) in [(&parts.near, parts.bridge.as_str()), (&parts.far, net.name())] {
            ports.push(tap::open(&lab, port).map_err(LabError::kernel(&*step))?);
            let mut batch = rtnl.batch();
            let join = || -> pan_linux::rtnl::Result<()> {
                batch.set_addrgen_none(port)?;
                batch.set_master(port, bridge)?;
                batch.set_up(port)?;
                batch.commit()
            };
            join().map_err(LabError::kernel(&*step))?;
        }
        let mut batch = rtnl.batch();
        let up = || -> pan_linux::rtnl::Result<()> {
            batch.set_addrgen_none(&parts.bridge)?;
            batch.set_up(&parts.bridge)?;
            batch.commit()
        };
        up().map_err(LabError::kernel(&*step))?;
    }
    Ok(ports)
}

/// Leads a host's fabrics over its detours.
pub(crate) fn take_detour(name: &LabName, host: LabHost) -> Result<(), LabError> {
    let step = format!("lead host {host} over its detour");
    let (_, rtnl) = rtnl_of(name, &step)?;
    for net in Net::FABRICS {
        rtnl.set_master(&host.port_on(net), &detour(host, net).bridge).map_err(LabError::kernel(&*step))?;
    }
    Ok(())
}

/// Leads a host's fabrics straight to the lab's bridges again and removes the detours. None is fine.
pub(crate) fn leave_detour(name: &LabName, host: LabHost) -> Result<(), LabError> {
    let step = format!("lead host {host} straight again");
    let (_, rtnl) = rtnl_of(name, &step)?;
    for net in Net::FABRICS {
        rtnl.set_master(&host.port_on(net), net.name()).map_err(LabError::kernel(&*step))?;
        rtnl.delete(&detour(host, net).bridge).map_err(LabError::kernel(&*step))?;
    }
    Ok(())
}
