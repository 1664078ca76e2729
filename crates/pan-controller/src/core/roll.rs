//! Changed clusters: their servers are started anew, one at a time and only while all others run. One whose host is out of reach is passed
//! over: it runs on as it was, and has its turn when that host reports again.

use super::record::{EndingPhase, Goal, Intent};
use super::world::{About, ClusterKey, Now, World};
use super::{ending, reach};
use pan_api::report::Phase;
use pan_model::ServerKey;
use pan_model::event::Severity;
use std::collections::BTreeMap;

/// Begins the next new start of each changed cluster.
pub fn advance(world: &mut World, now: Now) {
    let mut next = Vec::new();
    let mut waiting: BTreeMap<ClusterKey, Vec<ServerKey>> = BTreeMap::new();
    for (key, cluster) in world.clusters.iter().filter(|(_, cluster)| !cluster.deleting) {
        let servers = world.servers_of(key);
        let stale = |server: &&ServerKey| {
            let record = &world.servers[*server];
            record.revision != cluster.revision && record.node.is_some() && record.intent == Intent::Run
        };
        let (away, stale): (Vec<&ServerKey>, Vec<&ServerKey>) =
            servers.iter().filter(stale).partition(|server| reach::keeps(world, server));
        if !away.is_empty() {
            waiting.insert(key.clone(), away.into_iter().cloned().collect());
        }
        let Some(first) = stale.first().copied() else { continue };
        let ends = |server: &ServerKey| world.servers[server].ending.is_some() && !ending::is_held(world, &world.servers[server]);
        let others_run = servers.iter().filter(|server| *server != first).all(|server| settled(world, server));
        if !servers.iter().any(ends) && others_run {
            next.push(first.clone());
        }
    }
    for key in next {
        ending::begin(world, now, &key, Goal::Restart, EndingPhase::Draining);
    }
    tell(world, now, &waiting);
}

/// Says once of each cluster that its change waits, and for whom.
fn tell(world: &mut World, now: Now, waiting: &BTreeMap<ClusterKey, Vec<ServerKey>>) {
    world.seen.rolls_held.retain(|key| waiting.contains_key(key));
    for (key, servers) in waiting {
        if !world.seen.rolls_held.insert(key.clone()) {
            continue;
        }
        let (partition, cluster) = key;
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        let names = names.join(", ");
        let text =
            format!("the change of cluster {cluster} waits for {names}, which cannot be started anew at present and run on as they were");
        let about = About { partition: Some(partition), kind: "cluster", object: cluster.as_str() };
        world.event(now, &about, Severity::Warning, "RollHeld", text);
        let Some(node) = servers.first().and_then(|server| world.servers[server].node.clone()) else { continue };
        let object = format!("{partition}/{cluster}");
        let about = About { partition: None, kind: "cluster", object: &object };
        let text = format!("the change of cluster {object} waits for {names}: {}", reach::why(world, now, &node));
        world.event(now, &about, Severity::Warning, "RollHeld", text);
    }
}

fn settled(world: &World, key: &ServerKey) -> bool {
    let server = &world.servers[key];
    let phase = world.seen.current_phase(key, server);
    // One that fails with the old content must not hold up its own repair; one that fails with the new must stop the rest.
    let hopeless = phase == Some(Phase::Failed) && world.cluster_of(key).is_some_and(|cluster| cluster.revision != server.revision);
    server.intent == Intent::Stopped || server.node.is_none() || hopeless || phase == Some(Phase::Healthy)
}
