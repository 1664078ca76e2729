//! From a unit to the document of its proxy. Pure.

use pan_api::desired::{BackendOrder, Unit, WebCluster, WebOrder};
use pan_model::ServerName;
use pan_model::proxy::{BackendSpec, ClusterSpec, ProxySpec, ServiceSpec};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// What weights are counted in: a server that comes up slowly has a part of one.
const WHOLE: u32 = 100;

/// The document.
pub(super) fn document(unit: &Unit) -> ProxySpec {
    ProxySpec { services: unit.web.iter().map(service).collect() }
}

fn service(order: &WebOrder) -> ServiceSpec {
    let WebOrder { service, routes, clusters, retry, timeouts, tls, edits, limits, forwarding, proxy_protocol, balance: _ } = order;
    ServiceSpec {
        name: service.name.to_string(),
        listen: service.addresses.iter().map(|address| SocketAddr::new(*address, service.port)).collect(),
        tls: tls.clone(),
        routes: routes.clone(),
        clusters: clusters.iter().map(|one| cluster(order, one)).collect(),
        edits: edits.clone(),
        limits: *limits,
        timeouts: *timeouts,
        retry: *retry,
        forwarding: *forwarding,
        proxy_protocol: *proxy_protocol,
    }
}

fn cluster(order: &WebOrder, cluster: &WebCluster) -> ClusterSpec {
    let own: BTreeSet<&ServerName> = cluster.servers.iter().collect();
    let backends = order.service.backends.iter().filter(|backend| own.contains(&backend.server));
    ClusterSpec {
        name: cluster.name.to_string(),
        servers: backends.filter_map(|one| backend(one, order.service.target_port)).collect(),
        balance: order.balance.clone(),
        protocol: cluster.protocol,
        announce: cluster.announce,
    }
}

/// Of its addresses the first: the gateway has one in each of its networks.
fn backend(order: &BackendOrder, port: u16) -> Option<BackendSpec> {
    Some(BackendSpec {
        name: order.server.to_string(),
        index: order.index,
        address: SocketAddr::new(*order.addresses.first()?, port),
        state: order.state,
        weight: order.weight.saturating_mul(WHOLE),
        capability: WHOLE,
        tier: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{backend, service, unit, web};
    use pan_model::service::BackendState::{Suspect, Up};

    #[test]
    fn each_cluster_has_its_own_servers_and_all_addresses_are_listened_on() {
        let mut unit = unit(vec![service("www", vec![backend(9, Up)])]);
        unit.web = vec![web("shop", &[("api", 1..=1), ("web", 2..=3)])];
        unit.web[0].service.backends[2].state = Suspect;
        let document = document(&unit);
        assert_eq!(document.services.len(), 1, "layer 4 is none of its business");
        let shop = &document.services[0];
        assert_eq!(shop.listen, ["198.18.0.10:80".parse().unwrap(), "[fd18::10]:80".parse().unwrap()]);
        let servers = |at: usize| shop.clusters[at].servers.iter().map(|one| (one.address.to_string(), one.state)).collect::<Vec<_>>();
        assert_eq!(servers(0), [("10.0.0.11:8080".to_owned(), Up)]);
        assert_eq!(servers(1), [("10.0.0.12:8080".to_owned(), Up), ("10.0.0.13:8080".to_owned(), Suspect)]);
    }
}
