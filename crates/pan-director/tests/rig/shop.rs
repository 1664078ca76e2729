//! Another partition with the same addresses, that imports the service.

use super::{
    Connection, DEADLINE, DirectorHost, MTU, Mac, NetworkSpec, PORT, RemoteEntry, Rig, Space, TARGET, ip, plug_server, server_addresses,
};
use pan_api::desired::{Desired, ImportEnd, ImportOrder, ImportWay, Network, NetworkEntry, ServiceOrder};
use pan_director::Troubles;
use pan_linux::overlay::LocalPort;
use pan_linux::sysctl;
use pan_model::Epoch;
use pan_model::service::BackendState;
use std::io::{BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

const SHOP: u32 = 4343;
/// The addresses of the import in its partition.
pub const IMPORT: [&str; 2] = ["10.0.0.50", "fd00:1::50"];
/// And of what stands for it in the other.
pub const STANDS: [&str; 2] = ["10.0.0.60", "fd00:1::60"];

/// A server of the other partition. It has the address of web-1.
pub struct Shop {
    server: Space,
}

fn end(vni: u32, addresses: [&str; 2], epoch: u8) -> ImportEnd {
    ImportEnd { vni, mac: Mac::of(ip(addresses[0])), addresses: addresses.map(ip).to_vec(), epoch: Epoch(u64::from(epoch)) }
}

fn remote(end: &ImportEnd, director: u8) -> RemoteEntry {
    let host = ip(&format!("10.200.0.{director}"));
    RemoteEntry { mac: end.mac.0, addresses: end.addresses.clone(), host, epoch: end.epoch.0 }
}

/// What is wanted of a director, with the import at director `at` since that epoch, and the way to the service, if any.
fn with_import(mut desired: Desired, here: u8, (at, epoch): (u8, u8), way: Option<u32>) -> Desired {
    let (near, far) = (end(SHOP, IMPORT, epoch), end(super::VNI, STANDS, epoch));
    let server = NetworkEntry { by_service: false, ..desired.networks[0].entries[0].clone() };
    let entry = |end: &ImportEnd, by_service| NetworkEntry {
        mac: end.mac,
        addresses: end.addresses.clone(),
        host: format!("d{at}").parse().unwrap(),
        via: ip(&format!("10.200.0.{at}")),
        epoch: end.epoch,
        cluster: None,
        by_service,
    };
    let shop = Network {
        partition: "shop".parse().unwrap(),
        vni: SHOP,
        entries: vec![NetworkEntry { host: "n9".parse().unwrap(), ..server }, entry(&near, false)],
        ..desired.networks[0].clone()
    };
    desired.networks[0].entries.extend(way.map(|_| entry(&far, true)));
    desired.networks.push(shop);
    if here == at {
        let service = ServiceOrder { addresses: Vec::new(), ..desired.units[0].services[0].clone() };
        let way = way.map(|number| ImportWay { number, moved: epoch > 1, far, service });
        desired.imports = vec![ImportOrder { number: 1, partition: "shop".parse().unwrap(), name: "pay".parse().unwrap(), near, way }];
    }
    desired
}

impl Rig {
    /// A server of the other partition, on the node.
    pub fn shop(&mut self) -> Shop {
        let node = self.node.space.as_ref().unwrap();
        Shop { server: plug_server(node, "srvshop", 1) }
    }

    /// The service's unit belongs to director `owner`, the import to director `at` since `epoch`.
    pub fn import(&mut self, owner: u8, states: &[BackendState], (at, epoch): (u8, u8), way: Option<u32>) {
        for director in [&self.first, &self.second] {
            let desired = self.desired(owner, director.number == owner, states);
            director.apply(&with_import(desired, director.number, (at, epoch), way));
        }
        let local =
            LocalPort { mac: Mac::of(server_addresses(1)[0]).0, addresses: server_addresses(1).to_vec(), port: "srvshop".into(), epoch: 1 };
        let near = remote(&end(SHOP, IMPORT, epoch), at);
        self.node.others = vec![NetworkSpec { vni: SHOP, mtu: MTU, remote: vec![near], local: vec![local] }];
        self.node.stands = way.map(|_| remote(&end(super::VNI, STANDS, epoch), at)).into_iter().collect();
        self.node.point(owner, owner);
    }

    /// The first director is to bring an import into a network that it is told nothing of.
    pub fn import_nowhere(&self, states: &[BackendState]) -> Troubles {
        let mut desired = with_import(self.desired(1, true, states), 1, (1, 1), Some(2));
        desired.networks.retain(|network| network.vni != SHOP);
        self.first.apply_with_troubles(&desired)
    }

    /// Whether a director still sees all as it was made.
    pub fn looks_well(&self, director: &DirectorHost, owner: u8, states: &[BackendState], at: (u8, u8), way: Option<u32>) -> Vec<String> {
        let desired = self.desired(owner, director.number == owner, states);
        director.look(&with_import(desired, director.number, at, way))
    }

    /// Whether a server of the service's partition reaches somebody by what stands for the import.
    pub fn comes_back(&self, to: &str, port: u16, limit: Duration) -> bool {
        reaches(&self.node._servers[0], to, port, limit)
    }

    /// The same for the addresses of the pair between the two namespaces, to which the way is known there.
    pub fn reaches_the_pair(&self, limit: Duration) -> bool {
        let server = &self.node._servers[0];
        let by_hand = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let run = || std::process::Command::new(words[0]).args(&words[1..]).status().unwrap();
            assert!(server.netns.run(run).unwrap().success(), "{line}");
        };
        by_hand("ip route replace 169.254.0.0/16 via 10.0.0.60");
        ["169.254.0.1", "169.254.0.2"].iter().any(|to| [PORT, TARGET].iter().any(|port| reaches(server, to, *port, limit)))
    }
}

fn reaches(from: &Space, to: &str, port: u16, limit: Duration) -> bool {
    let to = SocketAddr::new(ip(to), port);
    from.netns.run(|| TcpStream::connect_timeout(&to, limit).is_ok()).unwrap()
}

impl Shop {
    /// Over how many routers its packets may go.
    pub fn hops(&self, most: u8) {
        for key in ["net/ipv4/ip_default_ttl", "net/ipv6/conf/all/hop_limit", "net/ipv6/conf/eth0/hop_limit"] {
            sysctl::set(Some(&self.server.netns), key, &most.to_string()).unwrap();
        }
    }

    /// A new connection to the import; the first answer is awaited.
    pub fn connect(&self, to: &str, limit: Duration) -> std::io::Result<Connection> {
        super::connect_from(&self.server.netns, to, limit)
    }

    /// How a connection to another port, or address, ends.
    pub fn connect_port(&self, to: &str, port: u16, limit: Duration) -> std::io::ErrorKind {
        let to = SocketAddr::new(ip(to), port);
        self.server.netns.run(|| TcpStream::connect_timeout(&to, limit)).unwrap().unwrap_err().kind()
    }
}

impl Connection {
    /// From where the server sees it come.
    pub fn seen_from(&mut self) -> IpAddr {
        self.stream.get_mut().write_all(b"from\n").unwrap();
        self.hear().unwrap().parse().unwrap()
    }

    /// Whether it is answered within a time.
    pub fn is_answered_within(&mut self, limit: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(limit)).unwrap();
        let answered = self.ask().is_ok();
        self.stream.get_ref().set_read_timeout(Some(DEADLINE)).unwrap();
        if !answered {
            // What was read in part is of no use any more.
            let stream = self.stream.get_ref().try_clone().unwrap();
            self.stream = BufReader::new(stream);
        }
        answered
    }
}
