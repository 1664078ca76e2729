//! The desired state of every host, computed from the world.

use super::record::{EndingPhase, Goal, HostRecord, Intent, PartitionRecord, ServerRecord, ServiceRecord};
use super::roster::Rosters;
use super::seen::Life;
use super::world::{ServiceKey, World};
use super::{ending, imports, services, usage, volumes, warm, web};
use pan_api::WIRE_VERSION;
use pan_api::desired::{BackendOrder, Desired, ImportOrder, Network, NetworkEntry, RunOrder, Seat, ServerOrder, ServiceOrder, Unit};
use pan_api::peers::Peers;
use pan_api::report::Phase;
use pan_api::volume::{ReplicaOrder, SnapshotOrder};
use pan_model::host::Role;
use pan_model::network::{GATEWAY_OFFSET, address_at};
use pan_model::service::{BackendState, Layer};
use pan_model::{ClusterName, Cpu, Generation, HostName, Mac, PartitionName, ServerKey, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The desired state of every host, without generations.
#[must_use]
pub fn all(world: &World) -> BTreeMap<HostName, Desired> {
    all_like(world, &mut Rosters::default())
}

/// The same, keeping those lists of hosts that are what they were.
#[must_use]
pub fn all_like(world: &World, rosters: &mut Rosters) -> BTreeMap<HostName, Desired> {
    *rosters = Rosters::of(world, rosters);
    let mut ends = imports::entries(world);
    let mut network = |name: &PartitionName, record: &PartitionRecord| network(world, name, record, ends.remove(name).unwrap_or_default());
    let networks: BTreeMap<&PartitionName, Network> = world.partitions.iter().map(|(name, record)| (name, network(name, record))).collect();
    let units: Vec<Unit> = world.partitions.iter().filter_map(|(name, record)| unit(world, name, record)).collect();
    let seats = services::seats(world);
    let mut warm = warm::all(world);
    let mut servers: BTreeMap<&HostName, Vec<(&ServerKey, &ServerRecord)>> = BTreeMap::new();
    for (key, server) in &world.servers {
        if let Some(node) = &server.node {
            servers.entry(node).or_default().push((key, server));
        }
    }
    let (mut replicas, mut snapshots) = (volumes::replicas(world), volumes::snapshots(world));
    let mut imports = imports::orders(world);
    let mut one = |host: &HostName, record| {
        let own = Own {
            servers: servers.remove(host).unwrap_or_default(),
            warm: warm.remove(host).unwrap_or_default(),
            replicas: replicas.remove(host).unwrap_or_default(),
            snapshots: snapshots.remove(host).unwrap_or_default(),
            imports: imports.remove(host).unwrap_or_default(),
        };
        one(world, (host, record, rosters.peers(world, host)), own, &Maps { networks: &networks, seats: &seats }, &units)
    };
    world.hosts.iter().map(|(host, record)| (host.clone(), one(host, record))).collect()
}

/// What hosts are told of the partitions that they have to do with.
struct Maps<'a> {
    networks: &'a BTreeMap<&'a PartitionName, Network>,
    seats: &'a BTreeMap<&'a PartitionName, Seat>,
}

/// What is one host's alone.
struct Own<'a> {
    servers: Vec<(&'a ServerKey, &'a ServerRecord)>,
    warm: Vec<ServerOrder>,
    replicas: Vec<ReplicaOrder>,
    snapshots: Vec<SnapshotOrder>,
    /// And the partitions whose networks they are in.
    imports: (Vec<ImportOrder>, BTreeSet<&'a PartitionName>),
}

fn one(
    world: &World,
    (host, record, peers): (&HostName, &HostRecord, Peers),
    Own { servers: mine, warm, replicas, snapshots, imports: (imports, joined) }: Own<'_>,
    Maps { networks, seats }: &Maps<'_>,
    units: &[Unit],
) -> Desired {
    let mut partitions: BTreeSet<&PartitionName> = mine.iter().map(|(key, _)| &key.partition).collect();
    partitions.extend(warm.iter().filter_map(|order| world.partitions.get_key_value(&order.key.partition)).map(|(name, _)| name));
    let units: Vec<Unit> = if record.roles.contains(&Role::Director) {
        let owned = |unit: &Unit| world.partitions[&unit.partition].owner.as_ref() == Some(host);
        units.iter().map(|unit| Unit { owner: owned(unit), ..unit.clone() }).collect()
    } else {
        Vec::new()
    };
    partitions.extend(units.iter().filter_map(|unit| world.partitions.get_key_value(&unit.partition)).map(|(name, _)| name));
    partitions.extend(joined);
    Desired {
        version: WIRE_VERSION,
        generation: Generation::default(),
        host: host.clone(),
        blanks: Some(record.blanks.clone()),
        admission: record.admission,
        peers,
        networks: partitions.iter().filter_map(|name| networks.get(name).cloned()).collect(),
        seats: partitions.iter().filter_map(|name| seats.get(name).cloned()).collect(),
        servers: mine.into_iter().filter_map(|(key, server)| order(world, key, server)).collect(),
        warm,
        billed: usage::billed(world, host),
        units,
        imports,
        replicas,
        snapshots,
    }
}

fn gateways(record: &PartitionRecord) -> Vec<IpAddr> {
    record.networks.iter().filter_map(|net| address_at(*net, GATEWAY_OFFSET)).collect()
}

fn gateway_mac(record: &PartitionRecord) -> Mac {
    gateways(record).first().map_or(Mac([2, 0x70, 0, 0, 0, 1]), |address| Mac::of(*address))
}

fn network(world: &World, name: &PartitionName, record: &PartitionRecord, imports: Vec<NetworkEntry>) -> Network {
    let clusters = world.clusters.iter().filter(|((partition, _), _)| partition == name);
    let named: BTreeSet<&ClusterName> =
        clusters.flat_map(|(_, cluster)| cluster.spec.allow.iter().flatten()).filter_map(|rule| rule.from.cluster()).collect();
    let mut entries: Vec<NetworkEntry> = world
        .in_partition(name)
        .filter_map(|(_, server)| {
            let host = server.node.clone()?;
            let via = world.hosts.get(&host)?.address;
            let cluster = named.contains(&server.cluster).then(|| server.cluster.clone());
            let (mac, addresses) = (server.mac, server.addresses.clone());
            Some(NetworkEntry { mac, addresses, host, via, epoch: server.epoch, cluster, by_service: false })
        })
        .collect();
    if let Some((host, owner)) = record.owner.as_ref().and_then(|owner| world.hosts.get_key_value(owner)) {
        entries.push(NetworkEntry {
            mac: gateway_mac(record),
            addresses: gateways(record),
            host: host.clone(),
            via: owner.address,
            epoch: record.owner_epoch,
            cluster: None,
            by_service: false,
        });
    }
    entries.extend(imports);
    Network {
        partition: name.clone(),
        vni: record.vni,
        mtu: world.settings.mtu,
        subnets: record.networks.clone(),
        gateways: gateways(record),
        gateway_mac: gateway_mac(record),
        entries,
    }
}

/// Whether everything a server comes after is there.
#[must_use]
pub fn may_start(world: &World, key: &ServerKey) -> bool {
    let Some(cluster) = world.cluster_of(key) else { return false };
    cluster.spec.after.iter().all(|after| {
        let servers = world.servers_of(&(key.partition.clone(), after.cluster.clone()));
        servers.iter().all(|other| {
            let server = &world.servers[other];
            server.intent == Intent::Stopped || world.seen.phase(other, server.node.as_ref(), server.epoch) == Some(Phase::Healthy)
        })
    })
}

pub(super) fn order(world: &World, key: &ServerKey, server: &ServerRecord) -> Option<ServerOrder> {
    let spec = &world.cluster_of(key)?.spec;
    let ending = server.ending.as_ref().is_some_and(|ending| ending.phase == EndingPhase::Stopping);
    let run = if ending || server.intent == Intent::Stopped {
        RunOrder::Stop
    } else if may_start(world, key) && volumes::are_ready(world, key) {
        RunOrder::Run
    } else {
        RunOrder::Hold
    };
    Some(ServerOrder {
        key: key.clone(),
        cluster: server.cluster.clone(),
        epoch: server.epoch,
        incarnation: server.incarnation,
        run,
        mac: server.mac,
        addresses: server.addresses.clone(),
        image: spec.image.clone(),
        command: spec.command.clone(),
        env: spec.env.clone(),
        files: spec.files.clone(),
        resources: spec.resources.needed(),
        cpu_max: cpu_max(world, key, spec.resources.cpu),
        stop: spec.stop.clone(),
        health: spec.health.clone(),
        restart_attempts: spec.restart.attempts,
        // What the PAN allows is what a server has without asking for less.
        egress: [spec.resources.egress, world.settings.egress].into_iter().flatten().min(),
        allow: spec.allow.clone(),
        volumes: volumes::of_order(world, key),
    })
}

/// What a partition has at most it never exceeds: its servers take no more than they asked for, which together is no more than that.
fn cpu_max(world: &World, key: &ServerKey, asked: Cpu) -> Option<Cpu> {
    let capacity = world.partitions.get(&key.partition)?.spec.capacity.as_ref()?;
    capacity.max.as_ref().map(|_| asked)
}

/// What a server is to the services in front of it.
#[must_use]
pub fn backend_state(world: &World, key: &ServerKey, server: &ServerRecord) -> BackendState {
    let Some(node) = &server.node else { return BackendState::Down };
    let healthy = world.seen.current_phase(key, server) == Some(Phase::Healthy);
    let ending = server.ending.as_ref().filter(|_| !ending::is_held(world, server));
    match (ending, world.seen.life(node)) {
        (_, Life::Dead) => BackendState::Down,
        (Some(ending), _) if healthy || ending.goal == Goal::Delete => BackendState::Draining,
        _ if !healthy => BackendState::Down,
        (_, Life::Suspect) => BackendState::Suspect,
        (_, Life::Alive | Life::Joining) => BackendState::Up,
    }
}

/// The servers of all clusters that answer a service.
#[must_use]
pub fn servers_behind(world: &World, partition: &PartitionName, spec: &ServiceSpec) -> Vec<ServerKey> {
    spec.clusters().into_iter().flat_map(|(name, _)| world.servers_of(&(partition.clone(), name.clone()))).collect()
}

/// A service as directors are told of it.
pub(super) fn service_order(world: &World, (partition, service): &ServiceKey, record: &ServiceRecord) -> ServiceOrder {
    let servers = servers_behind(world, partition, &record.spec);
    let backends = servers.iter().map(|key| {
        let server = &world.servers[key];
        BackendOrder {
            index: server.index,
            server: key.name.clone(),
            addresses: server.addresses.clone(),
            state: backend_state(world, key, server),
            weight: 1,
            epoch: server.epoch,
        }
    });
    ServiceOrder {
        name: service.clone(),
        addresses: record.addresses.clone(),
        port: record.spec.port,
        target_port: record.spec.target(),
        backends: backends.collect(),
    }
}

fn unit(world: &World, name: &PartitionName, record: &PartitionRecord) -> Option<Unit> {
    let services: Vec<_> = world.services.iter().filter(|(key, _)| key.0 == *name).collect();
    if services.is_empty() {
        return None;
    }
    let of = |layer: Layer| services.iter().copied().filter(move |(_, record)| record.spec.layer == layer);
    let public: BTreeSet<IpAddr> = services.iter().flat_map(|(_, service)| service.addresses.iter().copied()).collect();
    Some(Unit {
        partition: name.clone(),
        vni: record.vni,
        owner: false,
        epoch: record.owner_epoch,
        gateways: gateways(record),
        gateway_mac: gateway_mac(record),
        subnets: record.networks.clone(),
        public: public.into_iter().collect(),
        services: of(Layer::Four).map(|(key, record)| service_order(world, key, record)).collect(),
        web: of(Layer::Seven).map(|(key, record)| web::order(world, key, record)).collect(),
    })
}
