//! Takeover units: which director owns a partition's public addresses and gateway, and which one stands in for it.

use super::reach;
use super::record::PartitionRecord;
use super::seen::Life;
use super::world::{About, Now, World};
use pan_api::desired::Seat;
use pan_balance::stable_hash;
use pan_model::event::Severity;
use pan_model::host::Role;
use pan_model::{HostName, PartitionName};
use std::collections::{BTreeMap, BTreeSet};

fn is_director(world: &World, name: &HostName) -> bool {
    world.hosts.get(name).is_some_and(|host| host.roles.contains(&Role::Director))
}

/// Directors that do their work.
fn able(world: &World) -> impl Iterator<Item = &HostName> {
    let able = |name: &&HostName| is_director(world, name) && world.seen.life(name) == Life::Alive && !reach::is_away(world, name);
    world.hosts.keys().filter(able)
}

/// Of `directors`, the one that a partition's unit goes to when `owner` has it no longer: of many partitions each has about as many, and it
/// stays the same while others come and go (rendezvous hashing, Thaler and Ravishankar 1998).
fn successor<'a>(name: &PartitionName, owner: &HostName, directors: impl Iterator<Item = &'a HostName>) -> Option<&'a HostName> {
    directors
        .filter(|director| *director != owner)
        .max_by_key(|director| stable_hash(&[name.as_str().as_bytes(), director.as_str().as_bytes()]))
}

/// Who answers for each partition's unit, and who stands in while that one is silent.
pub(super) fn seats(world: &World) -> BTreeMap<&PartitionName, Seat> {
    let able: Vec<&HostName> = able(world).collect();
    let seat = |name: &PartitionName, record: &PartitionRecord| {
        let owner = record.owner.clone()?;
        let successor = successor(name, &owner, able.iter().copied()).cloned();
        Some(Seat { vni: record.vni, epoch: record.owner_epoch, owner, successor })
    };
    world.partitions.iter().filter_map(|(name, record)| Some((name, seat(name, record)?))).collect()
}

/// Gives every unit without an owner that lives to a director that does its work: a lost one's to its successor, who stands in already,
/// and a new one to who has the fewest.
pub fn advance(world: &mut World, now: Now) {
    let mut load: BTreeMap<HostName, usize> = able(world).map(|name| (name.clone(), 0)).collect();
    for partition in world.partitions.values() {
        if let Some(count) = partition.owner.as_ref().and_then(|owner| load.get_mut(owner)) {
            *count += 1;
        }
    }
    let serving = world.services.keys().map(|key| &key.0).chain(world.imports.keys().map(|key| &key.0));
    let served: BTreeSet<PartitionName> = serving.filter(|name| world.partitions.contains_key(*name)).cloned().collect();
    for name in served {
        let owner = world.partitions[&name].owner.clone();
        // One that is heard and does not report keeps them: its kernel goes on answering, by tables of before, and nobody could make it let
        // go. Nodes would hear nothing any more of what clients send there.
        let lost = |owner: &&HostName| world.seen.life(owner) == Life::Dead || !is_director(world, owner);
        let next = match &owner {
            None => load.iter().min_by_key(|(_, count)| **count).map(|(host, _)| host.clone()),
            Some(owner) => Some(owner).filter(lost).and_then(|owner| successor(&name, owner, load.keys())).cloned(),
        };
        if let Some(next) = next {
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
