//! As many replicas as wanted: those a volume begins with are made, those whose host stays away are made elsewhere, and what is
//! not needed any more is removed, by order and by nothing else.

use super::make::stores;
use super::{follower, no_such, snapshots, sources, user};
use crate::core::record::VolumeRecord;
use crate::core::seen::Life;
use crate::core::world::{About, Dirty, Now, World};
use pan_api::ApiError;
use pan_api::volume::ReplicaReport;
use pan_model::event::Severity;
use pan_model::mirror::Member;
use pan_model::{Code, HostName, VolumeId, VolumeKey};
use pan_plan::replicas::choose;
use pan_replica::arbiter;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a storage host, or its disk, may stay away before its replicas are made elsewhere: longer than a reboot, which costs only what was
/// missed, and short against the time in which a second one fails.
const AWAY_MAX: Duration = Duration::from_secs(300);
/// Steps of one volume in one pass: each has a few at most, and what is left comes with the next pass.
const STEPS_MAX: usize = 8;

/// One step of one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// A replica it begins with is there.
    Made(Member),
    /// One that it was to begin with cannot be made; this host makes it.
    Instead(Member, HostName),
    /// One that it was to begin with cannot be made, and it begins with the others.
    Without(Member),
    /// All replicas in sync are as large as it is to be.
    Grown,
    /// A further replica, there.
    Add(HostName),
    /// A replica less.
    Remove(Member),
    /// The volume goes.
    End,
}

/// Takes every volume as far as it can go.
pub fn advance(world: &mut World, now: Now) {
    sources::advance(world, now);
    note_away(world, now);
    note_discarded(world);
    let keys: Vec<VolumeKey> = world.volumes.keys().filter(|key| next(world, now, key).is_some()).cloned().collect();
    for key in keys {
        for _ in 0..STEPS_MAX {
            let Some(step) = next(world, now, &key) else { break };
            take(world, now, &key, step);
        }
    }
    snapshots::advance(world, now);
}

/// Since when storage hosts are away, or their disks are, as far as this controller knows. One whose role has just begun and says nothing of its
/// disk yet is what it was.
fn note_away(world: &mut World, now: Now) {
    let gone = |name: &HostName| world.seen.life(name) == Life::Dead || is_closed(world, name) == Some(true);
    let away: Vec<HostName> =
        world.hosts.iter().filter(|(name, host)| host.storage.is_some() && gone(name)).map(|(name, _)| name.clone()).collect();
    let back: Vec<HostName> = world.seen.away_from.keys().filter(|name| !gone(name) && is_closed(world, name).is_some()).cloned().collect();
    world.seen.away_from.retain(|name, _| world.hosts.contains_key(name) && !back.contains(name));
    for name in away {
        world.seen.away_from.entry(name).or_insert(now.boot);
    }
}

/// Whether a host says that nothing of its disk can be read, if it says anything of it.
fn is_closed(world: &World, host: &HostName) -> Option<bool> {
    Some(world.seen.hosts.get(host)?.pool.as_ref()?.closed)
}

/// A storage host that follows the newest order, and does not name a replica it was to remove, has removed it.
fn note_discarded(world: &mut World) {
    let mut done: Vec<(HostName, BTreeSet<VolumeId>)> = Vec::new();
    for (name, host) in world.hosts.iter().filter(|(_, host)| !host.discard.is_empty()) {
        if let Some(replicas) = follower(world, name).and_then(|seen| seen.replicas.as_ref()) {
            done.push((name.clone(), host.discard.iter().filter(|volume| !replicas.contains_key(*volume)).copied().collect()));
        }
    }
    for (name, gone) in done.into_iter().filter(|(_, gone)| !gone.is_empty()) {
        if let Some(host) = world.host_mut(&name) {
            host.discard.retain(|volume| !gone.contains(volume));
        }
    }
}

/// What a volume needs next.
fn next(world: &World, now: Now, key: &VolumeKey) -> Option<Step> {
    let volume = world.volumes.get(key)?;
    if volume.deleting {
        return user(world, key).is_none().then_some(Step::End);
    }
    let reported = |host: &HostName| {
        let replicas = world.seen.hosts.get(host).and_then(|seen| seen.replicas.as_ref());
        replicas.and_then(|replicas| replicas.get(&volume.id)).is_some_and(|replica| replica.lineage == volume.mirror.lineage)
    };
    for member in &volume.unmade {
        let host = &volume.hosts[member];
        if reported(host) {
            return Some(Step::Made(*member));
        }
        // Nobody wrote to it yet, so another host will do as well.
        if world.seen.life(host) == Life::Dead || is_closed(world, host) == Some(true) || !world.hosts.contains_key(host) {
            // What begins as a snapshot begins where that is, and is made elsewhere from there.
            if volume.from.is_some() {
                return (volume.hosts.len() > 1).then_some(Step::Without(*member));
            }
            let others = volume.hosts.values().filter(|other| *other != host).cloned().collect();
            return another(world, volume, &others).map(|found| Step::Instead(*member, found));
        }
    }
    if !volume.unmade.is_empty() {
        return None;
    }
    let large = |member: &Member| said(world, volume, *member).is_some_and(|replica| replica.size >= volume.size);
    if volume.usable < volume.size && volume.mirror.in_sync.iter().all(large) {
        return Some(Step::Grown);
    }
    resize(world, now, volume)
}

/// More replicas, or fewer.
fn resize(world: &World, now: Now, volume: &VolumeRecord) -> Option<Step> {
    let copies = usize::from(volume.copies);
    let lasts = |member: &Member| {
        let away = volume.hosts.get(member).and_then(|host| world.seen.away_from.get(host));
        away.is_none_or(|from| now.boot.since(*from) < AWAY_MAX) && !is_damaged(world, volume, *member)
    };
    let lasting: BTreeSet<HostName> = volume.hosts.iter().filter(|(member, _)| lasts(member)).map(|(_, host)| host.clone()).collect();
    if lasting.len() < copies {
        return another(world, volume, &lasting).map(Step::Add).or_else(|| in_its_place(world, volume).map(Step::Remove));
    }
    // What goes is not needed by those who are there now: of who is away, however shortly, nobody knows whether it comes back.
    let alive = |member: &Member| volume.hosts.get(member).is_some_and(|host| world.seen.life(host) == Life::Alive);
    let there = |member: &Member| is_whole(world, volume, *member);
    if volume.hosts.keys().filter(|member| there(member)).count() < copies || volume.hosts.len() <= copies {
        return None;
    }
    // Those that are away first, then those that lack something, then the youngest.
    let spare = volume.hosts.keys().copied().max_by_key(|member| (!alive(member), !there(member), *member));
    spare.map(Step::Remove)
}

/// What the host of a member says of its copy.
fn said<'a>(world: &'a World, volume: &VolumeRecord, member: Member) -> Option<&'a ReplicaReport> {
    world.seen.hosts.get(volume.hosts.get(&member)?)?.replicas.as_ref()?.get(&volume.id)
}

/// Whether the host of a member says that its copy is damaged, in a way that only making it anew mends.
fn is_damaged(world: &World, volume: &VolumeRecord, member: Member) -> bool {
    said(world, volume, member).is_some_and(|replica| replica.damaged)
}

/// Whether a copy has everything, and its host is there and says so.
fn is_whole(world: &World, volume: &VolumeRecord, member: Member) -> bool {
    let alive = volume.hosts.get(&member).is_some_and(|host| world.seen.life(host) == Life::Alive);
    let says = |one: &ReplicaReport| one.lineage == volume.mirror.lineage && !one.partial && !one.catching_up && !one.damaged;
    alive && volume.mirror.in_sync.contains(&member) && said(world, volume, member).is_some_and(says)
}

/// A damaged copy that makes way for another one on its own host, as no other host has room: nobody waits for it any more, and somebody who
/// is there has everything.
fn in_its_place(world: &World, volume: &VolumeRecord) -> Option<Member> {
    let mut gone = volume.mirror.out.keys().copied().filter(|member| is_damaged(world, volume, *member));
    volume.mirror.in_sync.iter().any(|member| is_whole(world, volume, *member)).then(|| gone.next()).flatten()
}

/// Tells of copies that are damaged by their host's report, of each once: what is said of one may come and go with its storage host's process.
pub(in crate::core) fn tell_damaged(world: &mut World, now: Now, host: &HostName) {
    let Some(seen) = world.seen.hosts.get(host) else { return };
    let Some(replicas) = seen.replicas.as_ref().filter(|replicas| replicas.values().any(|replica| replica.damaged)) else { return };
    let (mut here, mut news) = (BTreeSet::new(), Vec::new());
    for (key, volume) in &world.volumes {
        let Some((member, _)) = volume.hosts.iter().find(|(_, kept)| *kept == host) else { continue };
        here.insert((volume.id, *member));
        let damaged = replicas.get(&volume.id).filter(|replica| replica.damaged && !seen.damaged_told.contains(&(volume.id, *member)));
        let Some(replica) = damaged else { continue };
        let whole = volume.hosts.keys().any(|other| other != member && is_whole(world, volume, *other));
        news.push(((volume.id, *member), key.clone(), whole, replica.trouble.clone().unwrap_or_default()));
    }
    for (copy, key, whole, trouble) in news {
        let follows = if whole { "and is made anew from the others" } else { "and there is no whole one at present to make it anew from" };
        world.volume_event(now, &key, Severity::Warning, "CopyDamaged", format!("a copy is damaged {follows}"));
        told(world, now, &key, Severity::Warning, "CopyDamaged", format!("the copy on {host} is damaged: {trouble}"));
        world.seen.hosts.entry(host.clone()).or_default().damaged_told.insert(copy);
    }
    world.seen.hosts.entry(host.clone()).or_default().damaged_told.retain(|copy| here.contains(copy));
}

/// One more host beside those there are, other than those that keep or kept it.
fn another(world: &World, volume: &VolumeRecord, kept: &BTreeSet<HostName>) -> Option<HostName> {
    let mut all = stores(world);
    let had = |name: &HostName| world.hosts.get(name).is_some_and(|host| host.discard.contains(&volume.id));
    for (name, store) in &mut all {
        store.takes &= !had(name) && !volume.hosts.values().any(|host| host == name);
    }
    let chosen = choose(&all, kept, kept.len() + 1, volume.size).ok()?;
    chosen.into_iter().find(|host| !kept.contains(host))
}

fn take(world: &mut World, now: Now, key: &VolumeKey, step: Step) {
    let Some(volume) = world.volumes.get(key).cloned() else { return };
    match step {
        Step::Made(member) => {
            let last = volume.unmade.len() == 1;
            if let Some(volume) = world.volume_mut(key) {
                volume.unmade.remove(&member);
            }
            if last {
                world.volume_event(now, key, Severity::Info, "Made", format!("{} copies of {} are made", volume.copies, volume.size));
            }
        }
        Step::Grown => {
            if let Some(volume) = world.volume_mut(key) {
                volume.usable = volume.size;
            }
            world.volume_event(now, key, Severity::Info, "Grown", format!("its copies hold {}", volume.size));
        }
        Step::Instead(member, host) => {
            discard(world, &volume, member);
            if let Some(volume) = world.volume_mut(key) {
                let new = number(volume);
                volume.mirror = arbiter::refound(&volume.mirror, member, new);
                volume.hosts.remove(&member);
                volume.hosts.insert(new, host.clone());
                volume.unmade.remove(&member);
                volume.unmade.insert(new);
            }
            told(world, now, key, Severity::Info, "CopyMoved", format!("host {host} makes a copy instead of one that is away"));
        }
        Step::Without(member) => {
            let Ok(mirror) = arbiter::without(&volume.mirror, member) else { return };
            discard(world, &volume, member);
            if let Some(volume) = world.volume_mut(key) {
                volume.mirror = mirror;
                volume.hosts.remove(&member);
                volume.unmade.remove(&member);
            }
            let text = format!("host {} is away, and is not waited for: a copy is made elsewhere later", volume.hosts[&member]);
            told(world, now, key, Severity::Info, "CopyMoved", text);
        }
        Step::Add(host) => {
            if let Some(volume) = world.volume_mut(key) {
                let new = number(volume);
                volume.mirror = arbiter::with(&volume.mirror, new);
                volume.hosts.insert(new, host.clone());
            }
            told(world, now, key, Severity::Info, "CopyAdded", format!("host {host} gets a copy"));
        }
        Step::Remove(member) => {
            let Ok(mirror) = arbiter::without(&volume.mirror, member) else { return };
            discard(world, &volume, member);
            if let Some(volume) = world.volume_mut(key) {
                volume.mirror = mirror;
                volume.hosts.remove(&member);
            }
            let why = if is_damaged(world, &volume, member) { "is damaged" } else { "is not needed any more" };
            told(world, now, key, Severity::Info, "CopyRemoved", format!("the copy on {} {why}", volume.hosts[&member]));
        }
        Step::End => {
            for member in volume.hosts.keys() {
                discard(world, &volume, *member);
            }
            snapshots::discard_all(world, key);
            world.volume_event(now, key, Severity::Info, "Deleted", "is deleted");
            world.volumes.remove(key);
            world.dirty.insert(Dirty::Volume(key.clone()));
        }
    }
}

fn number(volume: &mut VolumeRecord) -> Member {
    let new = Member(volume.next_member);
    volume.next_member += 1;
    new
}

/// A host is to remove a replica, whenever it can.
fn discard(world: &mut World, volume: &VolumeRecord, member: Member) {
    if let Some(host) = volume.hosts.get(&member).and_then(|host| world.host_mut(host)) {
        host.discard.insert(volume.id);
    }
}

/// Which host it is concerns the PAN's operators alone.
fn told(world: &mut World, now: Now, key: &VolumeKey, severity: Severity, reason: &str, text: String) {
    let object = key.to_string();
    let about = About { partition: None, kind: "volume", object: &object };
    world.event(now, &about, severity, reason, format!("{key}: {text}"));
}

/// Deletes a volume that no server has, with its snapshots if so.
///
/// # Errors
/// `NotFound`; `InUse` while a server has it, or while it has snapshots.
pub fn delete(world: &mut World, now: Now, key: &VolumeKey, cascade: bool) -> Result<(), ApiError> {
    if sources::delete(world, key)? {
        return Ok(());
    }
    if !world.volumes.contains_key(key) {
        return Err(no_such(key));
    }
    if let Some(text) = snapshots::in_the_way(world, key, cascade) {
        return Err(ApiError::new(Code::InUse, text));
    }
    give_up(world, now, key);
    Ok(())
}

/// A volume goes as soon as no server has it any more.
pub fn give_up(world: &mut World, now: Now, key: &VolumeKey) {
    if world.volumes.get(key).is_some_and(|volume| volume.deleting) {
        return;
    }
    if let Some(volume) = world.volume_mut(key) {
        volume.deleting = true;
    }
    world.volume_event(now, key, Severity::Info, "Deleting", "is being deleted");
}
