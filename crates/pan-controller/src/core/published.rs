//! What follows from desired states having been published: from which generation on a director's tables show it.

use super::ending;
use super::imports::Ways;
use super::orders::backend_state;
use super::record::EndingPhase;
use super::seen::Life;
use super::world::{Dirty, Now, World};
use pan_api::desired::{Desired, Network, NetworkEntry};
use pan_model::host::Role;
use pan_model::service::BackendState;
use pan_model::{Generation, HostName, PartitionName, ServerKey};
use std::collections::BTreeMap;

/// Notes what is about to be published to a host, `former` being what it was told before.
pub fn to(world: &mut World, former: Option<&Desired>, desired: &Desired, generation: Generation) {
    let seen = &mut world.seen;
    seen.published.insert(desired.host.clone(), generation);
    let known = seen.units_from.remove(&desired.host).unwrap_or_default();
    let from = |partition: &PartitionName| {
        let same = former.is_some_and(|former| is_told_the_same(former, desired, partition));
        known.get(partition).copied().filter(|_| same).unwrap_or(generation)
    };
    let units: BTreeMap<_, _> = desired.units.iter().map(|unit| (unit.partition.clone(), from(&unit.partition))).collect();
    if !units.is_empty() {
        seen.units_from.insert(desired.host.clone(), units);
    }
}

/// Whether two desired states say the same of a partition's services. Units and networks are in the order of their partitions. What stands for
/// other partitions' imports moves with their units, which is nothing to this one.
fn is_told_the_same(one: &Desired, other: &Desired, partition: &PartitionName) -> bool {
    let unit = |desired: &Desired| desired.units.binary_search_by(|unit| unit.partition.cmp(partition)).ok();
    let network = |desired: &Desired| desired.networks.binary_search_by(|network| network.partition.cmp(partition)).ok();
    let same_unit = unit(one).map(|at| &one.units[at]) == unit(other).map(|at| &other.units[at]);
    let same_network = match (network(one).map(|at| &one.networks[at]), network(other).map(|at| &other.networks[at])) {
        (Some(one), Some(other)) => {
            let frame = |of: &Network| (of.vni, of.mtu, of.gateway_mac);
            let entries = own(one).eq(own(other));
            entries && frame(one) == frame(other) && one.subnets == other.subnets && one.gateways == other.gateways
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    same_unit && same_network
}

/// The entries of a network that are not other partitions'.
fn own(network: &Network) -> impl Iterator<Item = &NetworkEntry> {
    network.entries.iter().filter(|entry| !entry.by_service)
}

/// The directors that are not known to be dead.
pub fn directors(world: &World) -> Vec<&HostName> {
    let living = world.hosts.iter().filter(|(name, host)| host.roles.contains(&Role::Director) && world.seen.life(name) != Life::Dead);
    living.map(|(name, _)| name).collect()
}

/// Whether each of the living `directors` has applied the newest that it was told of a partition. What it was told of others is nothing to
/// this one: its users would see from it that others change.
pub fn tables_current(world: &World, directors: &[&HostName], partition: &PartitionName) -> bool {
    directors.iter().copied().all(|name| {
        let applied = world.seen.hosts.get(name).and_then(|seen| seen.applied.get(&Role::Director));
        applied.is_some() && applied >= world.seen.units_from.get(name).and_then(|units| units.get(partition))
    })
}

/// From which generation on a server's node knows that it is to stop.
fn note_stop(world: &mut World, key: &ServerKey) {
    let server = &world.servers[key];
    let stopping = server.ending.as_ref().is_some_and(|ending| ending.phase == EndingPhase::Stopping);
    let generation = server.node.as_ref().and_then(|node| world.seen.published.get(node)).copied();
    if let Some(generation) = generation.filter(|_| stopping) {
        world.seen.stopped_from.entry(key.clone()).or_insert(generation);
    }
}

/// What the directors that send connections to a server were told last, each.
fn told(world: &World, owner: Option<&HostName>, key: &ServerKey) -> BTreeMap<HostName, Generation> {
    let ways = Ways::of(world);
    let all = owner.into_iter().flat_map(|owner| ways.directors(owner, &key.partition));
    all.filter_map(|host| Some((host.clone(), *world.seen.published.get(host)?))).collect()
}

/// Notes the generations that drains and finished starts wait for. To be called after each publication.
pub fn note(world: &mut World, now: Now) {
    let interesting: Vec<ServerKey> = world
        .servers
        .iter()
        .filter(|(key, server)| server.ending.is_some() || world.timelines.is_open(&key.to_string()))
        .map(|(key, _)| key.clone())
        .collect();
    for key in interesting {
        note_stop(world, &key);
        let owner = world.partitions.get(&key.partition).and_then(|partition| partition.owner.clone());
        let Some(generation) = owner.as_ref().and_then(|owner| world.seen.published.get(owner)).copied() else { continue };
        let server = &world.servers[&key];
        let draining = server.ending.as_ref().is_some_and(|ending| ending.phase == EndingPhase::Draining);
        if draining && !ending::is_held(world, server) && !world.seen.drained_from.contains_key(&key) {
            let from = told(world, owner.as_ref(), &key);
            world.seen.drained_from.insert(key.clone(), from);
        }
        if backend_state(world, &key, &world.servers[&key]) == BackendState::Up {
            world.seen.tables_from.entry(key).or_insert(generation);
        }
    }
    let waiting: Vec<_> = world.seen.tables_from.iter().map(|(key, generation)| (key.clone(), *generation)).collect();
    for (key, generation) in waiting {
        let owner = world.partitions.get(&key.partition).and_then(|partition| partition.owner.clone());
        let applied = owner.as_ref().and_then(|owner| world.seen.hosts.get(owner)).and_then(|seen| seen.applied.get(&Role::Director));
        if applied.is_some_and(|applied| *applied >= generation) {
            world.seen.tables_from.remove(&key);
            let object = key.to_string();
            if world.timelines.finish(&object, now.wall, "in-tables", "its director sends it new connections") {
                world.dirty.insert(Dirty::Timeline(object));
            }
        }
    }
}
