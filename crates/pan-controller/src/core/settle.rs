//! One pass over the world after events: everything that follows from them, in a fixed order.

use super::world::{Dirty, Now, World};
use super::{
    audit, death, domain, ending, fail, hosts, imports, keys, place, policy, quarantine, reach, roll, services, tokens, usage, volumes,
};
use pan_model::PartitionName;

/// Brings the records to where the observations and intents lead. Calling it twice changes nothing more.
pub fn settle(world: &mut World, now: Now) {
    tokens::expire(world, now);
    audit::advance(world, now);
    keys::advance(world, now);
    quarantine::release(world, now);
    reach::advance(world, now);
    hosts::advance(world);
    death::advance(world, now);
    services::advance(world, now);
    imports::advance(world, now);
    policy::advance(world, now);
    ending::advance(world, now);
    fail::advance(world, now);
    roll::advance(world, now);
    volumes::advance(world, now);
    usage::advance(world, now);
    remove(world);
    place::advance(world, now);
    domain::advance(world, now);
    // What was drained just now has its servers planned elsewhere in the same round.
    if world.seen.replan {
        place::advance(world, now);
    }
}

fn is_empty(world: &World, partition: &PartitionName) -> bool {
    !world.clusters.keys().any(|key| key.0 == *partition) && !world.volumes.keys().any(|key| key.partition == *partition)
}

/// Removes clusters and partitions whose last server is gone.
fn remove(world: &mut World) {
    let clusters: Vec<_> = world
        .clusters
        .iter()
        .filter(|(key, cluster)| cluster.deleting && world.servers_of(key).is_empty())
        .map(|(key, _)| key.clone())
        .collect();
    for key in clusters {
        world.clusters.remove(&key);
        world.dirty.insert(Dirty::Cluster(key));
    }
    let partitions: Vec<PartitionName> = world
        .partitions
        .iter()
        .filter(|(name, partition)| partition.deleting && is_empty(world, name))
        .map(|(name, _)| name.clone())
        .collect();
    for name in partitions {
        for event in world.events.remove(&Some(name.clone())).unwrap_or_default() {
            world.dirty.insert(Dirty::Event(Some(name.clone()), event.number));
        }
        tokens::go_with(world, &name);
        audit::go_with(world, &name);
        if let Some(partition) = world.partitions.remove(&name) {
            world.pan.last_epoch = world.pan.last_epoch.max(partition.last_epoch).max(partition.owner_epoch);
        }
        world.dirty.extend([Dirty::Pan, Dirty::Partition(name)]);
    }
}
