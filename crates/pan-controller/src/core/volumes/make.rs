//! What manifests ask for: volumes that are not there yet are given their storage hosts, others grow.

use super::{clusters_with, key_of, no_such, quota, sources, without_room};
use crate::core::record::{Beginning, Duty, SnapshotRecord, SnapshotStage, VolumeRecord};
use crate::core::seen::Life;
use crate::core::validate::Trouble;
use crate::core::world::{ClusterKey, Dirty, World};
use pan_api::ApiError;
use pan_api::requests::ApplyResult;
use pan_model::mirror::Member;
use pan_model::volume::Access;
use pan_model::{
    ByteSize, ClusterSpec, Code, HostName, Name, PartitionName, ServerKey, ServerName, SnapshotName, VolumeKey, VolumeName, VolumeSpec,
};
use pan_plan::replicas::{Store, choose};
use pan_replica::arbiter;
use std::collections::{BTreeMap, BTreeSet};

/// The hosts that keep volumes, as placement sees them.
#[must_use]
pub fn stores(world: &World) -> BTreeMap<HostName, Store> {
    let mut promised: BTreeMap<&HostName, u64> = BTreeMap::new();
    for volume in world.volumes.values() {
        for host in volume.hosts.values() {
            *promised.entry(host).or_default() += volume.written_max().0;
        }
        // All of a volume may be written anew, and then its snapshots share nothing with it.
        for snapshot in volume.snapshots.values() {
            volume.keep(snapshot).for_each(|host| *promised.entry(host).or_default() += snapshot.size.0);
        }
    }
    let offers = world.hosts.iter().filter_map(|(name, host)| Some((name, host, host.storage.as_ref()?)));
    let store = |(name, host, offer): (&HostName, &crate::core::record::HostRecord, &pan_api::report::StorageOffer)| {
        let trouble = world.seen.hosts.get(name).and_then(|seen| seen.pool.as_ref()).is_some_and(|pool| pool.trouble.is_some());
        let store = Store {
            capacity: offer.capacity,
            promised: ByteSize(promised.get(name).copied().unwrap_or_default()),
            labels: host.labelled(&offer.labels),
            takes: world.seen.life(name) == Life::Alive && host.duty == Duty::Full && !trouble,
        };
        (name.clone(), store)
    };
    offers.map(store).collect()
}

/// Makes the volumes of a cluster's servers that are not there yet, and lets those grow that are to be larger. Volumes of servers
/// that are not wanted any more stay: only who asks for it by name loses data.
///
/// # Errors
/// The field of the manifest, and what is wrong with it.
pub fn want(draft: &mut World, key: &ClusterKey, spec: &ClusterSpec, servers: u32) -> Result<(), Trouble> {
    for (index, wanted) in spec.volumes.iter().enumerate() {
        let trouble = |(code, field, text): Wrong| {
            let path = if field.is_empty() { format!("spec.volumes[{index}]") } else { format!("spec.volumes[{index}].{field}") };
            Trouble::new(code, path, text)
        };
        if let Some(standing) = &wanted.volume {
            let standing = VolumeKey { partition: key.0.clone(), name: standing.clone() };
            match draft.sources.get(&standing).cloned() {
                Some(source) => {
                    let give = |draft: &mut World| sources::give(draft, key, (&standing, &source), servers);
                    quota::within(draft, &key.0, give).map_err(trouble)?;
                }
                None => may_have(draft, (key, servers), &standing).map_err(trouble)?,
            }
        }
        let want_all = |draft: &mut World| {
            for ordinal in 1..=servers {
                let server = ServerKey { partition: key.0.clone(), name: ServerName::of(&key.1, ordinal) };
                if let (Some((_, own)), Some(name)) = (wanted.own(), key_of(draft, &server, wanted)) {
                    want_one(draft, name, Some(&server.name), &own)?;
                }
            }
            Ok(())
        };
        quota::within(draft, &key.0, want_all).map_err(trouble)?;
    }
    Ok(())
}

/// What is wrong with which field.
pub(super) type Wrong = (Code, &'static str, String);

/// Whether a cluster may name a volume that is there by itself. Whether there is one is seen when all documents are in.
fn may_have(draft: &World, (cluster, servers): (&ClusterKey, u32), volume: &VolumeKey) -> Result<(), Wrong> {
    let name = &volume.name;
    if servers > 1 {
        let text = format!(
            "one server may have volume {name}, and the cluster has {servers}: give each its own, perhaps `from` a snapshot, or let them read one (`access: readers-many`)"
        );
        return Err((Code::Conflict, "volume", text));
    }
    if let Some(server) = draft.volumes.get(volume).and_then(|volume| volume.server.as_ref()) {
        return Err((
            Code::Conflict,
            "volume",
            format!("volume {name} belongs to server {server}: take a snapshot, and begin another one `from` it"),
        ));
    }
    if draft.volumes.get(volume).is_some_and(|volume| volume.deleting) {
        return Err((Code::Leaving, "volume", format!("volume {name} is being deleted")));
    }
    match clusters_with(draft, volume).find(|other| *other != cluster) {
        Some(other) => Err((Code::Conflict, "volume", format!("cluster {} has volume {name}: one server may have it", other.1))),
        None => Ok(()),
    }
}

/// Makes a volume that is there by itself, or lets it grow.
///
/// # Errors
/// The field of the manifest, and what is wrong with it.
pub fn want_standing(draft: &mut World, partition: &PartitionName, name: &Name, spec: &VolumeSpec) -> Result<ApplyResult, Trouble> {
    let name = VolumeName::new(name.as_str()).map_err(|error| Trouble::new(Code::Invalid, "name", error.to_string()))?;
    let key = VolumeKey { partition: partition.clone(), name };
    let (volume, source) = (draft.volumes.contains_key(&key), draft.sources.contains_key(&key));
    if (volume && spec.access == Access::ReadersMany) || (source && spec.access == Access::One) {
        let text = format!("who may have volume {} is said once: delete it first, or give this one another name", key.name);
        return Err(Trouble::new(Code::Conflict, "spec.access", text));
    }
    let wrong =
        |(code, field, text): Wrong| Trouble::new(code, if field.is_empty() { "spec".into() } else { format!("spec.{field}") }, text);
    let want = |draft: &mut World| match spec.access {
        Access::One => want_one(draft, key, None, spec),
        Access::ReadersMany => sources::want(draft, &key, spec),
    };
    quota::within(draft, partition, want).map_err(wrong)
}

pub(super) fn want_one(draft: &mut World, key: VolumeKey, server: Option<&ServerName>, wanted: &VolumeSpec) -> Result<ApplyResult, Wrong> {
    match draft.volumes.get(&key).cloned() {
        None => make(draft, server, key, wanted).map(|()| ApplyResult::Created),
        Some(former) => change(draft, &key, &former, wanted),
    }
}

fn make(draft: &mut World, server: Option<&ServerName>, key: VolumeKey, wanted: &VolumeSpec) -> Result<(), Wrong> {
    let copies = usize::from(wanted.copies);
    let shortage = |shortage| (Code::NoCapacity, "copies", format!("volume {} has no place: {shortage}", key.name));
    let beginning = wanted.from.as_ref().map(|from| Ok::<_, Wrong>((from, snapshot(draft, &key.partition, from)?))).transpose()?;
    let size = match (&beginning, wanted.size) {
        (None, size) => size.unwrap_or_default(),
        (Some((_, (_, snapshot))), None) => snapshot.size,
        (Some((from, (_, snapshot))), Some(size)) if size < snapshot.size => {
            return Err((Code::Conflict, "size", format!("{from} has {}: a volume that begins as it holds no less", snapshot.size)));
        }
        (Some(_), Some(size)) => size,
    };
    let chosen = match &beginning {
        None => choose(&stores(draft), &BTreeSet::new(), copies, size).map_err(shortage)?,
        Some((from, (_, snapshot))) => beside(draft, snapshot, copies, size)
            .ok_or_else(|| (Code::NoCapacity, "from", format!("no storage host that keeps {from} can take a copy of {size} at present")))?,
    };
    let hosts: BTreeMap<Member, HostName> = (1..).map(Member).zip(chosen).collect();
    let id = draft.pan.next_volume;
    draft.pan.next_volume = id.next();
    let record = VolumeRecord {
        id,
        server: server.cloned(),
        holder: None,
        size,
        declared: size,
        usable: size,
        copies: wanted.copies,
        // What is on it is on it.
        filesystem: beginning.as_ref().map_or(wanted.filesystem, |(_, (volume, _))| volume.filesystem),
        from: beginning.as_ref().map(|(from, (_, snapshot))| Beginning { name: (*from).clone(), snapshot: snapshot.id }),
        mirror: arbiter::found(hosts.keys().copied()),
        unmade: hosts.keys().copied().collect(),
        next_member: u32::try_from(hosts.len()).unwrap_or(u32::MAX).saturating_add(1),
        hosts,
        held: false,
        snapshots: BTreeMap::new(),
        reader: false,
        deleting: false,
    };
    draft.volumes.insert(key.clone(), record);
    draft.dirty.extend([Dirty::Pan, Dirty::Volume(key)]);
    Ok(())
}

/// The snapshot that a volume is to begin as, and the volume that it is of.
pub(super) fn snapshot(draft: &World, partition: &PartitionName, name: &SnapshotName) -> Result<(VolumeRecord, SnapshotRecord), Wrong> {
    let volume = draft.volumes.get(&VolumeKey { partition: partition.clone(), name: name.volume.clone() });
    let found = volume.and_then(|volume| Some((volume.clone(), volume.snapshots.get(&name.name)?.clone())));
    let found = found.ok_or_else(|| (Code::Dangling, "from", format!("there is no snapshot {name} in partition {partition}")))?;
    match &found.1.stage {
        SnapshotStage::Ready(_) => Ok(found),
        SnapshotStage::Taking => Err((Code::State, "from", format!("snapshot {name} is not taken yet"))),
        SnapshotStage::Failed(why) => Err((Code::State, "from", format!("snapshot {name} could not be taken: {why}"))),
    }
}

/// Where a volume begins that begins as a snapshot: there, as often as it is wanted and can be. Further copies come later.
fn beside(draft: &World, snapshot: &SnapshotRecord, copies: usize, size: ByteSize) -> Option<BTreeSet<HostName>> {
    let SnapshotStage::Ready(on) = &snapshot.stage else { return None };
    let mut all = stores(draft);
    all.retain(|name, _| on.contains(name));
    (1..=copies.min(on.len())).rev().find_map(|copies| choose(&all, &BTreeSet::new(), copies, size).ok())
}

fn change(draft: &mut World, key: &VolumeKey, former: &VolumeRecord, wanted: &VolumeSpec) -> Result<ApplyResult, Wrong> {
    let name = &key.name;
    if former.deleting {
        return Err((Code::Leaving, "name", format!("volume {name} is being deleted: apply this when it is gone")));
    }
    if former.from.is_none() && former.filesystem != wanted.filesystem {
        let text =
            format!("volume {name} has {}, which is made once: delete the volume, or give the new one another name", former.filesystem);
        return Err((Code::Conflict, "filesystem", text));
    }
    let declared = former.declared;
    let asked = wanted.size.unwrap_or(declared);
    if asked < declared {
        return Err((Code::Conflict, "size", format!("volume {name} has {declared}: volumes grow and never shrink")));
    }
    // More than a manifest said may have been asked for otherwise.
    let size = asked.max(former.size);
    if (size, wanted.copies, asked) == (former.size, former.copies, declared) {
        return Ok(ApplyResult::Unchanged);
    }
    room_to_grow(draft, key, former, size)?;
    if wanted.copies > former.copies {
        let kept = former.hosts.values().cloned().collect();
        let shortage = |shortage| (Code::NoCapacity, "copies", format!("volume {name} has no place: {shortage}"));
        choose(&stores(draft), &kept, usize::from(wanted.copies), wanted.size.unwrap_or(size)).map_err(shortage)?;
    }
    if let Some(record) = draft.volume_mut(key) {
        (record.size, record.copies, record.declared) = (size, wanted.copies, asked);
    }
    Ok(ApplyResult::Changed)
}

fn room_to_grow(draft: &World, key: &VolumeKey, former: &VolumeRecord, size: ByteSize) -> Result<(), Wrong> {
    let more = size.0 - former.size.0;
    let Some(full) = without_room(draft, former.hosts.values(), more).filter(|_| more > 0) else { return Ok(()) };
    // Which host it is concerns the PAN's operators alone.
    tracing::debug!(volume = %key, host = %full, "no room to grow");
    let text = format!("volume {} cannot grow to {size}: a storage host that keeps it has no room", key.name);
    Err((Code::NoCapacity, "size", text))
}

/// Lets a volume grow.
///
/// # Errors
/// `NotFound`; `Invalid`: no volume has that size; `Conflict`: it is larger; `Leaving`; `Quota`; `NoCapacity`.
pub fn resize(world: &mut World, key: &VolumeKey, size: ByteSize) -> Result<(), ApiError> {
    let former = world.volumes.get(key).cloned().ok_or_else(|| no_such(key))?;
    pan_model::volume::check_size(size).map_err(|text| ApiError::new(Code::Invalid, text))?;
    if former.deleting {
        return Err(ApiError::new(Code::Leaving, format!("volume {} is being deleted", key.name)));
    }
    if size < former.size {
        return Err(ApiError::new(Code::Conflict, format!("volume {} has {}: volumes grow and never shrink", key.name, former.size)));
    }
    let refused = |(code, _, text): Wrong| ApiError::new(code, text);
    quota::allows(world, &key.partition, size.0 - former.size.0, former.copies).map_err(refused)?;
    room_to_grow(world, key, &former, size).map_err(refused)?;
    if let Some(record) = world.volume_mut(key) {
        record.size = size;
    }
    Ok(())
}
