//! Snapshots in pools that nobody wants there any more: the copy of their volume was removed before they were taken everywhere, or their
//! host was away when they were removed. Without this they would hold room for ever.

use super::follower;
use crate::core::record::{SnapshotStage, VolumeRecord};
use crate::core::seen::HostSeen;
use crate::core::world::World;
use pan_model::{HostName, SnapshotId};
use std::collections::{BTreeMap, BTreeSet};

/// Orders their removal.
pub(super) fn discard(world: &mut World) {
    let none = |seen: &HostSeen| seen.pool.as_ref().is_none_or(|pool| pool.snapshots.is_empty());
    if world.seen.hosts.values().all(none) {
        return;
    }
    let wanted = Wanted::of(world);
    let mut strays: Vec<(HostName, SnapshotId)> = Vec::new();
    for (name, host) in world.hosts.iter().filter(|(_, host)| host.storage.is_some()) {
        // Who does not follow the newest order of this leader may speak of what was before it.
        let Some(pool) = follower(world, name).and_then(|seen| seen.pool.as_ref()) else { continue };
        let there = pool.snapshots.iter().filter(|one| one.trouble.is_none()).map(|one| one.snapshot);
        let stray = there.filter(|id| !host.discard_snapshots.contains(id) && !wanted.on(name, *id));
        strays.extend(stray.map(|id| (name.clone(), id)));
    }
    for (name, id) in strays {
        tracing::info!(host = %name, snapshot = %id, "a snapshot that no record names is removed");
        if let Some(host) = world.host_mut(&name) {
            host.discard_snapshots.insert(id);
        }
    }
}

/// What records say of snapshots.
struct Wanted {
    /// Numbers from here on this store never gave: whatever has them is not its own, such as after an old copy of the store was put back.
    next: SnapshotId,
    /// May be on any host.
    anywhere: BTreeSet<SnapshotId>,
    /// Those that are kept, where.
    kept: BTreeMap<SnapshotId, BTreeSet<HostName>>,
}

impl Wanted {
    fn of(world: &World) -> Self {
        let mut wanted = Self { next: world.pan.next_snapshot, anywhere: BTreeSet::new(), kept: BTreeMap::new() };
        for volume in world.volumes.values() {
            wanted.anywhere.extend(beginning(volume));
            for snapshot in volume.snapshots.values() {
                match &snapshot.stage {
                    // Whoever has it may be one of those that count when it is there.
                    SnapshotStage::Taking => drop(wanted.anywhere.insert(snapshot.id)),
                    // All hosts that had it left the PAN: one that comes back brings the last copy.
                    SnapshotStage::Ready(on) if on.is_empty() => drop(wanted.anywhere.insert(snapshot.id)),
                    SnapshotStage::Ready(on) => drop(wanted.kept.insert(snapshot.id, on.clone())),
                    SnapshotStage::Failed(_) => {}
                }
            }
        }
        wanted.anywhere.extend(world.sources.values().map(|source| source.from.snapshot).filter(|id| !wanted.kept.contains_key(id)));
        wanted
    }

    fn on(&self, host: &HostName, id: SnapshotId) -> bool {
        id >= self.next || self.anywhere.contains(&id) || self.kept.get(&id).is_some_and(|on| on.contains(host))
    }
}

/// The snapshot that a volume begins with, for as long as it is not made.
fn beginning(volume: &VolumeRecord) -> Option<SnapshotId> {
    volume.from.as_ref().filter(|_| !volume.unmade.is_empty()).map(|from| from.snapshot)
}
