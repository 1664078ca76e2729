//! The checks on everything by which a server's packets come into or leave this host: its own gate, and where
//! others' frames come from.

use std::sync::Arc;

use pan_linux::gate::{Gate, Hook};
use pan_linux::origin::{Dropped, Origins};
use pan_linux::overlay::{NetworkSpec, vxlan_name};
use pan_model::host_config::HostConfig;

use crate::error::chain;

/// What there is to check packets with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checks {
    /// None where nobody grants leases.
    pub gate: Option<Arc<Gate>>,
    /// None where the kernel refuses.
    pub origins: Option<Arc<Origins>>,
}

/// What keeps the checks attached. Without any it does nothing.
#[derive(Debug)]
pub(super) struct Gated {
    checks: Checks,
    fabrics: [String; 2],
    /// The count of dropped frames that was told last.
    told: Dropped,
}

impl Gated {
    pub(super) fn new(checks: Checks, config: &HostConfig) -> Self {
        let fabrics = [config.fabrics.a.interface.clone(), config.fabrics.b.interface.clone()];
        let told = checks.origins.as_ref().map_or_else(Dropped::default, |origins| origins.dropped());
        Self { checks, fabrics, told }
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

    /// Checks where frames come from at every way in. A failure leaves the second line open, not the first.
    pub(super) fn inputs(&mut self, problems: &mut Vec<String>) {
        let Some(origins) = &self.checks.origins else { return };
        problems.extend(self.fabrics.iter().filter_map(|fabric| origins.ensure_attached(fabric).err()).map(|error| chain(&error)));
        let dropped = origins.dropped();
        // An event of its own each time it goes on: once a second at most, and normally never.
        if dropped.stale > self.told.stale {
            let Dropped { stale, unknown, .. } = dropped;
            tracing::warn!(stale, unknown, "a host that has lost a server still sends for it; its frames are dropped");
        }
        self.told = dropped;
    }

    fn put(&self, device: &str, hook: Hook, problems: &mut Vec<String>) -> bool {
        let Some(gate) = &self.checks.gate else { return true };
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
        let local = ports.iter().map(|port| LocalPort { mac: [2; 6], addresses: vec![], port: (*port).to_owned(), epoch: 1 });
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

        let origins = Arc::new(Origins::open(&dir.path().join("origins"), &netns).unwrap());
        let fabrics = || ["fa".to_owned(), "fb".to_owned()];
        let checks = Checks { gate: Some(gate.clone()), origins: Some(origins.clone()) };
        let mut gated = Gated { checks, fabrics: fabrics(), told: Dropped::default() };
        let (mut networks, mut problems) = ([network(&["ps1", "ps2"])], Vec::new());
        assert_eq!(gated.ports(&mut networks, &mut problems), ["ps2"]);
        assert_eq!(networks, [network(&["ps1"])]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        gated.outputs(&networks, &mut problems);
        assert_eq!(problems.len(), 1, "{problems:?}");
        for (device, hook) in [("ps1", Hook::ServerPort), ("px100", Hook::OverlayDevice), ("fa", Hook::Fabric), ("fb", Hook::Fabric)] {
            assert!(gate.is_attached(device, hook).unwrap(), "{device}");
        }

        gated.inputs(&mut problems);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(!origins.ensure_attached("fa").unwrap() && !origins.ensure_attached("fb").unwrap(), "they are there");
        let _ = pan_linux::mount::unmount(&dir.path().join("origins"), pan_linux::mount::Busy::Detach);

        let without = Gated { checks: Checks::default(), fabrics: fabrics(), told: Dropped::default() };
        let (mut networks, mut problems) = ([network(&["ps2"])], Vec::new());
        assert!(without.ports(&mut networks, &mut problems).is_empty() && networks == [network(&["ps2"])]);
    }
}
