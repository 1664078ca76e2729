//! Who decides: taking over, stepping down, and following what the leader commits.
//!
//! A controller that follows keeps the same world as the one that leads: records from the store, everything else
//! from hosts and heartbeats, which speak to all controllers. So taking over is one compare-and-swap and no reading.

use super::persist::{self, LoadError};
use super::record::PanRecord;
use super::world::{Dirty, Now, World};
use super::{death, quarantine, reach};
use pan_member::{BootId, LeaderRecord, Revision, Term};
use pan_model::HostName;
use pan_model::event::Severity;

/// Writes this controller into the leader's record, to be committed under the condition that nobody else wrote
/// meanwhile. Only then it leads: [`lead`].
pub fn candidate(world: &mut World, me: &HostName, instance: u64, term: u64) {
    world.pan.term = term;
    world.pan.leader = Some(me.clone());
    world.pan.instance = instance;
    world.dirty.insert(Dirty::Pan);
}

/// The record was committed: this controller decides from now on.
pub fn lead(world: &mut World, now: Now) {
    world.leading = true;
    // What another leader told is told again, if it is so; that it is over is said by whoever said it.
    world.seen.leaseless = false;
    quarantine::recall(world, now);
    reach::begin(world, now);
    death::doubt_deaths(world, now);
    if let Some(leader) = world.pan.leader.clone() {
        let text = format!("controller {leader} leads, in term {}", world.pan.term);
        world.host_event(now, &leader, Severity::Info, "Leads", text);
    }
    renew(world);
}

/// Whether the record, as followed, is of this process and term. An attempt to take it may have succeeded without the
/// store having said so; who finds that out leads after all.
#[must_use]
pub fn is_ours(world: &World, me: &HostName, instance: u64, term: u64) -> bool {
    let pan = &world.pan;
    (pan.leader.as_ref(), pan.instance, pan.term) == (Some(me), instance, term)
}

/// What was asked for is about to be answered. That nothing had to be changed for it, or that it cannot be, is true only if this controller
/// leads still; so something is committed in any case.
pub fn answers(world: &mut World) {
    if world.dirty.is_empty() {
        world.dirty.insert(Dirty::Pan);
    }
}

/// The leader's record in the words of a campaign. A term has one leader, so it stands for the revision.
#[must_use]
pub fn recorded(pan: &PanRecord) -> Option<LeaderRecord> {
    let leader = pan.leader.clone()?;
    Some(LeaderRecord { leader, instance: BootId(pan.instance), term: Term(pan.term), revision: Revision(pan.term) })
}

/// Another controller leads, or nobody: this one decides nothing and forgets what it did not commit. `stored` are
/// the store's entries.
///
/// # Errors
/// A record cannot be used; the world is then as before.
pub fn follow<'a>(world: &mut World, stored: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<(), LoadError> {
    let mut fresh = persist::load((*world.settings).clone(), stored)?;
    fresh.seen = std::mem::take(&mut world.seen);
    fresh.timelines.keep_open(std::mem::take(&mut world.timelines));
    fresh.leading = false;
    *world = fresh;
    renew(world);
    Ok(())
}

/// Forgets what only one line of published generations gives a meaning.
fn renew(world: &mut World) {
    let seen = &mut world.seen;
    seen.published.clear();
    seen.units_from.clear();
    seen.drained_from.clear();
    seen.tables_from.clear();
    seen.stopped_from.clear();
    seen.drains = Default::default();
    seen.policies.rest = None;
    seen.replan = true;
    seen.meter.turn();
    // Attempts to fence belong to a term.
    for host in seen.hosts.values_mut() {
        host.revoking = None;
    }
    world.effects.clear();
}

/// A record changed in the store; `None`: it was deleted.
///
/// # Errors
/// The record cannot be used.
pub fn followed(world: &mut World, key: &str, value: Option<&[u8]>) -> Result<(), LoadError> {
    world.seen.replan = true;
    match value {
        Some(value) => persist::load_one(world, key, value),
        None => persist::forget(world, key),
    }
}
