//! From the desired state to what the kernel adapters take: routes between hosts, partition networks, and the
//! links of a partition's namespace. Pure.

use crate::rules::OUTSIDE;
use ipnet::IpNet;
use pan_api::desired::{Desired, ImportEnd, Network, Unit};
use pan_balance::stable_hash;
use pan_linux::overlay::{LocalPort, NetworkSpec, RemoteEntry};
use pan_linux::rtnl::{Hop, Mac, Route};
use pan_linux::underlay::{Peer, UnderlaySpec};
use pan_model::HostName;
use pan_model::host_config::HostConfig;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The prefix of the names of partitions' namespaces.
pub(crate) const NAMESPACE_PREFIX: &str = "pand-";

/// The name of a partition's namespace.
pub(crate) fn namespace_name(vni: u32) -> String {
    format!("{NAMESPACE_PREFIX}{vni}")
}

/// What the names of gateways' ports begin with. Bridges are shared with whoever else runs on the host; of their
/// ports only these are a director's.
pub(crate) const GATEWAY_PORTS: &str = "pg";

/// The host's end of the gateway's cable, the port on the partition's bridge.
pub(crate) fn gateway_port(vni: u32) -> String {
    format!("{GATEWAY_PORTS}{vni}")
}

/// A namespace: what it is called, and the host's end of its cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seat {
    /// The network that its inner link is in.
    pub vni: u32,
    pub name: String,
    pub port: String,
}

impl Seat {
    /// A partition's own.
    pub(crate) fn of(vni: u32) -> Self {
        Self { vni, name: namespace_name(vni), port: gateway_port(vni) }
    }
}

/// How the namespace of a partition is wired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wiring {
    pub vni: u32,
    /// Of the partition's network, in bytes.
    pub mtu: u32,
    pub gateway_mac: Mac,
    pub gateways: Vec<IpNet>,
    /// The servers: the gateway never has to ask for them.
    pub neighbours: BTreeMap<IpAddr, Mac>,
    /// This director's own address towards the clients of this partition; none without a link to them.
    pub outside_mac: Option<Mac>,
    /// How clients are reached.
    pub routes: Vec<Route>,
}

pub(crate) fn underlay(config: &HostConfig, desired: &Desired) -> UnderlaySpec {
    let peers = desired.peers.iter().map(|peer| Peer { address: peer.address, a: peer.a, b: peer.b }).collect();
    UnderlaySpec { local: config.address, dev_a: config.fabrics.a.interface.clone(), dev_b: config.fabrics.b.interface.clone(), peers }
}

/// The partition networks. A gateway's port is attached on the owner only.
pub(crate) fn networks(desired: &Desired) -> Vec<NetworkSpec> {
    let spec = |network: &Network| {
        let unit = desired.units.iter().find(|unit| unit.vni == network.vni && unit.owner);
        let imported = crate::imports::ends(desired).filter(|(end, _)| end.vni == network.vni);
        let imported: Vec<LocalPort> = imported.map(|(end, port)| local_port(end, port)).collect();
        let local = unit.map(|unit| {
            let epoch = network.entries.iter().find(|entry| entry.mac == unit.gateway_mac).map_or(0, |entry| entry.epoch.0);
            LocalPort { mac: unit.gateway_mac.0, addresses: unit.gateways.clone(), port: gateway_port(unit.vni), epoch }
        });
        let remote = network
            .entries
            .iter()
            .filter(|entry| unit.is_none_or(|unit| entry.mac != unit.gateway_mac))
            .filter(|entry| imported.iter().all(|port| port.mac != entry.mac.0))
            .map(|entry| RemoteEntry { mac: entry.mac.0, addresses: entry.addresses.clone(), host: entry.via, epoch: entry.epoch.0 });
        NetworkSpec {
            vni: network.vni,
            mtu: network.mtu,
            remote: remote.collect(),
            local: local.into_iter().chain(imported.clone()).collect(),
        }
    };
    desired.networks.iter().map(spec).collect()
}

fn local_port(end: &ImportEnd, port: String) -> LocalPort {
    LocalPort { mac: end.mac.0, addresses: end.addresses.clone(), port, epoch: end.epoch.0 }
}

/// The wiring of a unit's namespace; `outside` are the routes of [`client_routes`].
pub(crate) fn wiring(host: &HostName, unit: &Unit, network: &Network, outside: &[Route]) -> Wiring {
    let gateways = unit
        .subnets
        .iter()
        .zip(&unit.gateways)
        .map(|(subnet, gateway)| IpNet::new(*gateway, subnet.0.prefix_len()).expect("a subnet's own prefix length is valid"));
    let servers = network.entries.iter().filter(|entry| entry.mac != unit.gateway_mac);
    let neighbours = servers.flat_map(|entry| entry.addresses.iter().map(|address| (*address, entry.mac.0)));
    Wiring {
        vni: unit.vni,
        mtu: network.mtu,
        gateway_mac: unit.gateway_mac.0,
        gateways: gateways.collect(),
        neighbours: neighbours.collect(),
        outside_mac: Some(outside_mac(host, unit.vni)),
        routes: outside.to_vec(),
    }
}

/// A locally administered address that no other director and no other partition has.
pub(crate) fn outside_mac(host: &HostName, vni: u32) -> Mac {
    let hash = stable_hash(&[host.as_str().as_bytes(), &vni.to_be_bytes()]).to_be_bytes();
    [0x02, 0x71, hash[4], hash[5], hash[6], hash[7]]
}

/// How a partition's namespace reaches clients: as the host itself would through its outside interface, which
/// has `addresses` and static routes. Without a gateway there, everybody is on the link.
pub(crate) fn client_routes(interface: &str, addresses: &[IpNet], routes: &[Route]) -> Vec<Route> {
    let route = |dst: IpNet, via: Option<IpAddr>| {
        let hops = vec![Hop { via, dev: OUTSIDE.to_owned() }];
        Route { dst, src: None, hops, mtu: None, rto_min: None }
    };
    let real = addresses.iter().filter(|net| match net.addr() {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    });
    let mut all: Vec<Route> = real.map(|net| route(net.trunc(), None)).collect();
    for unspecified in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        let everywhere = IpNet::new(unspecified, 0).expect("0 is a valid prefix length");
        let default = routes.iter().filter(|route| route.dst == everywhere).flat_map(|route| &route.hops);
        let via = default.filter(|hop| hop.dev == interface).find_map(|hop| hop.via);
        all.push(route(everywhere, via));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{desired, import, unit};
    use pan_api::desired::NetworkEntry;

    fn hops(routes: &[Route]) -> Vec<String> {
        let via = |route: &Route| route.hops[0].via.map_or("link".to_owned(), |via| via.to_string());
        routes.iter().map(|route| format!("{} {}", route.dst, via(route))).collect()
    }

    #[test]
    fn clients_are_reached_as_the_host_reaches_them() {
        let addresses = ["198.18.0.241/24", "fd18::241/64", "fe80::1/64"].map(|net| net.parse().unwrap());
        assert_eq!(hops(&client_routes("eth9", &addresses, &[])), ["198.18.0.0/24 link", "fd18::/64 link", "0.0.0.0/0 link", "::/0 link"]);
        let gateway = |dev: &str| Route {
            dst: "0.0.0.0/0".parse().unwrap(),
            src: None,
            hops: vec![Hop { via: Some("198.18.0.1".parse().unwrap()), dev: dev.into() }],
            mtu: None,
            rto_min: None,
        };
        assert_eq!(hops(&client_routes("eth9", &[], &[gateway("eth9")])), ["0.0.0.0/0 198.18.0.1", "::/0 link"]);
        assert_eq!(hops(&client_routes("eth9", &[], &[gateway("eth0")])), ["0.0.0.0/0 link", "::/0 link"]);
    }

    #[test]
    fn only_the_owner_attaches_the_gateway() {
        let mut desired = desired(vec![unit(Vec::new())]);
        let specs = networks(&desired);
        assert_eq!(specs[0].local[0].port, "pg100");
        assert_eq!(specs[0].remote.len(), 1, "the server, not the gateway");
        desired.units[0].owner = false;
        let specs = networks(&desired);
        assert!(specs[0].local.is_empty());
        assert_eq!(specs[0].remote.len(), 2);
    }

    #[test]
    fn what_stands_for_imports_is_here() {
        let mut desired = desired(vec![unit(Vec::new())]);
        desired.imports = vec![import(7, Vec::new())];
        let end = &desired.imports[0].near;
        let entry = NetworkEntry { mac: end.mac, addresses: end.addresses.clone(), ..desired.networks[0].entries[0].clone() };
        desired.networks[0].entries.push(entry);
        desired.networks.push(Network { vni: 200, entries: Vec::new(), ..desired.networks[0].clone() });
        let ports = |specs: &[NetworkSpec], at: usize| specs[at].local.iter().map(|local| local.port.clone()).collect::<Vec<_>>();
        let specs = networks(&desired);
        assert_eq!((ports(&specs, 0), ports(&specs, 1)), (vec!["pg100".to_owned(), "pgn7".to_owned()], vec!["pgx8".to_owned()]));
        assert_eq!(specs[0].remote.len(), 1, "the server alone");
        assert!(near_and_far_names_fit(u32::MAX), "an interface has 15 letters");
    }

    fn near_and_far_names_fit(number: u32) -> bool {
        let mut order = import(7, Vec::new());
        order.number = number;
        let mut desired = desired(Vec::new());
        desired.imports = vec![order];
        crate::imports::ends(&desired).all(|(_, port)| port.len() <= 15)
    }

    #[test]
    fn directors_and_partitions_have_their_own_outside_addresses() {
        let mac = |host: &str, vni| outside_mac(&host.parse().unwrap(), vni);
        assert_ne!(mac("d1", 100), mac("d2", 100));
        assert_ne!(mac("d1", 100), mac("d1", 101));
        assert_eq!(mac("d1", 100), mac("d1", 100));
    }

    #[test]
    fn a_gateway_has_its_subnets_prefix_and_knows_the_servers() {
        let desired = desired(vec![unit(Vec::new())]);
        let wiring = wiring(&desired.host, &desired.units[0], &desired.networks[0], &[]);
        assert_eq!(wiring.gateways.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1/24", "fd00:1::1/64"]);
        assert_eq!(wiring.neighbours.len(), 2);
    }
}
