//! Volumes: on which storage hosts they are, who may write them, and what becomes of their replicas.
//!
//! `make` has what manifests ask for, `claim` gives a server's node the right to write and answers the heads that have it,
//! `keep` sees that there are as many replicas as wanted, `orders` tells hosts. What happens to the data is between head and
//! replicas (`pan-replica`); here is only the record that they obey.

mod claim;
mod keep;
mod make;
mod orders;

pub use claim::{ask, bound};
pub use keep::{advance, delete, give_up};
pub use make::{stores, want};
pub use orders::{are_ready, of_order, replicas};

use super::world::{ClusterKey, World};
use pan_model::volume::ServerVolume;
use pan_model::{ServerKey, VolumeKey, VolumeName};

/// The name of a server's volume across the PAN.
fn key_of(server: &ServerKey, volume: &ServerVolume) -> VolumeKey {
    VolumeKey { partition: server.partition.clone(), name: VolumeName::of(&server.name, &volume.name) }
}

/// The volumes that a server has by its manifest.
fn of_server<'a>(world: &'a World, server: &'a ServerKey) -> impl Iterator<Item = (&'a ServerVolume, VolumeKey)> {
    let wanted = world.cluster_of(server).map(|cluster| cluster.spec.volumes.as_slice()).unwrap_or_default();
    wanted.iter().map(|volume| (volume, key_of(server, volume)))
}

/// The server that a volume belongs to, if it is there and has it, or may still have it.
fn user(world: &World, key: &VolumeKey) -> Option<ServerKey> {
    let server = ServerKey { partition: key.partition.clone(), name: world.volumes.get(key)?.server.clone() };
    let record = world.servers.get(&server)?;
    let cluster: ClusterKey = (server.partition.clone(), record.cluster.clone());
    let current = world.clusters.get(&cluster).is_some_and(|cluster| cluster.revision == record.revision);
    let named = of_server(world, &server).any(|(_, name)| name == *key);
    // What was taken out of the manifest is let go with the restart that follows.
    (named || (record.node.is_some() && !current)).then_some(server)
}
