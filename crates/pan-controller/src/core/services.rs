//! Takeover units: which director owns a partition's public addresses and gateway.

use super::reach;
use super::seen::Life;
use super::world::{About, Now, World};
use pan_model::event::Severity;
use pan_model::host::Role;
use pan_model::{HostName, PartitionName};
use std::collections::{BTreeMap, BTreeSet};

fn is_director(world: &World, name: &HostName) -> bool {
    world.hosts.get(name).is_some_and(|host| host.roles.contains(&Role::Director))
}

/// Gives every unit without an owner that lives to the director with the fewest units, of those that do their work.
pub fn advance(world: &mut World, now: Now) {
    let mut load: BTreeMap<HostName, usize> = world
        .hosts
        .iter()
        .filter(|(name, _)| is_director(world, name) && world.seen.life(name) == Life::Alive && !reach::is_away(world, name))
        .map(|(name, _)| (name.clone(), 0))
        .collect();
    for partition in world.partitions.values() {
        if let Some(count) = partition.owner.as_ref().and_then(|owner| load.get_mut(owner)) {
            *count += 1;
        }
    }
    let serving = world.services.keys().map(|key| &key.0).chain(world.imports.keys().map(|key| &key.0));
    let served: BTreeSet<PartitionName> = serving.filter(|name| world.partitions.contains_key(*name)).cloned().collect();
    for name in served {
        let owner = world.partitions[&name].owner.clone();
        let lost = match &owner {
            None => true,
            // One that is heard and does not report keeps them: its kernel goes on answering, by tables of before, and nobody could make it let
            // go. Nodes would hear nothing any more of what clients send there.
            Some(owner) => world.seen.life(owner) == Life::Dead || !is_director(world, owner),
        };
        let next = load.iter().min_by_key(|(_, count)| **count).map(|(host, _)| host.clone());
        if let Some(next) = next.filter(|_| lost) {
            *load.entry(next.clone()).or_default() += 1;
            take_over(world, now, &name, owner.as_ref(), next);
        }
    }
}

fn take_over(world: &mut World, now: Now, name: &PartitionName, from: Option<&HostName>, to: HostName) {
    let text = match from {
        Some(from) => format!("public addresses of partition {name} move from director {from} to {to}"),
        None => format!("public addresses of partition {name} belong to director {to}"),
    };
    if let Some(partition) = world.partition_mut(name) {
        partition.owner = Some(to);
        partition.owner_epoch = partition.owner_epoch.next();
    }
    let about = About { partition: None, kind: "partition", object: name.as_str() };
    world.event(now, &about, Severity::Info, "UnitOwner", text);
}
