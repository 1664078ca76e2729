//! Why a volume is as it is: where its copies are and why there, who writes it, what it waits for, and how that came about.
//! A partition's own people are not told which hosts keep it.

use super::scope::Scope;
use pan_api::event::Event;
use pan_api::host::{Host, Storage};
use pan_api::insight::Why;
use pan_api::volume::{Replica, SnapshotState, Volume, VolumeState};
use pan_model::volume::Access;
use pan_model::{HostName, ServerKey, VolumeKey};
use std::sync::Arc;

/// Newest events that an answer quotes: a copy that goes and comes back is two, and a node that is lost with it four.
const EVENTS_MAX: usize = 12;

pub(super) fn answer(scope: &Scope, key: &VolumeKey) -> Option<Why> {
    let volume = scope.volume(key)?;
    let reasons = waits(&volume)
        .into_iter()
        .chain(writer(scope, key, &volume))
        .chain(volume.replicas.iter().map(|replica| copy(scope, replica)))
        .chain((!volume.replicas.is_empty()).then(|| PLACING.to_owned()))
        .chain(snapshots(&volume))
        .chain(events(scope, key));
    Some(Why {
        object: format!("volume {key}"),
        decision: decision(&volume),
        reasons: reasons.collect(),
        alternatives: others(scope, &volume),
    })
}

const PLACING: &str = "copies are where they share the fewest regions, zones and racks, and then where the most room is not promised";

fn decision(volume: &Volume) -> String {
    let Volume { name, in_sync, copies, epoch, .. } = volume;
    if let (Access::ReadersMany, Some(from)) = (volume.access, &volume.from) {
        return format!("{name} is {from}, for many to read: {in_sync} copies of that are kept");
    }
    let by = match &volume.attached_to {
        Some(server) => format!("{server} writes it under epoch {epoch}"),
        None => format!("nobody writes it (epoch {epoch})"),
    };
    format!("{in_sync} of {copies} copies have everything, and {by}")
}

fn waits(volume: &Volume) -> Option<String> {
    let text = match volume.state {
        VolumeState::Making => "its copies are not all made yet, and no server is started with it before".to_owned(),
        VolumeState::Deleting => match &volume.server {
            Some(server) => format!("it is being deleted, and goes when {server} has let it go"),
            None => "it is being deleted".to_owned(),
        },
        VolumeState::Degraded if volume.access == Access::ReadersMany => "the snapshot is on fewer storage hosts than wanted".to_owned(),
        VolumeState::Degraded if volume.attached_to.is_none() => {
            "a copy lacks something, and only a server that has the volume fills it: it waits for one".to_owned()
        }
        VolumeState::Degraded if volume.behind.0 > 0 => format!("{} bytes are still to be copied", volume.behind.0),
        VolumeState::Degraded => "a copy is out of sync: it waits for that storage host, or for another one in its place".to_owned(),
        VolumeState::Ready => return None,
    };
    Some(text)
}

fn writer(scope: &Scope, key: &VolumeKey, volume: &Volume) -> Option<String> {
    let Some(name) = &volume.server else {
        return (volume.access == Access::One).then(|| "no server is to have it".to_owned());
    };
    let at = volume.mount.as_ref().map(|mount| format!(" at {mount}")).unwrap_or_default();
    let Some(server) = scope.server(&ServerKey { partition: key.partition.clone(), name: name.clone() }) else {
        return Some(format!("it belongs to {name}, and there is no such server now"));
    };
    let on = server.node.map(|node| format!(" on {node}")).unwrap_or_default();
    Some(match &volume.attached_to {
        Some(_) => format!("{name} has it{at}{on}"),
        None => {
            let message = server.message.map(|message| format!(": {message}")).unwrap_or_default();
            format!("{name} is to have it{at}, and is {}{on}{message}", server.state)
        }
    })
}

fn copy(scope: &Scope, replica: &Replica) -> String {
    let Replica { host, in_sync, used, trouble } = replica;
    let has = if *in_sync { "has everything" } else { "is out of sync" };
    let takes = used.map(|used| format!(", takes {} bytes", used.0)).unwrap_or_default();
    let there = scope.host(host);
    let state = there.as_ref().map_or_else(|| "not known".to_owned(), |there| there.state.to_string());
    let room = there.as_ref().and_then(|there| there.storage.as_ref()).map(room).unwrap_or_default();
    let trouble = trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
    format!("the copy on {host} {has}{takes}; {host} is {state}{room}{trouble}")
}

/// What the choice of a storage host looks at.
fn room(storage: &Storage) -> String {
    let domains = ["region", "zone", "rack"].into_iter().filter_map(|label| Some(format!("{label}={}", storage.labels.get(label)?)));
    let domains: Vec<String> = domains.collect();
    let at = if domains.is_empty() { String::new() } else { format!(", in {}", domains.join(",")) };
    format!("{at}, {} of {} promised", storage.promised, storage.capacity)
}

fn snapshots(volume: &Volume) -> impl Iterator<Item = String> {
    volume.snapshots.iter().filter(|one| one.state != SnapshotState::Ready).map(|one| {
        let why = one.message.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let what = if one.state == SnapshotState::Failed { "could not be taken" } else { "is not taken yet" };
        format!("snapshot {} {what}{why}", one.name)
    })
}

/// The storage hosts that keep no copy, and whether they could.
fn others(scope: &Scope, volume: &Volume) -> Vec<String> {
    let without = |name: &HostName| volume.replicas.iter().all(|replica| replica.host != *name);
    // What many read has no copies of its own, so nothing is chosen for it.
    let hosts = scope.hosts().into_iter().filter(|(name, _)| volume.access == Access::One && without(name));
    hosts.filter_map(|(name, host)| Some(other(&name, &host, host.storage.as_ref()?, volume))).collect()
}

fn other(name: &HostName, host: &Host, storage: &Storage, volume: &Volume) -> String {
    let room = room(storage);
    if !storage.takes {
        let trouble = storage.trouble.first().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        return format!("{name} takes nothing at present: it is {}{room}{trouble}", host.state);
    }
    if storage.capacity.0.saturating_sub(storage.promised.0) < volume.size.0 {
        return format!("{name} has too little room for {}: it is {}{room}", volume.size, host.state);
    }
    format!("{name} could take a copy: it is {}{room}", host.state)
}

/// The newest events about a volume, oldest first. What both a partition and the PAN are told is quoted once, as the PAN is told it.
fn events(scope: &Scope, key: &VolumeKey) -> Vec<String> {
    let whole = key.to_string();
    let pan: Vec<&Arc<Event>> = about(scope, None, &whole).collect();
    let told = |event: &Event| pan.iter().any(|other| (&other.time, &other.reason) == (&event.time, &event.reason));
    let own = about(scope, Some(key), key.name.as_str()).filter(|event| !told(event));
    let mut all: Vec<&Arc<Event>> = own.chain(pan.iter().copied()).collect();
    all.sort_by(|one, other| one.time.cmp(&other.time));
    let newest = all.split_off(all.len().saturating_sub(EVENTS_MAX));
    newest.iter().map(|event| format!("{} {}: {}", event.time, event.reason, event.message)).collect()
}

fn about<'a>(scope: &'a Scope, key: Option<&'a VolumeKey>, object: &'a str) -> impl Iterator<Item = &'a Arc<Event>> {
    let place = key.map(|key| &key.partition);
    let here = scope.events(place).filter(move |(at, _)| at.as_ref() == place);
    here.flat_map(|(_, events)| events).filter(move |event| event.kind == "volume" && event.object == object)
}
