//! The loss of what no storage host has any more, accepted by somebody who was told (rule 9 of docs/volumes.md).

use super::claim::claim;
use super::{no_such, user};
use crate::core::record::VolumeRecord;
use crate::core::seen::Life;
use crate::core::world::{Now, World};
use pan_api::ApiError;
use pan_model::event::Severity;
use pan_model::mirror::Member;
use pan_model::{Code, VolumeEpoch, VolumeKey};
use pan_replica::arbiter;

/// Takes the best copy that is not lost as the volume, whatever it lacks: the newest of those that are of one moment; only where there is none, one
/// that was being given what it missed, in which old and new are mixed. Copies that come back later are given everything anew.
///
/// # Errors
/// `NotFound`; `State`: a copy that has everything is there, or none at all is.
pub fn recover(world: &mut World, now: Now, key: &VolumeKey) -> Result<(), ApiError> {
    let refuse = |text: String| Err(ApiError::new(Code::State, text));
    let volume = world.volumes.get(key).ok_or_else(|| no_such(key))?;
    if !volume.unmade.is_empty() || volume.deleting {
        return refuse(format!("volume {} is being made or deleted: there is nothing to recover", key.name));
    }
    for member in &volume.mirror.in_sync {
        match look(world, volume, *member) {
            Copy::Gone => {}
            Copy::Unknown => {
                return refuse(format!(
                    "whether a storage host of volume {} has a copy is not known yet: wait some seconds; one whose disk is not mounted says so in \
                     its state, and counts as lost once the whole host is switched off",
                    key.name
                ));
            }
            Copy::There { .. } => {
                let text =
                    format!("a copy of volume {} that has everything is there: nothing is lost, and nothing has to be accepted", key.name);
                return refuse(text);
            }
        }
    }
    let candidates = volume.mirror.out.keys().filter_map(|member| match look(world, volume, *member) {
        Copy::There { of_one_moment, epoch } => Some((of_one_moment, epoch, *member)),
        Copy::Gone | Copy::Unknown => None,
    });
    let Some((of_one_moment, _, survivor)) = candidates.max() else {
        return refuse(format!("no copy of volume {} is there at all: start one of its storage hosts first", key.name));
    };
    let mirror = arbiter::accept_loss(&volume.mirror, survivor).map_err(|refusal| ApiError::new(Code::State, refusal.to_string()))?;
    let holder = user(world, key).filter(|server| world.servers.get(server).is_some_and(|record| record.node.is_some()));
    if let Some(volume) = world.volume_mut(key) {
        volume.mirror = mirror;
    }
    // Whoever writes does so under the new lineage.
    claim(world, key, holder.as_ref());
    let text = match of_one_moment {
        true => "what its last copy had not been given is lost, by order",
        false => {
            "its last copy was being given what it had missed, and has some of before and some of after, by order: check its file system"
        }
    };
    world.volume_event(now, key, Severity::Warning, "LossAccepted", text);
    Ok(())
}

/// What is known of a copy.
enum Copy {
    /// It could be used.
    There {
        /// It is as the volume was at some moment.
        of_one_moment: bool,
        /// The newest epoch that it obeyed.
        epoch: VolumeEpoch,
    },
    /// Its host is dead, or has no such copy.
    Gone,
    /// Its host was not heard, or cannot look.
    Unknown,
}

fn look(world: &World, volume: &VolumeRecord, member: Member) -> Copy {
    let Some(host) = volume.hosts.get(&member) else { return Copy::Gone };
    if world.seen.life(host) == Life::Dead || !world.hosts.contains_key(host) {
        return Copy::Gone;
    }
    let Some(seen) = world.seen.hosts.get(host) else { return Copy::Unknown };
    let Some(replicas) = seen.replicas.as_ref() else { return Copy::Unknown };
    // Before its pool is open, and while the disk is not mounted, it has none to show.
    if replicas.is_empty() && seen.pool.as_ref().is_none_or(|pool| pool.trouble.is_some()) {
        return Copy::Unknown;
    }
    match replicas.get(&volume.id) {
        Some(replica) if replica.lineage == volume.mirror.lineage && !replica.partial => {
            Copy::There { of_one_moment: !replica.catching_up, epoch: replica.epoch }
        }
        Some(_) | None => Copy::Gone,
    }
}
