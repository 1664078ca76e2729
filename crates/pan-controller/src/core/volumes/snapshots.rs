//! Snapshots: asked for by people, taken by the volume's head or, if nobody has the volume, by its storage hosts; kept until they are
//! removed, also when a copy of the volume moves elsewhere.

use super::claim::claim;
use super::{follower, is_free, no_such, quota, sources, strays, user, without_room};
use crate::core::record::{SnapshotRecord, SnapshotStage, VolumeRecord};
use crate::core::world::{Dirty, Now, World};
use pan_api::ApiError;
use pan_model::event::Severity;
use pan_model::mirror::{Member, Writer};
use pan_model::{Code, HostName, Name, SnapshotId, VolumeKey};
use std::collections::BTreeSet;

/// Snapshots of one volume: a pool keeps 1024 in all, and each makes what is read below it slower to find.
const SNAPSHOTS_MAX: usize = 64;

/// Asks for a snapshot of a volume.
///
/// # Errors
/// `NotFound`; `Conflict`: there is one of that name; `Leaving`, `State`: the volume goes, or is not made yet; `Quota`; `NoCapacity`.
pub fn take(world: &mut World, now: Now, key: &VolumeKey, name: &Name) -> Result<(), ApiError> {
    let volume = world.volumes.get(key).ok_or_else(|| no_such(key))?;
    let refuse = |code, text: String| Err(ApiError::new(code, text));
    if volume.snapshots.contains_key(name) {
        return refuse(Code::Conflict, format!("there is a snapshot {}@{name}: remove it first, or give this one another name", key.name));
    }
    if volume.deleting {
        return refuse(Code::Leaving, format!("volume {} is being deleted", key.name));
    }
    if !volume.unmade.is_empty() {
        return refuse(Code::State, format!("the copies of volume {} are not made yet", key.name));
    }
    if volume.snapshots.len() >= SNAPSHOTS_MAX {
        return refuse(
            Code::NoCapacity,
            format!("volume {} has {SNAPSHOTS_MAX} snapshots, and no more are possible: remove some", key.name),
        );
    }
    if let Err((code, _, text)) = quota::allows(world, &key.partition, volume.usable.0, volume.copies) {
        return refuse(code, text);
    }
    // Everything in the volume may be written anew, and then both are kept.
    if without_room(world, volume.hosts.values(), volume.size.0).is_some() {
        let text = format!("a storage host of volume {} has no room for {} more: remove snapshots or volumes", key.name, volume.size);
        return refuse(Code::NoCapacity, text);
    }
    let (id, size) = (world.pan.next_snapshot, volume.usable);
    world.pan.next_snapshot = id.next();
    world.dirty.insert(Dirty::Pan);
    if let Some(volume) = world.volume_mut(key) {
        volume.snapshots.insert(name.clone(), SnapshotRecord { id, size, asked: now.wall, stage: SnapshotStage::Taking });
    }
    hold(world, key);
    Ok(())
}

/// Storage hosts take snapshots of what nobody has, and whoever had it last may not write meanwhile.
fn hold(world: &mut World, key: &VolumeKey) {
    let wanted = |volume: &VolumeRecord| !volume.held && volume.taking().next().is_some();
    if world.volumes.get(key).is_some_and(wanted) && is_free(world, key) {
        claim(world, key, None);
    }
}

/// Removes a snapshot, or gives up taking it.
///
/// # Errors
/// `NotFound`; `InUse` while a volume is made of it.
pub fn remove(world: &mut World, now: Now, key: &VolumeKey, name: &Name) -> Result<(), ApiError> {
    let volume = world.volumes.get(key).ok_or_else(|| no_such(key))?;
    let gone = || ApiError::new(Code::NotFound, format!("there is no snapshot {}@{name}", key.name));
    let id = volume.snapshots.get(name).map(|snapshot| snapshot.id).ok_or_else(gone)?;
    let made_of = |other: &VolumeRecord| !other.unmade.is_empty() && other.from.as_ref().is_some_and(|from| from.snapshot == id);
    if let Some((other, _)) = world.volumes.iter().find(|(_, other)| made_of(other)) {
        return Err(ApiError::new(
            Code::InUse,
            format!("volume {} is being made of {}@{name}: wait until it is there", other.name, key.name),
        ));
    }
    if let Some(text) = is_read(world, key, (name, id)) {
        return Err(ApiError::new(Code::InUse, text));
    }
    discard(world, key, name);
    world.volume_event(now, key, Severity::Info, "SnapshotRemoved", format!("snapshot {name} is removed"));
    Ok(())
}

/// Why a snapshot that many read cannot go, for people.
fn is_read(world: &World, key: &VolumeKey, (name, id): (&Name, SnapshotId)) -> Option<String> {
    let source = sources::of_snapshot(world, id)?;
    Some(format!("volume {} is {}@{name}, for many to read: give it another snapshot, or delete it, first", source.name, key.name))
}

/// Takes a snapshot out of the records, and tells whoever may have it to remove it.
fn discard(world: &mut World, key: &VolumeKey, name: &Name) {
    let Some(volume) = world.volume_mut(key) else { return };
    let Some(snapshot) = volume.snapshots.remove(name) else { return };
    let hosts: BTreeSet<HostName> = volume.keep(&snapshot).cloned().collect();
    discard_on(world, &hosts, snapshot.id);
}

fn discard_on(world: &mut World, hosts: &BTreeSet<HostName>, id: SnapshotId) {
    for host in hosts {
        if let Some(host) = world.host_mut(host) {
            host.discard_snapshots.insert(id);
        }
    }
}

/// A volume goes, and all its snapshots with it.
pub(super) fn discard_all(world: &mut World, key: &VolumeKey) {
    let names: Vec<Name> = world.volumes.get(key).map(|volume| volume.snapshots.keys().cloned().collect()).unwrap_or_default();
    names.iter().for_each(|name| discard(world, key, name));
}

/// What became of one: who has it, as far as that is said; or why there is none.
type Outcome<'a> = Result<Option<&'a BTreeSet<Member>>, &'a str>;

/// A head took one, or could not. Of one that lost the volume meanwhile it is not heard: its successor takes it.
pub(super) fn taken(world: &mut World, now: Now, key: &VolumeKey, (writer, id): (Writer, SnapshotId), outcome: Outcome<'_>) {
    let current = world.volumes.get(key).is_some_and(|volume| volume.mirror.writer() == writer);
    if current {
        ended(world, now, key, id, outcome);
    }
}

fn ended(world: &mut World, now: Now, key: &VolumeKey, id: SnapshotId, outcome: Outcome<'_>) {
    let Some(volume) = world.volume_mut(key) else { return };
    let found = volume.snapshots.iter_mut().find(|(_, snapshot)| snapshot.id == id && snapshot.stage == SnapshotStage::Taking);
    let Some((name, snapshot)) = found else { return };
    let name = name.clone();
    let all: BTreeSet<HostName> = volume.hosts.values().cloned().collect();
    let has = |member: &Member| volume.hosts.get(member).cloned();
    let on: Result<BTreeSet<HostName>, &str> =
        outcome.map(|members| members.unwrap_or(&volume.mirror.in_sync).iter().filter_map(has).collect());
    let none = "no storage host that has it is left";
    let on = match on.and_then(|on| if on.is_empty() { Err(none) } else { Ok(on) }) {
        Ok(on) => on,
        Err(trouble) => {
            snapshot.stage = SnapshotStage::Failed(trouble.to_owned());
            discard_on(world, &all, id);
            let text = format!("snapshot {name} could not be taken: {trouble}");
            return world.volume_event(now, key, Severity::Warning, "SnapshotFailed", text);
        }
    };
    let text = format!("snapshot {name} is kept, {} copies", on.len());
    snapshot.stage = SnapshotStage::Ready(on.clone());
    // Whoever has it besides has it of another moment: taken for a head that did not come to an end with it.
    discard_on(world, &all.difference(&on).cloned().collect(), id);
    world.volume_event(now, key, Severity::Info, "SnapshotTaken", text);
}

/// Takes all snapshots as far as they can go.
pub(super) fn advance(world: &mut World, now: Now) {
    note_removed(world);
    strays::discard(world);
    // A server that was stopped runs again.
    let back: Vec<VolumeKey> =
        world.volumes.iter().filter(|(key, volume)| volume.held && !is_free(world, key)).map(|(key, _)| key.clone()).collect();
    for key in back {
        let server = user(world, &key);
        claim(world, &key, server.as_ref());
    }
    let wanted = |(_, volume): &(&VolumeKey, &VolumeRecord)| volume.taking().next().is_some();
    let keys: Vec<VolumeKey> = world.volumes.iter().filter(wanted).map(|(key, _)| key.clone()).collect();
    for key in keys {
        hold(world, &key);
        for id in taken_by_all(world, &world.volumes[&key]) {
            ended(world, now, &key, id, Ok(None));
        }
    }
}

/// Those that all storage hosts in sync took themselves, for the claim that is held: nobody wrote between.
fn taken_by_all(world: &World, volume: &VolumeRecord) -> Vec<SnapshotId> {
    let reported = |host: &HostName, id| {
        let pool = world.seen.hosts.get(host).and_then(|seen| seen.pool.as_ref());
        pool.is_some_and(|pool| pool.snapshots.iter().any(|one| one.snapshot == id && one.taken == Some(volume.mirror.epoch)))
    };
    let all = |id| volume.mirror.in_sync.iter().all(|member| volume.hosts.get(member).is_some_and(|host| reported(host, id)));
    volume.taking().map(|snapshot| snapshot.id).filter(|id| volume.held && all(*id)).collect()
}

/// Why a snapshot that nobody has taken yet is not there, as its storage hosts say.
#[must_use]
pub fn trouble(world: &World, volume: &VolumeRecord, id: SnapshotId) -> Option<String> {
    let pools = volume.hosts.values().filter_map(|host| world.seen.hosts.get(host)?.pool.as_ref());
    pools.flat_map(|pool| &pool.snapshots).filter(|one| one.snapshot == id).find_map(|one| one.trouble.clone())
}

/// A storage host that follows the newest order, and does not name a snapshot it was to remove, has removed it.
fn note_removed(world: &mut World) {
    let mut done: Vec<(HostName, BTreeSet<SnapshotId>)> = Vec::new();
    for (name, host) in world.hosts.iter().filter(|(_, host)| !host.discard_snapshots.is_empty()) {
        if let Some(pool) = follower(world, name).and_then(|seen| seen.pool.as_ref()) {
            let there = |id: &SnapshotId| pool.snapshots.iter().any(|one| one.snapshot == *id);
            done.push((name.clone(), host.discard_snapshots.iter().filter(|id| !there(id)).copied().collect()));
        }
    }
    for (name, gone) in done.into_iter().filter(|(_, gone)| !gone.is_empty()) {
        if let Some(host) = world.host_mut(&name) {
            host.discard_snapshots.retain(|id| !gone.contains(id));
        }
    }
}

/// Snapshots that are on this storage host and on no other one.
#[must_use]
pub fn kept_only_on(world: &World, host: &HostName) -> usize {
    let only = |snapshot: &&SnapshotRecord| matches!(&snapshot.stage, SnapshotStage::Ready(on) if on.len() == 1 && on.contains(host));
    world.volumes.values().flat_map(|volume| volume.snapshots.values()).filter(only).count()
}

/// A storage host left the PAN, and its copies of snapshots with it.
pub fn forget(world: &mut World, host: &HostName) {
    let has =
        |volume: &VolumeRecord| volume.snapshots.values().any(|one| matches!(&one.stage, SnapshotStage::Ready(on) if on.contains(host)));
    let keys: Vec<VolumeKey> = world.volumes.iter().filter(|(_, volume)| has(volume)).map(|(key, _)| key.clone()).collect();
    for key in keys {
        let snapshots = world.volume_mut(&key).into_iter().flat_map(|volume| volume.snapshots.values_mut());
        for snapshot in snapshots {
            if let SnapshotStage::Ready(on) = &mut snapshot.stage {
                on.remove(host);
            }
        }
    }
}

/// What keeps a volume from being deleted, for people.
pub(super) fn in_the_way(world: &World, key: &VolumeKey, cascade: bool) -> Option<String> {
    if let Some(server) = user(world, key) {
        return Some(format!(
            "server {} has volume {}: take it out of its cluster's manifest, or scale the cluster down, first",
            server.name, key.name
        ));
    }
    let snapshots = &world.volumes.get(key)?.snapshots;
    if let Some(text) = snapshots.iter().find_map(|(name, one)| is_read(world, key, (name, one.id))) {
        return Some(text);
    }
    let names: Vec<&str> = snapshots.keys().map(Name::as_str).collect();
    let text = || format!("volume {} has snapshots ({}): remove them first, or delete with --cascade", key.name, names.join(", "));
    (!names.is_empty() && !cascade).then(text)
}
