//! Volumes that many servers read: a name for a snapshot. Each server that reads it has a volume of its own that begins as the snapshot, which
//! costs nothing, so that its file system may play back its journal; the server itself can write nothing. When the name is given to
//! another snapshot each server gets a volume that begins as that one, and is started again.

use super::make::{Wrong, snapshot, want_one};
use super::{clusters_with, keep, user};
use crate::core::record::{Beginning, SourceRecord};
use crate::core::world::{ClusterKey, Dirty, Now, World};
use pan_api::ApiError;
use pan_api::requests::ApplyResult;
use pan_model::volume::Access;
use pan_model::{Code, Name, ServerName, SnapshotId, SnapshotName, VolumeKey, VolumeName, VolumeSpec};

/// What each server calls what it reads of a snapshot; `None`: that would be too long.
fn reading(source: &VolumeName, from: &SnapshotName) -> Option<Name> {
    Name::new(format!("{source}-{}", from.name)).ok()
}

/// The volume with which a server reads a snapshot.
pub(super) fn read_by(source: &VolumeName, from: &SnapshotName, server: &ServerName) -> Option<VolumeName> {
    reading(source, from).map(|name| VolumeName::of(server, &name))
}

/// Makes one, or gives its readers another snapshot.
pub(super) fn want(draft: &mut World, key: &VolumeKey, spec: &VolumeSpec) -> Result<ApplyResult, Wrong> {
    let Some(from) = &spec.from else { return Err((Code::Invalid, "from", "which snapshot?".into())) };
    let former = draft.sources.get(key).cloned();
    if former.as_ref().is_some_and(|former| (&former.from.name, former.copies) == (from, spec.copies)) {
        return Ok(ApplyResult::Unchanged);
    }
    let (volume, taken) = snapshot(draft, &key.partition, from)?;
    if reading(&key.name, from).is_none() {
        let text = format!("{}-{} is too long for the name of what a server reads: give the snapshot a shorter one", key.name, from.name);
        return Err((Code::Invalid, "from", text));
    }
    let from = Beginning { name: from.clone(), snapshot: taken.id };
    let source = SourceRecord { from, size: taken.size, copies: spec.copies, filesystem: volume.filesystem };
    draft.sources.insert(key.clone(), source.clone());
    draft.dirty.insert(Dirty::Source(key.clone()));
    let readers: Vec<ClusterKey> = clusters_with(draft, key).cloned().collect();
    for cluster in readers {
        give(draft, &cluster, (key, &source), draft.clusters[&cluster].wanted())?;
        if let Some(record) = draft.cluster_mut(&cluster) {
            record.revision += 1;
        }
    }
    Ok(if former.is_some() { ApplyResult::Changed } else { ApplyResult::Created })
}

/// Sees to it that each server of a cluster has what it reads.
pub(super) fn give(draft: &mut World, cluster: &ClusterKey, (key, source): (&VolumeKey, &SourceRecord), servers: u32) -> Result<(), Wrong> {
    let from = Some(source.from.name.clone());
    let wanted = VolumeSpec { size: None, from, copies: source.copies, filesystem: source.filesystem, access: Access::One };
    for ordinal in 1..=servers {
        let server = ServerName::of(&cluster.1, ordinal);
        let Some(name) = read_by(&key.name, &source.from.name, &server) else { continue };
        let own = VolumeKey { partition: key.partition.clone(), name };
        if draft.volumes.get(&own).is_some_and(|there| !there.reader) {
            return Err((Code::Conflict, "", format!("server {server} has a volume {} of its own: give that another name", own.name)));
        }
        want_one(draft, own.clone(), Some(&server), &wanted).map_err(|(code, _, text)| (code, "", text))?;
        if let Some(volume) = draft.volume_mut(&own) {
            volume.reader = true;
        }
    }
    Ok(())
}

/// What is read by nobody any more goes.
pub(super) fn advance(world: &mut World, now: Now) {
    let idle = |key: &VolumeKey| world.volumes[key].reader && !world.volumes[key].deleting && user(world, key).is_none();
    let keys: Vec<VolumeKey> = world.volumes.keys().filter(|key| idle(key)).cloned().collect();
    keys.iter().for_each(|key| keep::give_up(world, now, key));
}

/// The name under which a snapshot is read.
pub(super) fn of_snapshot(world: &World, id: SnapshotId) -> Option<&VolumeKey> {
    world.sources.iter().find(|(_, source)| source.from.snapshot == id).map(|(key, _)| key)
}

/// Deletes one that no cluster names; whether there was one.
///
/// # Errors
/// `InUse`.
pub(super) fn delete(world: &mut World, key: &VolumeKey) -> Result<bool, ApiError> {
    if !world.sources.contains_key(key) {
        return Ok(false);
    }
    if let Some(cluster) = clusters_with(world, key).next() {
        let text = format!("cluster {} reads volume {}: take it out of its manifest first", cluster.1, key.name);
        return Err(ApiError::new(Code::InUse, text));
    }
    world.sources.remove(key);
    world.dirty.insert(Dirty::Source(key.clone()));
    Ok(true)
}
