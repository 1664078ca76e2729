//! Services and imports as the API shows them.

use crate::core::imports::{self, Ways};
use crate::core::orders::{backend_state, servers_behind};
use crate::core::record::ImportRecord;
use crate::core::seen::Life;
use crate::core::world::{ImportKey, ServiceKey, World};
use pan_api::import::Import;
use pan_api::service::{Backend, ServiceState};
use pan_model::service::BackendState;
use std::net::IpAddr;

pub(super) fn service(world: &World, key: &ServiceKey, tables_current: bool, ways: &Ways<'_>) -> pan_api::service::Service {
    let record = &world.services[key];
    let owner = world.partitions.get(&key.0).and_then(|partition| partition.owner.clone());
    let servers = servers_behind(world, &key.0, &record.spec);
    let backends: Vec<Backend> = servers
        .iter()
        .map(|server| Backend {
            server: server.name.clone(),
            state: backend_state(world, server, &world.servers[server]),
            weight: 1,
            connections: owner.as_ref().map_or(0, |owner| ways.connections(world, owner, server)),
        })
        .collect();
    let answered = owner.as_ref().is_some_and(|owner| world.seen.life(owner) != Life::Dead);
    // One that only leads elsewhere is answered by the director itself.
    let served = record.spec.clusters().is_empty() || backends.iter().any(|backend| backend.state == BackendState::Up);
    let state = if !answered || !served {
        ServiceState::Down
    } else if tables_current {
        ServiceState::Ready
    } else {
        ServiceState::Progressing
    };
    let address = *record.addresses.first().expect("a service has an address");
    pan_api::service::Service {
        partition: key.0.clone(),
        name: key.1.clone(),
        address,
        addresses: record.addresses.clone(),
        port: record.spec.port,
        director: owner.map(|owner| owner.to_string()),
        backends,
        state,
        exports: ways.exports(key, &record.spec),
        reach: reach(world, address),
        certificates: record.certificates.clone(),
        spec: record.spec.shown(),
    }
}

/// What it is of the other partition that it leads nowhere is not shown.
pub(super) fn import(world: &World, key: &ImportKey, record: &ImportRecord) -> Import {
    Import {
        partition: key.0.clone(),
        name: key.1.clone(),
        address: *record.addresses.first().expect("a partition has a network"),
        addresses: record.addresses.clone(),
        port: imports::port(world, key),
        state: imports::state(world, key),
        spec: record.spec.clone(),
    }
}

/// The address by which the machine around a laboratory reaches a public address.
fn reach(world: &World, address: IpAddr) -> Option<IpAddr> {
    let (from, to) = world.settings.reach?;
    match (address, from.network(), to.network()) {
        _ if from == to => Some(address),
        (IpAddr::V4(v4), IpAddr::V4(from_v4), IpAddr::V4(to)) if from.contains(&address) => {
            let offset = u32::from(v4) - u32::from(from_v4);
            u32::from(to).checked_add(offset).map(|bits| IpAddr::V4(bits.into()))
        }
        _ => None,
    }
}
