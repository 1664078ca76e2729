//! A cluster gets the number that its policies want, or as much of it as breaks no promise.

use super::{Held, names, set, tell};
use crate::core::apply::with_wanted_again;
use crate::core::world::{ClusterKey, Dirty, Now, World};
use crate::core::{resize, validate};
use pan_policy::Resolved;

/// Why a number cannot be had.
pub(super) struct Short {
    /// For the PAN.
    pub whole: String,
    /// For its partition, which is told nothing of what is outside of it.
    pub own: String,
}

/// Gives a cluster what is wanted; what of that it cannot have.
pub(super) fn adapt(world: &mut World, now: Now, key: &ClusterKey, resolved: &Resolved) -> Option<Held> {
    let (had, wanted) = (world.clusters.get(key)?.wanted(), resolved.servers);
    let short = match attempt(world, now, key, wanted, resolved) {
        Ok(None) => {
            relabel(world, key, resolved);
            return None;
        }
        Ok(Some(draft)) => {
            *world = draft;
            if had != wanted {
                tell::scheduled(world, now, key, resolved, had);
            }
            return None;
        }
        Err(short) => short,
    };
    if let Some(draft) = as_much(world, now, key, (had, wanted), resolved) {
        *world = draft;
        tell::scheduled(world, now, key, resolved, had);
    }
    let held = Held { wanted, had: world.clusters.get(key)?.wanted() };
    if world.seen.policies.held.get(key) != Some(&held) {
        tell::held(world, now, key, &held, &short);
    }
    Some(held)
}

/// The number stays, and others say so.
fn relabel(world: &mut World, key: &ClusterKey, resolved: &Resolved) {
    let scheduled = world.clusters.get_mut(key).and_then(|record| record.scheduled.as_mut());
    if let Some(scheduled) = scheduled.filter(|scheduled| scheduled.by != names(resolved)) {
        scheduled.by = names(resolved);
        world.dirty.insert(Dirty::Cluster(key.clone()));
    }
}

/// The world with that number of servers, where it is another one; or why not. Where a leader was lost between two transactions, some of
/// what the number asks for may be missing.
fn attempt(world: &World, now: Now, key: &ClusterKey, servers: u32, resolved: &Resolved) -> Result<Option<World>, Short> {
    let Some(record) = world.clusters.get(key) else { return Ok(None) };
    let is_so = record.wanted() == servers && resize::is_so(world, key, servers);
    if is_so && (record.scheduled.is_none() || record.spec.volumes.is_empty()) {
        return Ok(None);
    }
    let mut draft = world.clone();
    set(&mut draft, now, key, servers, resolved).map_err(|trouble| Short { whole: trouble.message.clone(), own: trouble.message })?;
    if is_so && draft.dirty == world.dirty {
        return Ok(None);
    }
    match pan_plan::admit(&with_wanted_again(world), &with_wanted_again(&draft)) {
        Ok(_) => Ok(Some(draft)),
        Err(refusal) => Err(Short { own: validate::refused(&refusal, Some(&key.0)).message, whole: refusal.text }),
    }
}

/// The most servers between what the cluster has and what it cannot have: one more is tried first, as mostly there is none.
fn as_much(world: &World, now: Now, key: &ClusterKey, (had, wanted): (u32, u32), resolved: &Resolved) -> Option<World> {
    let (mut best, mut low, mut high) = (None, had, wanted);
    let mut next = had.checked_add(1)?;
    while next > low && next < high {
        match attempt(world, now, key, next, resolved) {
            Ok(draft) => (best, low) = (draft, next),
            Err(_) if best.is_none() => return None,
            Err(_) => high = next,
        }
        next = low + (high - low) / 2;
    }
    best
}
