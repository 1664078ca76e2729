//! Volumes: on which storage hosts they are, who may write them, and what becomes of their replicas.
//!
//! `make` has what manifests ask for, `claim` gives a server's node the right to write and answers the heads that have it,
//! `keep` sees that there are as many replicas as wanted, `snapshots` keeps volumes as they were, `recover` accepts the loss of what nobody
//! has any more, `sources` are what many servers read, `strays` are snapshots that no record names, `quota` is how much a partition may have, `orders` tells hosts. What happens to the data is between head and
//! replicas (`pan-replica`); here is only the record that they obey.

mod claim;
mod keep;
mod make;
pub(super) mod news;
mod orders;
mod quota;
mod recover;
mod snapshots;
mod sources;
mod strays;

pub use claim::{ask, bound};
pub(super) use keep::tell_damaged;
pub use keep::{advance, delete, give_up};
pub use make::{resize, stores, want, want_standing};
pub use orders::{are_ready, of_order, replicas, snapshots};
pub use quota::used;
pub use recover::recover;
pub use snapshots::{forget, kept_only_on, remove, take, trouble};

use super::record::{ClusterRecord, Intent, ServerRecord};
use super::seen::HostSeen;
use super::world::{ClusterKey, World};
use pan_api::ApiError;
use pan_model::host::Role;
use pan_model::volume::ServerVolume;
use pan_model::{Code, HostName, ServerKey, ServerName, VolumeKey};

/// The volume that is meant of a server, across the PAN: of one that many read, what this server reads of it.
fn key_of(world: &World, server: &ServerKey, volume: &ServerVolume) -> Option<VolumeKey> {
    let key = |name| VolumeKey { partition: server.partition.clone(), name };
    let meant = key(volume.of(&server.name)?);
    match world.sources.get(&meant) {
        Some(source) => sources::read_by(&meant.name, &source.from.name, &server.name).map(key),
        None => Some(meant),
    }
}

/// The volumes that a server has by its manifest.
fn of_server<'a>(world: &'a World, server: &'a ServerKey) -> impl Iterator<Item = (&'a ServerVolume, VolumeKey)> {
    let wanted = world.cluster_of(server).map(|cluster| cluster.spec.volumes.as_slice()).unwrap_or_default();
    wanted.iter().filter_map(|volume| Some((volume, key_of(world, server, volume)?)))
}

/// The clusters whose manifests name a volume that is there by itself.
fn clusters_with<'a>(world: &'a World, key: &'a VolumeKey) -> impl Iterator<Item = &'a ClusterKey> {
    let names = |record: &ClusterRecord| record.spec.volumes.iter().any(|volume| volume.volume.as_ref() == Some(&key.name));
    let here = world.clusters.iter().filter(|(cluster, _)| cluster.0 == key.partition);
    here.filter(move |(_, record)| !record.deleting && names(record)).map(|(cluster, _)| cluster)
}

/// The server that has a volume, or may still have it: the one it belongs to; or, of one that is there by itself, that of the cluster which
/// names it, or the last one that did for as long as it runs.
#[must_use]
pub fn user(world: &World, key: &VolumeKey) -> Option<ServerKey> {
    let volume = world.volumes.get(key)?;
    let there = |name: ServerName| Some(ServerKey { partition: key.partition.clone(), name }).filter(|key| world.servers.contains_key(key));
    match &volume.server {
        Some(server) => there(server.clone()).and_then(|server| has(world, key, server)),
        None => {
            let named = clusters_with(world, key).find_map(|cluster| there(ServerName::of(&cluster.1, 1)));
            named.or_else(|| volume.holder.clone().and_then(there).and_then(|server| has(world, key, server)))
        }
    }
}

/// Where a server finds a volume.
#[must_use]
pub fn mount(world: &World, server: &ServerKey, key: &VolumeKey) -> Option<String> {
    of_server(world, server).find(|(_, name)| name == key).map(|(wanted, _)| wanted.mount.clone())
}

/// A server, if it has a volume or may still have it.
fn has(world: &World, key: &VolumeKey, server: ServerKey) -> Option<ServerKey> {
    let record = world.servers.get(&server)?;
    let cluster: ClusterKey = (server.partition.clone(), record.cluster.clone());
    let current = world.clusters.get(&cluster).is_some_and(|cluster| cluster.revision == record.revision);
    let named = of_server(world, &server).any(|(_, name)| name == *key);
    // What was taken out of the manifest is let go with the restart that follows.
    (named || (record.node.is_some() && !current)).then_some(server)
}

/// Whether no host may have a volume at present: its server is bound to none, or was stopped and is gone.
fn is_free(world: &World, key: &VolumeKey) -> bool {
    let gone = |record: &ServerRecord| record.node.is_none() || (record.intent == Intent::Stopped && record.ending.is_none());
    user(world, key).is_none_or(|server| world.servers.get(&server).is_none_or(gone))
}

/// What a storage host that follows the newest order said last: what it was to remove and does not name is removed.
fn follower<'a>(world: &'a World, name: &HostName) -> Option<&'a HostSeen> {
    let seen = world.seen.hosts.get(name)?;
    let follows = world.seen.published.get(name).is_some_and(|newest| seen.applied.get(&Role::Storage).is_some_and(|at| at >= newest));
    follows.then_some(seen)
}

/// A host of these whose disks do not hold so much more than is promised of them.
fn without_room<'a>(world: &World, hosts: impl IntoIterator<Item = &'a HostName>, more: u64) -> Option<&'a HostName> {
    let all = stores(world);
    let full = |host: &&HostName| all.get(*host).is_some_and(|store| store.promised.0 + more > store.capacity.0);
    hosts.into_iter().find(full)
}

fn no_such(key: &VolumeKey) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no volume {}", key.name))
}
