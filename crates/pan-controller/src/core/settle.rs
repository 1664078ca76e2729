//! One pass over the world after events: everything that follows from them, in a fixed order.

use super::record::{EndingPhase, Goal, Intent};
use super::world::{Dirty, Now, World};
use super::{audit, death, domain, ending, fail, keys, place, quarantine, reach, services, tokens, usage, volumes};
use pan_api::report::Phase;
use pan_model::{PartitionName, ServerKey};

/// Brings the records to where the observations and intents lead. Calling it twice changes nothing more.
pub fn settle(world: &mut World, now: Now) {
    tokens::expire(world, now);
    audit::advance(world, now);
    keys::advance(world, now);
    quarantine::release(world, now);
    reach::advance(world, now);
    death::advance(world, now);
    services::advance(world, now);
    ending::advance(world, now);
    fail::advance(world, now);
    roll(world, now);
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

/// Restarts servers of changed clusters, one at a time and only while all others run.
fn roll(world: &mut World, now: Now) {
    let mut next = Vec::new();
    for (key, cluster) in world.clusters.iter().filter(|(_, cluster)| !cluster.deleting) {
        let servers = world.servers_of(key);
        let stale = |server: &&ServerKey| {
            let record = &world.servers[*server];
            record.revision != cluster.revision && record.node.is_some() && record.intent == Intent::Run
        };
        let Some(first) = servers.iter().find(stale) else { continue };
        let busy = servers.iter().any(|server| world.servers[server].ending.is_some());
        let others_run = servers.iter().filter(|server| *server != first).all(|server| settled(world, server));
        if !busy && others_run {
            next.push(first.clone());
        }
    }
    for key in next {
        ending::begin(world, now, &key, Goal::Restart, EndingPhase::Draining);
    }
}

fn settled(world: &World, key: &ServerKey) -> bool {
    let server = &world.servers[key];
    let phase = world.seen.current_phase(key, server);
    // One that fails with the old content must not hold up its own repair; one that fails with the new must stop the rest.
    let hopeless = phase == Some(Phase::Failed) && world.cluster_of(key).is_some_and(|cluster| cluster.revision != server.revision);
    server.intent == Intent::Stopped || server.node.is_none() || hopeless || phase == Some(Phase::Healthy)
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
