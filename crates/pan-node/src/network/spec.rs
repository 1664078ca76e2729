//! From the desired state to routes and forwarding entries. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pan_api::desired::Desired;
use pan_linux::allow::{Callers, Ports};
use pan_linux::overlay::{LocalPort, NetworkSpec, RemoteEntry};
use pan_linux::underlay::{Peer, UnderlaySpec};
use pan_model::allow::{Caller, allowed};
use pan_model::host_config::HostConfig;
use pan_model::{Epoch, HostName, Mac, ServerKey};

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

/// Takes the ports off the networks that are not to be reached as yet, and returns them. What is no server's stays.
pub(super) fn keep_if(networks: &mut [NetworkSpec], ports: &BTreeMap<String, Port>, mut keep: impl FnMut(&Port) -> bool) -> Vec<String> {
    let mut closed = Vec::new();
    for network in networks {
        network.local.retain(|local| {
            let kept = ports.get(&local.port).is_none_or(&mut keep);
            if !kept {
                closed.push(local.port.clone());
            }
            kept
        });
    }
    closed
}

/// Partition networks as they should be here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub networks: Vec<NetworkSpec>,
    /// Ports of servers that must not be heard: their binding is not the one in force.
    pub closed: Vec<String>,
}

/// Who says that it answers for the units of other directors, and under which epoch those have them, by the networks' identifiers.
pub(crate) type Standing = BTreeMap<u32, (HostName, Epoch)>;

/// Points the ways to gateways at who stands in for their owners, in networks that `desired` makes at the host whose address is `here`:
/// at the successor that the map names, and nobody else, as long as it is about the map that this host has.
pub(crate) fn repoint(networks: &mut [NetworkSpec], desired: &Desired, standing: &Standing, here: IpAddr) {
    for (vni, (director, epoch)) in standing {
        let Some(network) = desired.networks.iter().find(|network| network.vni == *vni) else { continue };
        let Some(seat) = desired.seats.iter().find(|seat| seat.vni == *vni) else { continue };
        let peer = || Some(desired.peers.iter().find(|peer| peer.host == *director)?.address);
        let Some(via) = (if *director == desired.host { Some(here) } else { peer() }) else { continue };
        if seat.successor.as_ref() != Some(director) || seat.epoch != *epoch {
            continue;
        }
        let specs = networks.iter_mut().filter(|spec| spec.vni == *vni);
        let gateways = specs.flat_map(|spec| &mut spec.remote).filter(|entry| entry.mac == network.gateway_mac.0 && entry.epoch == epoch.0);
        gateways.for_each(|entry| entry.host = via);
    }
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

/// Who may begin to speak to the server at a port. Nothing is said of a server that `desired` has no order for.
pub(crate) fn callers(desired: &Desired, port: &Port) -> Option<Option<Vec<Callers>>> {
    let order = desired.servers.iter().find(|order| order.key == port.key)?;
    let network = desired.networks.iter().find(|network| network.partition == port.key.partition)?;
    let one = |(from, ports): (&Caller, Option<BTreeSet<u16>>)| {
        let macs = match from {
            // All that comes by services comes by the gateway, or by what stands for an import, and from its Ethernet address.
            Caller::Services => {
                let imports = network.entries.iter().filter(|entry| entry.by_service);
                imports.map(|entry| entry.mac.0).chain([network.gateway_mac.0]).collect()
            }
            Caller::Cluster(name) => {
                network.entries.iter().filter(|entry| entry.cluster.as_ref() == Some(name)).map(|entry| entry.mac.0).collect()
            }
        };
        Callers { macs, ports: ports.map_or(Ports::All, Ports::Only) }
    };
    Some(order.allow.as_deref().map(|rules| allowed(rules).into_iter().map(one).collect()))
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
    use pan_api::desired::{Network, NetworkEntry, Seat};
    use pan_api::peers::Peers;

    fn desired(host: &str, epoch: u64) -> Desired {
        let entry = NetworkEntry {
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: vec!["10.0.0.10".parse().unwrap()],
            host: host.parse().unwrap(),
            via: "10.200.0.9".parse().unwrap(),
            epoch: Epoch(epoch),
            cluster: None,
            by_service: false,
        };
        Desired {
            version: 1,
            billed: Vec::new(),
            blanks: None,
            imports: Vec::new(),
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
            seats: Vec::new(),
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
    fn callers_are_those_whom_the_map_has_in_the_clusters_named() {
        let port = Port {
            key: ServerKey { partition: "acme".parse().unwrap(), name: "db-1".parse().unwrap() },
            name: "ps1".into(),
            vni: 100,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: vec![],
            epoch: Epoch(1),
        };
        let entry = |last: u8, cluster: &str| NetworkEntry {
            mac: Mac([2, 0, 0, 0, 0, last]),
            cluster: (!cluster.is_empty()).then(|| cluster.parse().unwrap()),
            ..desired("n2", 1).networks[0].entries[0].clone()
        };
        let with = |allow: serde_json::Value| {
            let mut desired = desired("n1", 1);
            let import = NetworkEntry { by_service: true, ..entry(5, "") };
            desired.networks[0].entries = vec![entry(1, ""), entry(2, "web"), entry(3, "web"), entry(4, "app"), import];
            let order = crate::testing::order("acme", "db-1");
            desired.servers = vec![pan_api::desired::ServerOrder { allow: serde_json::from_value(allow).unwrap(), ..order }];
            callers(&desired, &port)
        };
        let some = |macs: &[u8], ports: Ports| Callers { macs: macs.iter().map(|last| [2, 0, 0, 0, 0, *last]).collect(), ports };
        assert_eq!(callers(&desired("n1", 1), &port), None, "nothing is known of it");
        assert_eq!(with(serde_json::json!(null)), Some(None));
        assert_eq!(with(serde_json::json!([])), Some(Some(vec![])));
        let rules =
            serde_json::json!([{"from": "web", "ports": [80]}, {"from": "services"}, {"from": "none"}, {"from": "web", "ports": [81]}]);
        let expected = vec![some(&[5, 0xfe], Ports::All), some(&[], Ports::All), some(&[2, 3], Ports::Only([80, 81].into()))];
        assert_eq!(with(rules), Some(Some(expected)));
    }

    #[test]
    fn a_gateway_is_where_its_successor_says_while_the_map_names_that_one() {
        let peer = |name: &str, address: &str| pan_api::desired::Peer {
            host: name.parse().unwrap(),
            address: address.parse().unwrap(),
            a: None,
            b: None,
        };
        let mut map = desired("d1", 5);
        let network = &mut map.networks[0];
        network.entries.push(NetworkEntry { mac: network.gateway_mac, ..network.entries[0].clone() });
        map.peers = Peers::from(vec![peer("d2", "10.200.0.22"), peer("d3", "10.200.0.23")]);
        let seat = Seat { vni: 100, epoch: Epoch(5), owner: "d1".parse().unwrap(), successor: Some("d2".parse().unwrap()) };
        let check = |seat: &Seat, director: &str, epoch: u64, expected: &str| {
            let map = Desired { seats: vec![seat.clone()], ..map.clone() };
            let standing = Standing::from([(100, (director.parse().unwrap(), Epoch(epoch)))]);
            let mut networks = wanted(&map, &BTreeMap::new()).networks;
            repoint(&mut networks, &map, &standing, "10.200.0.1".parse().unwrap());
            let hosts: Vec<_> = networks[0].remote.iter().map(|entry| entry.host.to_string()).collect();
            assert_eq!(hosts, ["10.200.0.9", expected], "{director} of epoch {epoch}, {seat:?}");
        };
        check(&seat, "d2", 5, "10.200.0.22");
        check(&seat, "d3", 5, "10.200.0.9");
        check(&seat, "d2", 4, "10.200.0.9");
        check(&Seat { vni: 101, ..seat.clone() }, "d2", 5, "10.200.0.9");
        check(&Seat { epoch: Epoch(6), ..seat.clone() }, "d2", 5, "10.200.0.9");
        check(&Seat { epoch: Epoch(6), ..seat.clone() }, "d2", 6, "10.200.0.9");
        check(&Seat { successor: None, ..seat.clone() }, "d2", 5, "10.200.0.9");
        // It is this host, which has it at a port of its own.
        check(&Seat { successor: Some("n1".parse().unwrap()), ..seat }, "n1", 5, "10.200.0.1");
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
