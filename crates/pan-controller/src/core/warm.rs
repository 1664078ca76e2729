//! Which servers of a silent node their backups make ready before anything is decided about that node.
//!
//! Nothing here is a decision: it is published without being recorded, changes with every heartbeat that comes after
//! all, and whoever follows it lets nothing run and nothing be reached.

use super::orders::order;
use super::record::{Intent, ServerRecord};
use super::seen::Life;
use super::world::World;
use pan_api::desired::ServerOrder;
use pan_api::volume::VolumeOrder;
use pan_model::{Epoch, HostName, ServerKey};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Servers that one host makes ready. Each takes some 30 ms of a processor, and between suspicion and death there are
/// about 200: more would hold up the start of the first.
const WARM_MAX: usize = 8;

/// What hosts should make ready: each the protected servers whose node is silent and whose backup it is, those of the
/// highest priority first.
pub(super) fn all(world: &World) -> BTreeMap<&HostName, Vec<ServerOrder>> {
    let silent = |node: &HostName| world.seen.life(node) == Life::Suspect;
    let Some(reserves) = world.seen.reserves.as_ref().filter(|_| world.hosts.keys().any(silent)) else { return BTreeMap::new() };
    let due = |server: &ServerRecord| server.intent == Intent::Run && server.ending.is_none() && server.node.as_ref().is_some_and(silent);
    let mut mine: BTreeMap<&HostName, Vec<(&ServerKey, &ServerRecord)>> = BTreeMap::new();
    for ((partition, name), backup) in &reserves.backup {
        let key = ServerKey { partition: partition.clone(), name: name.clone() };
        let Some((key, server)) = world.servers.get_key_value(&key) else { continue };
        if let Some((host, _)) = world.hosts.get_key_value(backup)
            && world.seen.life(host) == Life::Alive
            && due(server)
        {
            mine.entry(host).or_default().push((key, server));
        }
    }
    mine.into_iter().map(|(host, servers)| (host, chosen(world, servers))).collect()
}

fn chosen(world: &World, mut servers: Vec<(&ServerKey, &ServerRecord)>) -> Vec<ServerOrder> {
    servers.sort_by_key(|(key, _)| Reverse(world.cluster_of(key).map_or(0, |cluster| cluster.spec.priority)));
    let orders = servers.into_iter().take(WARM_MAX).filter_map(|(key, server)| order(world, key, server));
    orders.map(|order| ServerOrder { epoch: Epoch::default(), incarnation: 0, volumes: unclaimed(order.volumes), ..order }).collect()
}

/// Its volumes are somebody else's until it is bound.
fn unclaimed(volumes: Vec<VolumeOrder>) -> Vec<VolumeOrder> {
    volumes.into_iter().map(|volume| VolumeOrder { claim: None, ..volume }).collect()
}
