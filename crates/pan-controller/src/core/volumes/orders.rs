//! What hosts are told of volumes.

use super::of_server;
use crate::core::record::{SnapshotStage, VolumeRecord};
use crate::core::world::World;
use pan_api::volume::{Claim, MemberPlace, ReplicaOrder, ReplicaWant, SnapshotOrder, SnapshotWant, VolumeOrder};
use pan_model::{ByteSize, HostName, ServerKey, SnapshotId};
use std::collections::{BTreeMap, BTreeSet};

/// The replicas of every storage host.
#[must_use]
pub fn replicas(world: &World) -> BTreeMap<&HostName, Vec<ReplicaOrder>> {
    let mut all: BTreeMap<&HostName, Vec<ReplicaOrder>> = BTreeMap::new();
    for volume in world.volumes.values() {
        for (member, host) in &volume.hosts {
            let unmade = volume.unmade.contains(member);
            let want = if unmade { ReplicaWant::Found } else { ReplicaWant::Keep };
            let from = volume.from.as_ref().filter(|_| unmade).map(|from| from.snapshot);
            all.entry(host).or_default().push(ReplicaOrder { volume: volume.id, size: volume.size, want, from });
        }
    }
    for (name, host) in world.hosts.iter().filter(|(_, host)| !host.discard.is_empty()) {
        let gone =
            host.discard.iter().map(|volume| ReplicaOrder { volume: *volume, size: ByteSize(0), want: ReplicaWant::Discard, from: None });
        all.entry(name).or_default().extend(gone);
    }
    for orders in all.values_mut() {
        orders.sort_by_key(|order| order.volume);
    }
    all
}

/// The snapshots that every storage host takes or removes.
#[must_use]
pub fn snapshots(world: &World) -> BTreeMap<&HostName, Vec<SnapshotOrder>> {
    let mut all: BTreeMap<&HostName, Vec<SnapshotOrder>> = BTreeMap::new();
    for volume in world.volumes.values().filter(|volume| volume.held && volume.unmade.is_empty()) {
        let (writer, lineage) = (volume.mirror.writer(), volume.mirror.lineage);
        for snapshot in pending(volume) {
            let order = SnapshotOrder { snapshot, want: SnapshotWant::Take { volume: volume.id, writer, lineage } };
            let hosts = volume.hosts.iter().filter(|(member, _)| volume.mirror.in_sync.contains(member));
            hosts.for_each(|(_, host)| all.entry(host).or_default().push(order));
        }
    }
    for (name, host) in world.hosts.iter().filter(|(_, host)| !host.discard_snapshots.is_empty()) {
        let gone = host.discard_snapshots.iter().map(|snapshot| SnapshotOrder { snapshot: *snapshot, want: SnapshotWant::Discard });
        all.entry(name).or_default().extend(gone);
    }
    for orders in all.values_mut() {
        orders.sort_by_key(|order| order.snapshot);
    }
    all
}

/// The snapshots of a volume that are to be taken, the smallest number first.
fn pending(volume: &VolumeRecord) -> BTreeSet<SnapshotId> {
    volume.snapshots.values().filter(|snapshot| snapshot.stage == SnapshotStage::Taking).map(|snapshot| snapshot.id).collect()
}

/// Whether all volumes of a server can be written: before that it is not started.
#[must_use]
pub fn are_ready(world: &World, server: &ServerKey) -> bool {
    of_server(world, server).all(|(_, key)| world.volumes.get(&key).is_some_and(|volume| volume.unmade.is_empty() && !volume.deleting))
}

/// The volumes of a server's order, with the right to write them.
#[must_use]
pub fn of_order(world: &World, server: &ServerKey) -> Vec<VolumeOrder> {
    let ready = are_ready(world, server);
    let order = |(wanted, key): (&pan_model::volume::ServerVolume, pan_model::VolumeKey)| {
        let volume = world.volumes.get(&key)?;
        Some(VolumeOrder {
            volume: volume.id,
            name: key.name,
            size: volume.usable,
            mount: wanted.mount.clone(),
            filesystem: volume.filesystem,
            read_only: volume.reader,
            // What is held is nobody's: whoever is to have it gets a claim of its own first.
            claim: (ready && !volume.held).then(|| right(world, volume)),
        })
    };
    of_server(world, server).filter_map(order).collect()
}

/// The right of the volume's present writer. The capability is left out: whoever hands it on has the key to sign it with.
pub(super) fn right(world: &World, volume: &VolumeRecord) -> Claim {
    let place = |(member, host): (&pan_model::mirror::Member, &HostName)| {
        let at = world.hosts.get(host)?;
        Some(MemberPlace { member: *member, host: host.clone(), a: at.a, b: at.b })
    };
    Claim {
        record: volume.mirror.clone(),
        members: volume.hosts.iter().filter_map(place).collect(),
        capability: String::new(),
        snapshots: pending(volume).into_iter().collect(),
    }
}
