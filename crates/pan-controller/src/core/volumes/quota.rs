//! How much storage a partition may have: its volumes and their snapshots, each as large as it can become, on each storage host that is to
//! have a copy. By that it is billed as well, and that is kept free for it.

use super::make::Wrong;
use crate::core::record::{SnapshotStage, VolumeRecord};
use crate::core::world::World;
use pan_model::{ByteSize, Code, PartitionName};

/// What a partition's volumes and snapshots count, those included that are on their way out.
#[must_use]
pub fn used(world: &World, partition: &PartitionName) -> ByteSize {
    let own = world.volumes.iter().filter(|(key, _)| key.partition == *partition);
    ByteSize(own.map(|(_, volume)| bytes(volume)).fold(0, u64::saturating_add))
}

fn bytes(volume: &VolumeRecord) -> u64 {
    let kept = volume.snapshots.values().filter(|snapshot| !matches!(snapshot.stage, SnapshotStage::Failed(_)));
    let all = kept.map(|snapshot| snapshot.size.0).fold(volume.written_max().0, u64::saturating_add);
    all.saturating_mul(u64::from(volume.copies))
}

/// What a partition may have and has; `None` where there is no limit.
fn limit(world: &World, partition: &PartitionName) -> Option<(ByteSize, ByteSize)> {
    let most = world.partitions.get(partition)?.spec.quota.as_ref()?.storage?;
    Some((most, used(world, partition)))
}

/// Does something to volumes of a partition, which must not have more than it may afterwards, unless it had as much before.
pub(super) fn within<T>(
    draft: &mut World,
    partition: &PartitionName,
    act: impl FnOnce(&mut World) -> Result<T, Wrong>,
) -> Result<T, Wrong> {
    let before = limit(draft, partition);
    let done = act(draft)?;
    let Some((most, before)) = before else { return Ok(done) };
    let after = used(draft, partition);
    if after > before && after > most {
        return Err(exceeded(ByteSize(after.0 - before.0), before, most));
    }
    Ok(done)
}

/// Whether a partition may have so much more.
pub(super) fn allows(world: &World, partition: &PartitionName, more: u64, copies: u8) -> Result<(), Wrong> {
    let more = ByteSize(more.saturating_mul(u64::from(copies)));
    match limit(world, partition) {
        Some((most, used)) if more.0 > 0 && used.0.saturating_add(more.0) > most.0 => Err(exceeded(more, used, most)),
        Some(_) | None => Ok(()),
    }
}

fn exceeded(more: ByteSize, used: ByteSize, most: ByteSize) -> Wrong {
    let text = format!("quota of storage: {more} asked for, {used} used, {most} allowed; volumes and snapshots count once for each copy");
    (Code::Quota, "", text)
}
