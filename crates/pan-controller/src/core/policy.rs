//! How many servers clusters have at present: what their manifests say, and what policies make of that by the clock.
//!
//! The number stands beside the manifest and never in it, so that whoever applies the manifest again takes nothing back. What a policy wants
//! was proved for a week when it was applied ([`prove`]); where it cannot be had all the same when its time comes, because nodes have died or
//! that was weeks ago, as much of it is had as breaks no promise.

mod adapt;
mod tell;
mod week;

pub use week::prove;

use super::record::{ClusterRecord, OpenWindow, PolicyRecord, Scheduled};
use super::validate::{self, Trouble, Which};
use super::world::{ClusterKey, Dirty, Now, PolicyKey, World};
use super::{resize, volumes};
use jiff::Timestamp;
use pan_api::requests::ApplyResult;
use pan_member::Tick;
use pan_model::policy::{PARTITION_SCHEDULES_MAX, POLICIES_MAX};
use pan_model::{Code, Name, PolicySpec};
use pan_policy::{Policy, Resolved, next_change, resolve};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A clock that goes back by less, or the next leader's that is behind by less, undoes nothing: one that is more than that off is told
/// to operators as wrong, and believed all the same.
const BACK_MAX: i64 = 60_000_000;
/// How often one of the clusters that could not have what policies want is tried again: it costs the planner some plans each time, and where nodes
/// have died it has more urgent ones to make.
const RETRY: Duration = Duration::from_secs(5);

/// What is not stored of looking at policies.
#[derive(Debug, Clone, Default)]
pub struct Watching {
    /// From when until when (wall, microseconds) nothing changes by the clock. None: that has to be found out.
    pub rest: Option<(i64, i64)>,
    /// Clusters that cannot have all that policies want, as was told.
    held: BTreeMap<ClusterKey, Held>,
    /// When one of them is tried again, and which was tried last.
    retry_at: Option<Tick>,
    tried: Option<ClusterKey>,
    /// Clusters whose policies contradict each other, as was told.
    clashes: BTreeSet<ClusterKey>,
}

/// What a cluster cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    wanted: u32,
    had: u32,
}

/// The instant that counts.
fn instant(world: &World, now: Now) -> Timestamp {
    let acted = world.pan.policies_at;
    let back = acted.saturating_sub(now.wall);
    let wall = if (0..=BACK_MAX).contains(&back) { acted } else { now.wall };
    Timestamp::from_microsecond(wall).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A policy ready to be asked. What was stored was checked before.
fn ready(name: &Name, record: &PolicyRecord) -> Option<Policy> {
    Policy::of(name, &record.spec).inspect_err(|wrong| tracing::error!(policy = %name, ?wrong, "a policy cannot be used")).ok()
}

/// The policies of each cluster.
fn by_cluster(world: &World) -> BTreeMap<ClusterKey, Vec<Policy>> {
    let mut all: BTreeMap<ClusterKey, Vec<Policy>> = BTreeMap::new();
    for ((partition, name), record) in &world.policies {
        all.entry((partition.clone(), record.spec.target.cluster.clone())).or_default().extend(ready(name, record));
    }
    all
}

fn of_cluster(world: &World, key: &ClusterKey) -> Vec<Policy> {
    let own = world.policies.iter().filter(|(policy, record)| policy.0 == key.0 && record.spec.target.cluster == key.1);
    own.filter_map(|((_, name), record)| ready(name, record)).collect()
}

/// The policies that name a cluster.
pub fn about<'a>(world: &'a World, key: &'a ClusterKey) -> impl Iterator<Item = &'a PolicyKey> {
    world.policies.iter().filter(|(policy, record)| policy.0 == key.0 && record.spec.target.cluster == key.1).map(|(policy, _)| policy)
}

/// Makes a policy, or changes it. Whether it can be kept is seen when all documents are in.
///
/// # Errors
/// [`Trouble`]: there is no such partition, or it has too many.
pub fn want(draft: &mut World, key: &PolicyKey, spec: &PolicySpec) -> Result<ApplyResult, Trouble> {
    validate::partition(draft, &key.0)?;
    let former = draft.policies.get(key);
    if former.is_some_and(|former| former.spec == *spec) {
        return Ok(ApplyResult::Unchanged);
    }
    let result = if former.is_some() { ApplyResult::Changed } else { ApplyResult::Created };
    if former.is_none() && draft.policies.keys().filter(|other| other.0 == key.0).count() >= POLICIES_MAX {
        let text = format!("a partition has at most {POLICIES_MAX} policies: put several schedules into one");
        return Err(Trouble::new(Code::Quota, "name", text));
    }
    let others = draft.policies.iter().filter(|(other, _)| other.0 == key.0 && other.1 != key.1);
    let schedules = others.map(|(_, record)| record.spec.schedules.len()).sum::<usize>() + spec.schedules.len();
    if schedules > PARTITION_SCHEDULES_MAX {
        let text = format!("the partition's policies would have {schedules} schedules: at most {PARTITION_SCHEDULES_MAX} are possible");
        return Err(Trouble::new(Code::Quota, "spec.schedules", text));
    }
    draft.policies.insert(key.clone(), PolicyRecord { spec: spec.clone(), open: Vec::new(), next: None });
    draft.dirty.insert(Dirty::Policy(key.clone()));
    Ok(result)
}

/// Forgets a policy; whether there was one. What it made of its cluster ends with the next look.
pub fn remove(world: &mut World, key: &PolicyKey) -> bool {
    let was_there = world.policies.remove(key).is_some();
    if was_there {
        world.dirty.insert(Dirty::Policy(key.clone()));
    }
    was_there
}

/// Gives a cluster whose manifest, or one of whose policies, changed what these make of it now.
///
/// # Errors
/// What stands in the way. What the cluster could not have before is not asked for.
pub fn fit(draft: &mut World, now: Now, key: &ClusterKey) -> Result<Option<Resolved>, Trouble> {
    let Some(record) = draft.clusters.get(key).filter(|record| !record.deleting) else { return Ok(None) };
    let resolved = resolve(&of_cluster(draft, key), record.spec.servers, instant(draft, now));
    let most = match draft.seen.policies.held.get(key) {
        Some(held) => held.had.max(record.spec.servers),
        None => u32::MAX,
    };
    set(draft, now, key, resolved.servers.min(most), &resolved)?;
    Ok(Some(resolved))
}

/// The same for the clusters of all policies that are not as they were.
pub fn fit_all(draft: &mut World, now: Now, former: &BTreeMap<PolicyKey, PolicyRecord>) -> Vec<(Which, Trouble)> {
    let changed: Vec<PolicyKey> = differing(former, &draft.policies).cloned().collect();
    let mut found = Vec::new();
    for key in changed {
        let now_of = draft.policies.get(&key).map(|record| record.spec.target.cluster.clone());
        let then_of = former.get(&key).map(|record| record.spec.target.cluster.clone());
        for cluster in now_of.into_iter().chain(then_of).collect::<BTreeSet<_>>() {
            let cluster = (key.0.clone(), cluster);
            let wanted = |draft: &World| draft.clusters.get(&cluster).map(ClusterRecord::wanted);
            let had = wanted(draft);
            match fit(draft, now, &cluster) {
                Ok(Some(resolved)) if had != wanted(draft) => tell::scheduled(draft, now, &cluster, &resolved, had.unwrap_or_default()),
                Ok(_) => {}
                Err(trouble) => found.push((Which::Policy(key.0.clone(), key.1.clone()), Trouble { path: "spec".into(), ..trouble })),
            }
        }
    }
    found
}

/// Policies that are not in both with the same words.
fn differing<'a>(
    former: &'a BTreeMap<PolicyKey, PolicyRecord>,
    latter: &'a BTreeMap<PolicyKey, PolicyRecord>,
) -> impl Iterator<Item = &'a PolicyKey> {
    let spec = |all: &'a BTreeMap<PolicyKey, PolicyRecord>, key: &PolicyKey| all.get(key).map(|record| &record.spec);
    let all: BTreeSet<&PolicyKey> = former.keys().chain(latter.keys()).collect();
    all.into_iter().filter(move |key| spec(former, key) != spec(latter, key))
}

/// The policies that decide.
fn names(resolved: &Resolved) -> Vec<Name> {
    let names: BTreeSet<&Name> = resolved.because.iter().map(|one| &one.policy).collect();
    names.into_iter().cloned().collect()
}

/// Gives a cluster so many servers.
fn set(draft: &mut World, now: Now, key: &ClusterKey, servers: u32, resolved: &Resolved) -> Result<(), Trouble> {
    let Some(record) = draft.clusters.get_mut(key) else { return Ok(()) };
    let spec = record.spec.clone();
    let scheduled = (servers != record.spec.servers).then(|| Scheduled { servers, by: names(resolved) });
    if record.scheduled != scheduled {
        record.scheduled = scheduled;
        draft.dirty.insert(Dirty::Cluster(key.clone()));
    }
    draft.seen.replan = true;
    let staying = draft.servers_of(key).iter().filter(|server| !draft.servers[*server].is_leaving()).count();
    if servers as usize > staying {
        validate::servers(draft, key, servers)?;
    }
    resize::to(draft, now, key, servers)?;
    volumes::want(draft, key, &spec, servers)
}

/// Acts on windows that have begun or are over.
pub fn advance(world: &mut World, now: Now) {
    let at = instant(world, now);
    let wall = at.as_microsecond();
    let watching = &world.seen.policies;
    let rests = watching.rest.is_some_and(|(from, until)| (from..until).contains(&wall));
    if rests && watching.retry_at.is_none_or(|due| now.boot < due) {
        return;
    }
    let all = by_cluster(world);
    let until = all.values().filter_map(|policies| next_change(policies, at)).min();
    if !rests {
        note_windows(world, now, at);
    }
    let keys = if rests { world.seen.policies.turn().into_iter().collect() } else { looked_at(world, &all) };
    if !rests && !keys.is_empty() && world.pan.policies_at != wall {
        world.pan.policies_at = wall;
        world.dirty.insert(Dirty::Pan);
    }
    // What is not looked at now is as it was.
    let known = &world.seen.policies;
    let (mut held, mut clashes) = if rests { (known.held.clone(), known.clashes.clone()) } else { (BTreeMap::new(), BTreeSet::new()) };
    let tried = if rests { keys.iter().next().cloned() } else { known.tried.clone() };
    for key in keys {
        held.remove(&key);
        let Some(record) = world.clusters.get(&key).filter(|record| !record.deleting) else { continue };
        let resolved = resolve(all.get(&key).map(Vec::as_slice).unwrap_or_default(), record.spec.servers, at);
        if let Some(clash) = &resolved.clash {
            clashes.insert(key.clone());
            if !world.seen.policies.clashes.contains(&key) {
                tell::clash(world, now, &key, clash);
            }
        }
        if let Some(short) = adapt::adapt(world, now, &key, &resolved) {
            held.insert(key, short);
        }
    }
    let retry_at = (!held.is_empty()).then(|| now.boot.plus(RETRY));
    world.seen.policies =
        Watching { rest: Some((wall, until.map_or(i64::MAX, Timestamp::as_microsecond))), held, retry_at, tried, clashes };
}

/// The clusters that policies are about, and those that have another number than their own.
fn looked_at(world: &World, all: &BTreeMap<ClusterKey, Vec<Policy>>) -> BTreeSet<ClusterKey> {
    let scheduled = world.clusters.iter().filter(|(_, record)| record.scheduled.is_some()).map(|(key, _)| key.clone());
    all.keys().cloned().chain(scheduled).collect()
}

impl Watching {
    /// Whose turn it is of the clusters that are held.
    fn turn(&self) -> Option<ClusterKey> {
        let after = self.tried.as_ref().and_then(|tried| self.held.keys().find(|key| *key > tried));
        after.or_else(|| self.held.keys().next()).cloned()
    }
}

/// Keeps, and tells, which windows are open.
fn note_windows(world: &mut World, now: Now, at: Timestamp) {
    let keys: Vec<PolicyKey> = world.policies.keys().cloned().collect();
    for key in keys {
        let Some(record) = world.policies.get(&key) else { continue };
        let Some(policy) = ready(&key.1, record) else { continue };
        let next = next_change(std::slice::from_ref(&policy), at).map(Timestamp::as_microsecond);
        let active: Vec<_> = policy.active(at).collect();
        let open = |one: &pan_policy::Active| OpenWindow {
            schedule: one.schedule,
            from: one.window.from.as_microsecond(),
            until: one.window.until.as_microsecond(),
        };
        let open: Vec<OpenWindow> = active.iter().map(open).collect();
        let fresh = PolicyRecord { spec: record.spec.clone(), open, next };
        if fresh == *record {
            continue;
        }
        tell::windows(world, now, &key, &active);
        world.policies.insert(key.clone(), fresh);
        world.dirty.insert(Dirty::Policy(key));
    }
}
