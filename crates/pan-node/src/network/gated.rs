//! The gate on everything by which a server's packets come into or leave this host.

use std::sync::Arc;

use pan_linux::gate::{Gate, Hook};
use pan_linux::overlay::{NetworkSpec, vxlan_name};
use pan_model::host_config::HostConfig;

use crate::error::chain;

/// What keeps the gate attached. Without a gate it does nothing.
#[derive(Debug)]
pub(super) struct Gated {
    gate: Option<Arc<Gate>>,
    fabrics: [String; 2],
}

impl Gated {
    pub(super) fn new(gate: Option<Arc<Gate>>, config: &HostConfig) -> Self {
        Self { gate, fabrics: [config.fabrics.a.interface.clone(), config.fabrics.b.interface.clone()] }
    }

    /// Puts the gate on the ports that are about to be opened. Those that it cannot be put on are taken off
    /// the list and returned: no server may be heard past the gate.
    pub(super) fn ports(&self, networks: &mut [NetworkSpec], problems: &mut Vec<String>) -> Vec<String> {
        let mut refused = Vec::new();
        for network in networks {
            network.local.retain(|local| {
                let gated = self.put(&local.port, Hook::ServerPort, problems);
                if !gated {
                    refused.push(local.port.clone());
                }
                gated
            });
        }
        refused
    }

    /// Puts it on the ways out. The ports have it by then, so a failure here is a problem and no breach.
    pub(super) fn outputs(&self, networks: &[NetworkSpec], problems: &mut Vec<String>) {
        for network in networks {
            self.put(&vxlan_name(network.vni), Hook::OverlayDevice, problems);
        }
        for fabric in &self.fabrics {
            self.put(fabric, Hook::Fabric, problems);
        }
    }

    fn put(&self, device: &str, hook: Hook, problems: &mut Vec<String>) -> bool {
        let Some(gate) = &self.gate else { return true };
        match gate.ensure_attached(device, hook) {
            Ok(_) => true,
            Err(error) => {
                problems.push(chain(&error));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_linux::gate::GateKind;
    use pan_linux::netns::Netns;
    use pan_linux::overlay::LocalPort;
    use pan_linux::rtnl::Rtnl;

    fn network(ports: &[&str]) -> NetworkSpec {
        let local = ports.iter().map(|port| LocalPort { mac: [2; 6], addresses: vec![], port: (*port).to_owned() });
        NetworkSpec { vni: 100, mtu: 1430, remote: vec![], local: local.collect() }
    }

    #[test]
    fn a_port_without_the_gate_is_not_opened() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIP: a_port_without_the_gate_is_not_opened needs root");
            return;
        }
        let name = format!("pngate{}", std::process::id());
        let netns = Netns::create(&name).unwrap();
        Netns::remove(&name).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::open_as(GateKind::NftSet, &dir.path().join("gate"), &netns).unwrap());
        let rtnl = Rtnl::open_in(&netns).unwrap();
        rtnl.add_veth("ps1", "px100").unwrap();
        rtnl.add_veth("fa", "fb").unwrap();

        let gated = Gated { gate: Some(gate.clone()), fabrics: ["fa".into(), "fb".into()] };
        let (mut networks, mut problems) = ([network(&["ps1", "ps2"])], Vec::new());
        assert_eq!(gated.ports(&mut networks, &mut problems), ["ps2"]);
        assert_eq!(networks, [network(&["ps1"])]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        gated.outputs(&networks, &mut problems);
        assert_eq!(problems.len(), 1, "{problems:?}");
        for (device, hook) in [("ps1", Hook::ServerPort), ("px100", Hook::OverlayDevice), ("fa", Hook::Fabric), ("fb", Hook::Fabric)] {
            assert!(gate.is_attached(device, hook).unwrap(), "{device}");
        }

        let without = Gated { gate: None, fabrics: ["fa".into(), "fb".into()] };
        let (mut networks, mut problems) = ([network(&["ps2"])], Vec::new());
        assert!(without.ports(&mut networks, &mut problems).is_empty() && networks == [network(&["ps2"])]);
    }
}
