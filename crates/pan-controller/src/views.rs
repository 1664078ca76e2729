//! The view: the world as wire objects, made anew after each commit.

mod policies;
mod served;

use crate::core::domain::Progress;
use crate::core::ending;
use crate::core::hosts::has_spoken;
use crate::core::imports::Ways;
use crate::core::members::Member;
use crate::core::orders::may_start;
use crate::core::published;
use crate::core::record::{Duty, EndingPhase, HostRecord, Intent, ServerRecord, SnapshotRecord, SnapshotStage, SourceRecord, VolumeRecord};
use crate::core::seen::{HostSeen, Life};
use crate::core::tokens::{TokenFor, TokenRecord};
use crate::core::volumes;
use crate::core::world::{World, wall_text};
use crate::handle::{Grant, SnapshotPlace, View};
use pan_api::cluster::ClusterState;
use pan_api::host::{GateKind, LeaseState};
use pan_api::insight::{DomainDrain, DrainNode, DrainState};
use pan_api::node::Amount;
use pan_api::partition::PartitionState;
use pan_api::report::Phase;
use pan_api::requests::StoreMember;
use pan_api::token::{Token, TokenState, id_text};
use pan_api::volume::{HeadState, Replica, Snapshot, SnapshotState, Volume, VolumeState};
use pan_member::GateState;
use pan_member::profile::Gate;
use pan_model::host::{Fabrics, Link};
use pan_model::node::NodeState;
use pan_model::server::ServerState;
use pan_model::volume::Access;
use pan_model::{Admission, ByteSize, Cpu, HostName, Name, PartitionName, Resources, ServerKey, VolumeKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The world as the API shows it.
#[must_use]
pub fn view(world: &World, revision: u64) -> View {
    let directors = published::directors(world);
    let served: BTreeSet<&PartitionName> = world.services.keys().map(|(partition, _)| partition).collect();
    let current: BTreeSet<&PartitionName> =
        served.into_iter().filter(|partition| published::tables_current(world, &directors, partition)).collect();
    let ways = Ways::of(world);
    View {
        revision,
        partitions: world.partitions.keys().map(|name| (name.clone(), partition(world, name))).collect(),
        clusters: world.clusters.keys().map(|key| (key.clone(), cluster(world, key))).collect(),
        servers: world.servers.iter().map(|(key, record)| (key.clone(), server(world, key, record))).collect(),
        services: world.services.keys().map(|key| (key.clone(), served::service(world, key, current.contains(&key.0), &ways))).collect(),
        imports: world.imports.iter().map(|(key, record)| (key.clone(), served::import(world, key, record))).collect(),
        policies: world.policies.iter().map(|(key, record)| (key.clone(), policies::policy(key, record))).collect(),
        volumes: volumes_of(world),
        snapshots: world.volumes.iter().flat_map(|(key, volume)| places(world, key, volume)).collect(),
        nodes: nodes(world),
        hosts: hosts(world),
        events: world.events.iter().map(|(partition, events)| (partition.clone(), events.iter().cloned().collect())).collect(),
        audit: world.audit.clone(),
        usage: world.usage.clone(),
        created: world.partitions.iter().map(|(name, record)| (name.clone(), record.created)).collect(),
        timelines: world.timelines.view().into_iter().map(|(object, all)| (object, Arc::new(all))).collect(),
        snapshot: world.seen.snapshot.clone(),
        drains: world.pan.drains.keys().filter_map(|name| drain(world, name)).collect(),
        recorded: world.pan.leader.clone(),
        store: store(world),
        leader: elsewhere(world),
        tokens: world.tokens.iter().map(|(id, record)| (*id, token(*id, record))).collect(),
        grants: world.tokens.iter().filter_map(|(id, record)| Some((*id, grant(record)?))).collect(),
        refused: world.credentials.iter().filter_map(|(name, record)| Some((name.clone(), record.refused?))).collect(),
        keys: (world.pan.keys.current, world.pan.keys.newest),
        leads: world.leading,
        node_addresses: world.hosts.iter().map(|(name, record)| (name.clone(), record.address)).collect(),
    }
}

fn token(id: u64, record: &TokenRecord) -> Token {
    let (created, expires) = (wall_text(record.created), wall_text(record.expires));
    let none = Token {
        id: id_text(id),
        host: None,
        roles: Vec::new(),
        role: None,
        partition: None,
        name: None,
        created,
        expires,
        state: TokenState::Active,
    };
    match record.purpose.clone() {
        TokenFor::Joining { host, roles } => {
            let state = if record.used_for.is_some() { TokenState::Used } else { TokenState::Unused };
            Token { host: Some(host), roles, state, ..none }
        }
        TokenFor::Access { role, partition, name } => Token { role: Some(role), partition, name, ..none },
    }
}

fn grant(record: &TokenRecord) -> Option<Grant> {
    match record.purpose.clone() {
        TokenFor::Joining { .. } => None,
        TokenFor::Access { role, partition, name } => Some(Grant { secret: record.secret, role, partition, name, expires: record.expires }),
    }
}

fn store(world: &World) -> Vec<StoreMember> {
    let member = |(name, member): (&String, &Member)| StoreMember {
        name: name.clone(),
        answers: member.silent.is_none(),
        reason: member.silent.as_ref().map(|(_, why)| why.clone()),
    };
    world.seen.members.iter().map(member).collect()
}

fn elsewhere(world: &World) -> Option<(HostName, IpAddr)> {
    let name = world.pan.leader.as_ref().filter(|_| !world.leading)?;
    Some((name.clone(), world.hosts.get(name)?.address))
}

fn drain(world: &World, name: &str) -> Option<DomainDrain> {
    let domain = name.parse().ok()?;
    let record = world.pan.drains.get(name)?;
    let nodes = crate::core::domain::nodes_of(&world.seen.snapshot, &domain).into_iter().filter(|node| !record.spared.contains(node));
    let nodes: Vec<DrainNode> = nodes
        .map(|node| {
            let servers = world.servers.values().filter(|server| server.node.as_ref() == Some(&node)).count() as u64;
            DrainNode { begun: record.begun.contains_key(&node), servers, name: node }
        })
        .collect();
    // Who follows did not look itself; whether all are empty it sees all the same.
    let empty = nodes.iter().all(|node| node.begun && node.servers == 0);
    let (state, reason) = match world.seen.drains.1.get(name) {
        Some(Progress::Held(reason)) => (DrainState::Held, Some(reason.clone())),
        Some(Progress::Done) => (DrainState::Done, None),
        None if empty => (DrainState::Done, None),
        Some(Progress::Draining) | None => (DrainState::Draining, None),
    };
    Some(DomainDrain { domain: name.to_owned(), state, nodes, reason })
}

fn used_by<'a>(world: &'a World, servers: impl Iterator<Item = (&'a ServerKey, &'a ServerRecord)>) -> Resources {
    servers
        .filter_map(|(key, _)| world.cluster_of(key))
        .fold(Resources::default(), |sum, cluster| sum.plus(&cluster.spec.resources.needed()))
}

fn partition(world: &World, name: &pan_model::PartitionName) -> pan_api::partition::Partition {
    let record = &world.partitions[name];
    pan_api::partition::Partition {
        name: name.clone(),
        networks: record.networks.clone(),
        capacity: record.spec.capacity.clone().unwrap_or_default(),
        used: used_by(world, world.in_partition(name)),
        state: if record.deleting { PartitionState::Deleting } else { PartitionState::Ready },
        spec: record.spec.clone(),
    }
}

fn cluster(world: &World, key: &crate::core::world::ClusterKey) -> pan_api::cluster::Cluster {
    let record = &world.clusters[key];
    let servers = world.servers_of(key);
    let states: Vec<ServerState> = servers.iter().map(|server| state(world, server, &world.servers[server]).0).collect();
    let count = |wanted: ServerState| states.iter().filter(|state| **state == wanted).count();
    let running = count(ServerState::Running);
    let current = servers.iter().all(|server| world.servers[server].revision == record.revision);
    let cluster_state = if record.deleting {
        ClusterState::Deleting
    } else if running == states.len() && current {
        ClusterState::Ready
    } else if !states.is_empty() && count(ServerState::Stopped) == states.len() {
        ClusterState::Stopped
    } else if count(ServerState::Failed) > 0 || servers.iter().any(|server| world.seen.not_placed.contains_key(server)) {
        ClusterState::Degraded
    } else {
        ClusterState::Progressing
    };
    pan_api::cluster::Cluster {
        partition: key.0.clone(),
        name: key.1.clone(),
        desired: record.wanted(),
        policies: record.scheduled.as_ref().map(|scheduled| scheduled.by.clone()).unwrap_or_default(),
        running: u32::try_from(running).unwrap_or(u32::MAX),
        protected: crate::core::place::is_protected(world, key),
        state: cluster_state,
        spec: record.spec.clone(),
    }
}

fn state(world: &World, key: &ServerKey, record: &ServerRecord) -> (ServerState, Option<String>) {
    if let Some(ending) = record.ending.as_ref().filter(|_| !ending::is_held(world, record)) {
        let lost = ending.phase == EndingPhase::Stopping && world.seen.held.contains(key);
        return (ServerState::Stopping, lost.then(|| "whether it still runs is not known at present".to_owned()));
    }
    if record.intent == Intent::Stopped {
        return (ServerState::Stopped, None);
    }
    let Some(node) = &record.node else {
        let why = world.seen.not_placed.contains_key(key).then(|| "no place is available now".to_owned());
        return (ServerState::Pending, why);
    };
    match world.seen.life(node) {
        Life::Dead => return (ServerState::FailingOver, None),
        Life::Suspect => return (ServerState::Suspect, None),
        Life::Alive | Life::Joining => {}
    }
    let message = world.seen.servers.get(key).and_then(|seen| seen.report.message.clone());
    let coming = if world.timelines.is_open(&key.to_string()) { ServerState::FailingOver } else { ServerState::Starting };
    let current = world.seen.servers.get(key).is_some_and(|seen| seen.report.incarnation == record.incarnation);
    match world.seen.phase(key, Some(node), record.epoch) {
        Some(Phase::Healthy) if current => (ServerState::Running, None),
        Some(Phase::Unhealthy) if current => (ServerState::Failed, message.or_else(|| Some("fails its health check".into()))),
        Some(Phase::Failed) if current => (ServerState::Failed, message),
        Some(Phase::Stopping) => (ServerState::Stopping, message),
        None if !is_told_of(world, key, node) => {
            (ServerState::Unknown, Some("the controller has not heard of it since it was started".into()))
        }
        None | Some(Phase::Absent) if !may_start(world, key) => {
            (ServerState::Pending, Some("waits for a cluster that it comes after".into()))
        }
        None | Some(_) => (coming, message),
    }
}

/// Whether it is known that a server without a report has none: its node has spoken since this controller began, or was given it since.
fn is_told_of(world: &World, key: &ServerKey, node: &HostName) -> bool {
    has_spoken(world, node) || world.seen.awaited.contains_key(key) || world.timelines.is_open(&key.to_string())
}

fn server(world: &World, key: &ServerKey, record: &ServerRecord) -> pan_api::server::Server {
    let (state, message) = state(world, key, record);
    let held = ending::is_held(world, record).then(|| "it is to be moved or ended, which cannot begin at present".to_owned());
    let message = message.or(held);
    let seen = world.seen.servers.get(key);
    pan_api::server::Server {
        partition: key.partition.clone(),
        cluster: record.cluster.clone(),
        name: key.name.clone(),
        address: *record.addresses.first().expect("a server has an address"),
        addresses: record.addresses.clone(),
        mac: record.mac,
        node: record.node.as_ref().map(ToString::to_string),
        epoch: record.epoch,
        state,
        restarts: record.restarts + seen.map_or(0, |seen| seen.report.restarts),
        since: wall_text(seen.map_or(record.bound_at, |seen| seen.since)),
        protected: world.seen.protected.contains(key),
        message,
    }
}

fn volumes_of(world: &World) -> BTreeMap<VolumeKey, Volume> {
    let sources = world.sources.iter().map(|(key, record)| (key.clone(), source(world, key, record)));
    world.volumes.iter().map(|(key, record)| (key.clone(), volume(world, key, record))).chain(sources).collect()
}

/// One that many read has no copies of its own: those of the snapshot count.
fn source(world: &World, key: &VolumeKey, record: &SourceRecord) -> Volume {
    let from = &record.from.name;
    let volume = world.volumes.get(&VolumeKey { partition: key.partition.clone(), name: from.volume.clone() });
    let on = match volume.and_then(|volume| volume.snapshots.get(&from.name)).map(|snapshot| &snapshot.stage) {
        Some(SnapshotStage::Ready(on)) => on.len() as u64,
        Some(SnapshotStage::Taking | SnapshotStage::Failed(_)) | None => 0,
    };
    Volume {
        partition: key.partition.clone(),
        name: key.name.clone(),
        size: record.size,
        copies: record.copies,
        in_sync: on.min(u64::from(record.copies)),
        epoch: 0,
        attached_to: None,
        state: if on < u64::from(record.copies) { VolumeState::Degraded } else { VolumeState::Ready },
        server: None,
        mount: None,
        used: None,
        filesystem: record.filesystem,
        access: Access::ReadersMany,
        behind: ByteSize(0),
        from: Some(from.clone()),
        snapshots: Vec::new(),
        replicas: Vec::new(),
    }
}

fn volume(world: &World, key: &VolumeKey, record: &VolumeRecord) -> Volume {
    let user = volumes::user(world, key);
    let seen = user.as_ref().and_then(|server| world.seen.servers.get(server));
    let seen = seen.and_then(|seen| seen.report.volumes.iter().find(|one| one.volume == record.id));
    let mount = user.as_ref().and_then(|server| volumes::mount(world, server, key));
    let user = user.map(|server| server.name);
    // A copy that is not made yet has nothing, like the others, and nobody may say that it is there.
    let in_sync = record.mirror.in_sync.difference(&record.unmade).count() as u64;
    let state = match record.unmade.is_empty() {
        _ if record.deleting => VolumeState::Deleting,
        false => VolumeState::Making,
        true if in_sync < u64::from(record.copies) => VolumeState::Degraded,
        true => VolumeState::Ready,
    };
    let replica = |(member, host): (&pan_model::mirror::Member, &HostName)| {
        let replicas = world.seen.hosts.get(host).and_then(|seen| seen.replicas.as_ref());
        let seen = replicas.and_then(|replicas| replicas.get(&record.id));
        Replica {
            host: host.clone(),
            in_sync: record.mirror.in_sync.contains(member) && !record.unmade.contains(member),
            used: seen.map(|seen| seen.used),
            trouble: seen.and_then(|seen| seen.trouble.clone()),
        }
    };
    let replicas: Vec<Replica> = record.hosts.iter().map(replica).collect();
    Volume {
        partition: key.partition.clone(),
        name: key.name.clone(),
        size: record.size,
        copies: record.copies,
        in_sync,
        epoch: record.mirror.epoch.0,
        attached_to: seen.filter(|seen| seen.state == HeadState::Open).and_then(|_| user.clone()),
        state,
        server: record.server.clone().or(user),
        mount,
        used: replicas.iter().filter_map(|replica| replica.used).max(),
        filesystem: record.filesystem,
        access: Access::One,
        behind: seen.map_or(ByteSize(0), |seen| seen.behind),
        from: record.from.as_ref().map(|from| from.name.clone()),
        snapshots: snapshots(world, record),
        replicas,
    }
}

/// Where the snapshots of a volume can be read.
fn places(world: &World, key: &VolumeKey, volume: &VolumeRecord) -> Vec<((VolumeKey, Name), SnapshotPlace)> {
    let place = |(name, snapshot): (&Name, &SnapshotRecord)| {
        let SnapshotStage::Ready(on) = &snapshot.stage else { return None };
        let mut hosts: Vec<_> = on.iter().filter_map(|host| Some((host.clone(), world.hosts.get(host)?.address))).collect();
        hosts.sort_by_key(|(host, _)| world.seen.life(host) != Life::Alive);
        Some(((key.clone(), name.clone()), SnapshotPlace { id: snapshot.id, size: snapshot.size, hosts }))
    };
    volume.snapshots.iter().filter_map(place).collect()
}

/// The snapshots of a volume, the oldest first.
fn snapshots(world: &World, volume: &VolumeRecord) -> Vec<Snapshot> {
    let mut all: Vec<_> = volume.snapshots.iter().collect();
    all.sort_by_key(|(_, snapshot)| snapshot.id);
    let one = |(name, snapshot): (&Name, &SnapshotRecord)| {
        let (state, copies, message) = match &snapshot.stage {
            SnapshotStage::Taking => (SnapshotState::Taking, 0, volumes::trouble(world, volume, snapshot.id)),
            SnapshotStage::Ready(on) => (SnapshotState::Ready, on.len() as u64, None),
            SnapshotStage::Failed(why) => (SnapshotState::Failed, 0, Some(why.clone())),
        };
        Snapshot { name: name.clone(), size: snapshot.size, asked: wall_text(snapshot.asked), state, copies, message }
    };
    all.into_iter().map(one).collect()
}

fn shown_state(record: &HostRecord, seen: Option<&HostSeen>) -> NodeState {
    match (seen.map_or(Life::Joining, |seen| seen.life), record.duty) {
        (Life::Joining, _) => unheard(seen),
        (Life::Suspect, _) => NodeState::Suspect,
        (Life::Dead, _) => NodeState::Dead,
        (Life::Alive, Duty::Draining) => NodeState::Draining,
        (Life::Alive, Duty::Cordoned) => NodeState::Cordoned,
        (Life::Alive, Duty::Full) if seen.is_some_and(|seen| seen.quarantined) => NodeState::Quarantined,
        (Life::Alive, Duty::Full) => NodeState::Alive,
    }
}

/// One that has not been heard by this controller: is it new, or is the controller?
fn unheard(seen: Option<&HostSeen>) -> NodeState {
    if seen.is_some_and(|seen| seen.introduced) { NodeState::Joining } else { NodeState::Unknown }
}

fn fabrics(seen: Option<&HostSeen>) -> Fabrics {
    seen.map_or(Fabrics { a: Link::Down, b: Link::Down }, |seen| match seen.life {
        Life::Alive | Life::Suspect => seen.fabrics,
        Life::Dead | Life::Joining => Fabrics { a: Link::Down, b: Link::Down },
    })
}

/// What servers take of one node.
#[derive(Default)]
struct Load {
    used: Resources,
    servers: u64,
}

/// All nodes. The servers are gone through once, not once for each node.
fn nodes(world: &World) -> BTreeMap<HostName, pan_api::node::Node> {
    let mut loads: BTreeMap<&HostName, Load> = BTreeMap::new();
    for (key, server) in &world.servers {
        let Some(node) = &server.node else { continue };
        let load = loads.entry(node).or_default();
        load.servers += 1;
        if let Some(cluster) = world.cluster_of(key) {
            load.used = load.used.plus(&cluster.spec.resources.needed());
        }
    }
    let one = |(name, record)| Some((HostName::clone(name), node(world, name, record, &loads.remove(name).unwrap_or_default())?));
    world.hosts.iter().filter_map(one).collect()
}

fn node(world: &World, name: &HostName, record: &HostRecord, load: &Load) -> Option<pan_api::node::Node> {
    let (offer, seen) = (record.offer.as_ref()?, world.seen.hosts.get(name));
    let reserved = world.seen.reserves.as_ref().and_then(|reserves| reserves.reserved.get(name)).cloned().unwrap_or_default();
    let total = Resources::new(offer.cpu, offer.memory);
    let free = total.minus(&load.used).minus(&reserved);
    Some(pan_api::node::Node {
        name: name.clone(),
        state: shown_state(record, seen),
        fabrics: fabrics(seen),
        cpu: Amount::<Cpu> { total: total.cpu, free: free.cpu, reserved: reserved.cpu },
        memory: Amount::<ByteSize> { total: total.memory, free: free.memory, reserved: reserved.memory },
        servers: load.servers,
        labels: record.effective_labels(),
    })
}

fn hosts(world: &World) -> BTreeMap<HostName, pan_api::host::Host> {
    let stores = volumes::stores(world);
    let one = |name: &HostName, record| {
        let storage = stores.get(name).map(|store| storage(world, name, store));
        pan_api::host::Host { storage, ..host(world, name, record) }
    };
    world.hosts.iter().map(|(name, record)| (name.clone(), one(name, record))).collect()
}

/// What a storage host keeps, as the records promise and as it says itself.
fn storage(world: &World, name: &HostName, store: &pan_plan::replicas::Store) -> pan_api::host::Storage {
    let seen = world.seen.hosts.get(name);
    let (pool, replicas) = (seen.and_then(|seen| seen.pool.as_ref()), seen.and_then(|seen| seen.replicas.as_ref()));
    let called = |id| world.volumes.iter().find(|(_, volume)| volume.id == id).map(|(key, _)| key.to_string());
    let copy = |(id, replica): (&pan_model::VolumeId, &pan_api::volume::ReplicaReport)| {
        let of = called(*id)
            .map_or_else(|| format!("the copy of volume {id}, which is not wanted any more"), |key| format!("the copy of {key}"));
        Some(format!("{of}: {}", replica.trouble.as_ref()?))
    };
    let ill = replicas.into_iter().flatten().filter_map(copy);
    pan_api::host::Storage {
        capacity: store.capacity,
        promised: store.promised,
        used: replicas.map(|replicas| ByteSize(replicas.values().map(|replica| replica.used.0).sum())),
        free: pool.map(|pool| pool.free),
        replicas: replicas.map(|replicas| replicas.len() as u64),
        snapshots: pool.map_or(0, |pool| pool.snapshots.iter().filter(|one| one.trouble.is_none()).count() as u64),
        refused: pool.map(|pool| pool.refused),
        takes: store.takes,
        labels: store.labels.clone(),
        trouble: pool.and_then(|pool| pool.trouble.clone()).into_iter().chain(ill).collect(),
    }
}

fn host(world: &World, name: &HostName, record: &HostRecord) -> pan_api::host::Host {
    let seen = world.seen.hosts.get(name);
    let plain = match seen.map_or(Life::Joining, |seen| seen.life) {
        Life::Joining => unheard(seen),
        Life::Alive => NodeState::Alive,
        Life::Suspect => NodeState::Suspect,
        Life::Dead => NodeState::Dead,
    };
    pan_api::host::Host {
        name: name.clone(),
        roles: record.roles.clone(),
        state: plain,
        fabrics: fabrics(seen),
        version: record.software.clone(),
        address: record.address,
        agent: matches!(plain, NodeState::Alive | NodeState::Suspect) && seen.is_some_and(|seen| !seen.agent_silent && !seen.out_of_reach),
        leads: world.pan.leader.as_ref() == Some(name),
        gate: seen.and_then(gate),
        lease: seen.and_then(|seen| lease(record, seen)),
        storage: None,
    }
}

fn gate(seen: &HostSeen) -> Option<pan_api::host::Gate> {
    let kind = match seen.lease?.gate {
        GateState::None => GateKind::None,
        GateState::Present(Gate::Absolute) => GateKind::Bpf,
        GateState::Present(Gate::Relative) => GateKind::NftSet,
    };
    Some(pan_api::host::Gate { kind, bpf_refused: seen.gate.as_ref().and_then(|gate| gate.bpf_refused.clone()) })
}

fn lease(record: &HostRecord, seen: &HostSeen) -> Option<pan_api::host::Lease> {
    let said = seen.lease?;
    // Who was declared dead cannot know: what the records say of its number comes before what it said itself.
    let state = match said.state {
        _ if said.admission <= record.revoked && said.admission != Admission::NONE => LeaseState::Fenced,
        pan_member::LeaseState::None => LeaseState::None,
        pan_member::LeaseState::Held => LeaseState::Held,
        pan_member::LeaseState::Expired => LeaseState::Expired,
        pan_member::LeaseState::Fenced => LeaseState::Fenced,
    };
    let current = state == LeaseState::Held && seen.life == Life::Alive && !seen.agent_silent;
    let left_ms = seen.gate.as_ref().filter(|_| current).map(|gate| gate.left_ms);
    Some(pan_api::host::Lease { state, admission: said.admission, left_ms })
}
