//! Who may write a volume. It changes with the binding of the server that has it, and with nothing else: rule 1 of
//! docs/volumes.md in the transaction that moves the server.

use super::orders::right;
use super::{of_server, snapshots, user};
use crate::core::record::VolumeRecord;
use crate::core::request::Reply;
use crate::core::world::{About, Dirty, Now, World};
use pan_api::ApiError;
use pan_api::volume::{AskVolume, VolumeAsk};
use pan_model::event::Severity;
use pan_model::mirror::{Change, Member};
use pan_model::{Code, ServerKey, Session, VolumeKey};
use pan_replica::{Rules, arbiter};

/// A server was bound anew: its volumes are its new node's from this moment on.
pub fn bound(world: &mut World, now: Now, server: &ServerKey) {
    let keys: Vec<VolumeKey> = of_server(world, server).map(|(_, key)| key).filter(|key| world.volumes.contains_key(key)).collect();
    for key in keys {
        claim(world, &key, Some(server));
        let epoch = world.volumes[&key].mirror.epoch;
        world.timelines.mark(&server.to_string(), now.wall, "claimed", format!("volume {}, epoch {epoch}", key.name));
    }
}

/// Somebody else writes from now on: the head of a server; or nobody, so that whoever wrote before can do so no more.
pub(super) fn claim(world: &mut World, key: &VolumeKey, by: Option<&ServerKey>) {
    let session = world.pan.next_session;
    world.pan.next_session = Session(session.0 + 1);
    world.dirty.insert(Dirty::Pan);
    if let Some(volume) = world.volume_mut(key) {
        volume.mirror = arbiter::claim(&volume.mirror, session);
        volume.held = by.is_none();
        if let (None, Some(server)) = (&volume.server, by) {
            volume.holder = Some(server.name.clone());
        }
    }
}

/// A node asks for a volume of a server of its own. What is refused by the record is told by the record: the answer is what it
/// is now.
///
/// # Errors
/// `Denied`: the server is not bound to the node any more, or has no such volume; `State`: its replicas are not made yet.
pub fn ask(world: &mut World, now: Now, ask: &AskVolume) -> Result<Reply, ApiError> {
    let AskVolume { host, volume, server, binding, .. } = ask;
    let denied = || ApiError::new(Code::Denied, format!("volume {volume} is not one of {server} under epoch {binding} on {host}"));
    let bound = world.servers.get(server).is_some_and(|record| record.node.as_ref() == Some(host) && record.epoch == *binding);
    let theirs = |(_, record): &(&VolumeKey, &VolumeRecord)| record.id == *volume && !record.deleting;
    let mine = world.volumes.iter().filter(|(key, _)| key.partition == server.partition).find(theirs);
    let key = mine.map(|(key, _)| key.clone()).filter(|key| bound && user(world, key).as_ref() == Some(server)).ok_or_else(denied)?;
    match &ask.ask {
        VolumeAsk::Claim if !world.volumes[&key].unmade.is_empty() => {
            return Err(ApiError::new(Code::State, format!("volume {} has replicas that are not made yet", key.name)));
        }
        VolumeAsk::Claim if world.volumes[&key].held => return Err(denied()),
        VolumeAsk::Claim => claim(world, &key, Some(server)),
        VolumeAsk::Taken { writer, snapshot, members, trouble } => {
            let outcome = trouble.as_deref().map_or(Ok(members.as_ref()), Err);
            snapshots::taken(world, now, &key, (*writer, *snapshot), outcome);
        }
        VolumeAsk::Change { writer, expect, change, had } => {
            match arbiter::change(&world.volumes[&key].mirror, *writer, *expect, (*change, *had), Rules::default()) {
                Ok(next) => {
                    if let Some(volume) = world.volume_mut(&key) {
                        volume.mirror = next;
                    }
                    changed(world, now, &key, (*change, ask));
                }
                Err(refusal) => tracing::debug!(volume = %key, %refusal, "a head's question is refused"),
            }
        }
    }
    Ok(Reply::Volume(Box::new(right(world, &world.volumes[&key]))))
}

fn changed(world: &mut World, now: Now, key: &VolumeKey, (change, by): (Change, &AskVolume)) {
    let volume = &world.volumes[key];
    let (good, all) = (volume.mirror.in_sync.len(), volume.copies);
    let at = |member: Member| volume.hosts.get(&member).map(ToString::to_string).unwrap_or_default();
    let (reason, severity, told) = match change {
        Change::Evict(member) => {
            ("CopyLost", Severity::Warning, format!("{key}: its copy on {} does not answer and is out of sync", at(member)))
        }
        Change::Slow(member) => {
            let told = format!("{key}: its copy on {} is far slower than the others and is out of sync for a while", at(member));
            ("CopySlow", Severity::Warning, told)
        }
        Change::Add(member) => ("CopyInSync", Severity::Info, format!("{key}: its copy on {} has everything", at(member))),
    };
    let object = key.to_string();
    let about = About { partition: None, kind: "volume", object: &object };
    let by = format!("says its head on {}, epoch {}", by.host, volume.mirror.epoch);
    world.event(now, &about, severity, reason, format!("{told}; {good} of {all} are in sync, {by}"));
    world.volume_event(now, key, severity, reason, format!("{good} of {all} copies are in sync"));
}
