//! From the desired state to routes and forwarding entries. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use pan_api::desired::Desired;
use pan_linux::overlay::{LocalPort, NetworkSpec, RemoteEntry};
use pan_linux::underlay::{Peer, UnderlaySpec};
use pan_model::host_config::HostConfig;
use pan_model::{Epoch, Mac, ServerKey};

/// A server's cable end whose server is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub key: ServerKey,
    pub name: String,
    pub vni: u32,
    pub mac: Mac,
    pub addresses: Vec<IpAddr>,
    /// The binding it runs under.
    pub epoch: Epoch,
}

/// Partition networks as they should be here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub networks: Vec<NetworkSpec>,
    /// Ports of servers that must not be heard: their binding is not the one in force.
    pub closed: Vec<String>,
}

/// What `desired` makes of the `ports` that are here.
pub(crate) fn wanted(desired: &Desired, ports: &BTreeMap<String, Port>) -> Wanted {
    let mut wanted = Wanted::default();
    let mut open = Vec::new();
    for network in &desired.networks {
        let mut spec = NetworkSpec { vni: network.vni, mtu: network.mtu, remote: vec![], local: vec![] };
        for entry in &network.entries {
            let here = entry.host == desired.host;
            let port = ports.values().find(|port| here && port.vni == network.vni && port.mac == entry.mac && port.epoch >= entry.epoch);
            match port {
                Some(port) => {
                    open.push(&port.name);
                    spec.local.push(LocalPort {
                        mac: port.mac.0,
                        addresses: port.addresses.clone(),
                        port: port.name.clone(),
                        epoch: port.epoch.0,
                    });
                }
                // Also an entry for this host whose server is not up yet: it is known, and leads nowhere.
                None => spec.remote.push(RemoteEntry {
                    mac: entry.mac.0,
                    addresses: entry.addresses.clone(),
                    host: entry.via,
                    epoch: entry.epoch.0,
                }),
            }
        }
        wanted.networks.push(spec);
    }
    wanted.closed = ports.keys().filter(|name| !open.contains(name)).cloned().collect();
    wanted
}

/// Routes between hosts as they should be here.
pub(crate) fn underlay(config: &HostConfig, desired: &Desired) -> UnderlaySpec {
    UnderlaySpec {
        local: config.address,
        dev_a: config.fabrics.a.interface.clone(),
        dev_b: config.fabrics.b.interface.clone(),
        peers: desired.peers.iter().map(|peer| Peer { address: peer.address, a: peer.a, b: peer.b }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_api::desired::{Network, NetworkEntry};

    fn desired(host: &str, epoch: u64) -> Desired {
        let entry = NetworkEntry {
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: vec!["10.0.0.10".parse().unwrap()],
            host: host.parse().unwrap(),
            via: "10.200.0.9".parse().unwrap(),
            epoch: Epoch(epoch),
        };
        Desired {
            version: 1,
            billed: Vec::new(),
            admission: pan_model::Admission::FIRST,
            generation: Default::default(),
            host: "n1".parse().unwrap(),
            peers: pan_api::peers::Peers::default(),
            networks: vec![Network {
                partition: "acme".parse().unwrap(),
                vni: 100,
                mtu: 1430,
                subnets: vec![],
                gateways: vec![],
                gateway_mac: Mac([2, 0, 0, 0, 0, 0xfe]),
                entries: vec![entry],
            }],
            servers: vec![],
            warm: Vec::new(),
            units: vec![],
            snapshots: Vec::new(),
            replicas: Vec::new(),
        }
    }

    fn check(host: &str, entry_epoch: u64, port_epoch: Option<u64>, local: usize, closed: usize) {
        let port = port_epoch.map(|epoch| Port {
            key: ServerKey { partition: "acme".parse().unwrap(), name: "web-1".parse().unwrap() },
            name: "ps1".into(),
            vni: 100,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: vec!["10.0.0.10".parse().unwrap()],
            epoch: Epoch(epoch),
        });
        let ports = port.into_iter().map(|port| (port.name.clone(), port)).collect();
        let got = wanted(&desired(host, entry_epoch), &ports);
        let spec = &got.networks[0];
        assert_eq!((spec.local.len(), spec.remote.len(), got.closed.len()), (local, 1 - local, closed));
    }

    #[test]
    fn a_port_is_open_only_for_the_binding_in_force() {
        check("n1", 5, Some(5), 1, 0);
        check("n1", 5, None, 0, 0);
        check("n1", 6, Some(5), 0, 1);
        check("n2", 6, Some(5), 0, 1);
        check("n2", 5, Some(5), 0, 1);
        check("n2", 5, None, 0, 0);
    }
}
