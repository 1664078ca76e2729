//! Units for tests.
#![allow(clippy::unwrap_used)]

use pan_api::desired::{
    BackendOrder, Desired, ImportEnd, ImportOrder, ImportWay, Network, NetworkEntry, ServiceOrder, Unit, WebCluster, WebOrder,
};
use pan_model::proxy::{MatchSpec, RouteSpec};
use pan_model::service::BackendState;
use pan_model::{Epoch, Generation, Mac};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

pub(crate) fn backend(index: u32, state: BackendState) -> BackendOrder {
    BackendOrder {
        index,
        server: format!("web-{index}").parse().unwrap(),
        addresses: vec![format!("10.0.0.{}", 10 + index).parse().unwrap(), format!("fd00:1::{}", 10 + index).parse().unwrap()],
        state,
        weight: 1,
        epoch: Epoch(1),
    }
}

pub(crate) fn service(name: &str, backends: Vec<BackendOrder>) -> ServiceOrder {
    ServiceOrder {
        name: name.parse().unwrap(),
        addresses: vec!["198.18.0.10".parse().unwrap(), "fd18::10".parse().unwrap()],
        port: 80,
        target_port: 8080,
        backends,
    }
}

pub(crate) fn unit(services: Vec<ServiceOrder>) -> Unit {
    Unit {
        partition: "demo".parse().unwrap(),
        vni: 100,
        owner: true,
        epoch: Epoch(1),
        gateways: vec!["10.0.0.1".parse().unwrap(), "fd00:1::1".parse().unwrap()],
        gateway_mac: Mac([2, 0x70, 10, 0, 0, 1]),
        subnets: vec!["10.0.0.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
        public: vec!["198.18.0.10".parse().unwrap(), "fd18::10".parse().unwrap()],
        services,
        web: Vec::new(),
    }
}

/// A service of layer 7 with clusters and the numbers of their servers; the last has what no route matches.
pub(crate) fn web(name: &str, clusters: &[(&str, std::ops::RangeInclusive<u32>)]) -> WebOrder {
    let all = clusters.iter().flat_map(|(_, numbers)| numbers.clone()).map(|number| backend(number, BackendState::Up));
    let route = |(at, (cluster, _)): (usize, &(&str, _))| RouteSpec {
        matches: MatchSpec { path: (at + 1 < clusters.len()).then(|| format!("/{cluster}/")), ..MatchSpec::default() },
        cluster: Some((*cluster).to_owned()),
        redirect: None,
        weight: 100,
        edits: Default::default(),
    };
    let cluster = |(cluster, numbers): &(&str, std::ops::RangeInclusive<u32>)| WebCluster {
        name: cluster.parse().unwrap(),
        servers: numbers.clone().map(|number| backend(number, BackendState::Up).server).collect(),
        protocol: Default::default(),
        announce: false,
    };
    WebOrder {
        service: service(name, all.collect()),
        routes: clusters.iter().enumerate().map(route).collect(),
        clusters: clusters.iter().map(cluster).collect(),
        balance: Default::default(),
        retry: Default::default(),
        timeouts: Default::default(),
        tls: Vec::new(),
        edits: Default::default(),
        limits: Default::default(),
        forwarding: Default::default(),
        proxy_protocol: Default::default(),
    }
}

/// An import of the unit's partition, and a way to a service of another network with the same addresses.
pub(crate) fn import(number: u32, backends: Vec<BackendOrder>) -> ImportOrder {
    let end = |vni: u32, last: u8| ImportEnd {
        vni,
        mac: Mac([2, 0x70, 10, 0, 0, last]),
        addresses: vec![format!("10.0.0.{last}").parse().unwrap(), format!("fd00:1::{last}").parse().unwrap()],
        epoch: Epoch(1),
    };
    let service = ServiceOrder { addresses: Vec::new(), ..service("www", backends) };
    let way = ImportWay { number: number + 1, moved: false, far: end(200, 60), service };
    ImportOrder { number, partition: "demo".parse().unwrap(), name: "pay".parse().unwrap(), near: end(100, 50), way: Some(way) }
}

pub(crate) fn desired(units: Vec<Unit>) -> Desired {
    let entry = |mac: Mac, addresses: &[&str], host: &str, via: &str| NetworkEntry {
        mac,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        host: host.parse().unwrap(),
        via: via.parse().unwrap(),
        epoch: Epoch(1),
        cluster: None,
        by_service: false,
    };
    let network = |unit: &Unit| Network {
        partition: unit.partition.clone(),
        vni: unit.vni,
        mtu: 1430,
        subnets: unit.subnets.clone(),
        gateways: unit.gateways.clone(),
        gateway_mac: unit.gateway_mac,
        entries: vec![
            entry(Mac([2, 0x70, 10, 0, 0, 11]), &["10.0.0.11", "fd00:1::11"], "n1", "10.200.0.11"),
            entry(unit.gateway_mac, &["10.0.0.1", "fd00:1::1"], "d1", "10.200.0.21"),
        ],
    };
    Desired {
        version: pan_api::WIRE_VERSION,
        billed: Vec::new(),
        blanks: None,
        imports: Vec::new(),
        admission: pan_model::Admission::FIRST,
        generation: Generation { term: 1, step: 1 },
        host: "d1".parse().unwrap(),
        peers: pan_api::peers::Peers::default(),
        networks: units.iter().map(network).collect(),
        servers: Vec::new(),
        warm: Vec::new(),
        seats: Vec::new(),
        units,
        snapshots: Vec::new(),
        replicas: Vec::new(),
    }
}

/// Answers each line that comes with one.
pub(crate) fn serve(stream: UnixStream, answer: &str) {
    let answer = format!("{}\n", answer.replace('\n', " "));
    std::thread::spawn(move || {
        let (mut stream, mut byte) = (stream, [0; 1]);
        while stream.read_exact(&mut byte).is_ok() {
            if byte == *b"\n" && stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
}

/// A socket in a folder where each question has the same answer.
pub(crate) fn answering(folder: &Path, answer: &'static str) -> PathBuf {
    let path = folder.join("control");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap(), answer)));
    path
}
