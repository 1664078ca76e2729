//! Whether everything that policies want in the next seven days can be had: the production planner, asked for each moment at which a
//! number grows.

use super::{by_cluster, differing, instant, set, tell};
use crate::core::apply::{Broken, with_wanted_again};
use crate::core::record::PolicyRecord;
use crate::core::validate::{self, Trouble, Which};
use crate::core::world::{ClusterKey, Now, PolicyKey, World};
use jiff::{SignedDuration, Timestamp};
use pan_model::{Code, PartitionName};
use pan_plan::Snapshot;
use pan_policy::{AHEAD, Active, Changes, Policy, Resolved, clash, resolve};
use std::collections::{BTreeMap, BTreeSet};

/// Changes of a cluster within a week that are looked at: every twenty minutes one.
const CHANGES_MAX: usize = 512;
/// Moments that are proved one by one, if not all can be had at once: each takes the planner a plan or two, while nothing else is decided.
/// Combinations of numbers that come again are looked at once, so a week of ordinary schedules has some ten.
const MOMENTS_MAX: usize = 32;

/// What clusters with policies have at an instant.
type Numbers = BTreeMap<ClusterKey, Resolved>;

/// How many servers clusters are to have at an instant: those that have policies, and those that have another number than their own.
fn numbers_at(world: &World, at: Timestamp) -> Numbers {
    let all = by_cluster(world);
    let scheduled = world.clusters.iter().filter(|(_, record)| record.scheduled.is_some()).map(|(key, _)| key.clone());
    let keys: BTreeSet<ClusterKey> = all.keys().cloned().chain(scheduled).collect();
    let of = |key: ClusterKey| {
        let record = world.clusters.get(&key).filter(|record| !record.deleting)?;
        let resolved = resolve(all.get(&key).map(Vec::as_slice).unwrap_or_default(), record.spec.servers, at);
        Some((key, resolved))
    };
    keys.into_iter().filter_map(of).collect()
}

/// Whether the change leaves every policy possible at every moment of the next seven days. What could not be had before is no reason.
///
/// # Errors
/// The first moment at which something breaks, and what.
pub fn prove(before: &World, draft: &World, now: Now, within: Option<&PartitionName>) -> Result<(), Broken> {
    let same = before.policies == draft.policies && before.clusters == draft.clusters && before.partitions == draft.partitions;
    if draft.policies.is_empty() || same {
        return Ok(());
    }
    let (from, all) = (instant(draft, now), by_cluster(draft));
    let changed: BTreeSet<&PolicyKey> = differing(&before.policies, &draft.policies).collect();
    for (key, policies) in &all {
        let own = |policy: &Policy| changed.contains(&(key.0.clone(), policy.name.clone()));
        if policies.iter().any(own) {
            agree(draft, key, policies, from, &own)?;
        }
    }
    let week = Week { before, draft, now, within };
    let grows = moments(draft, &all, from);
    if week.has_all_at_once(&grows) {
        return Ok(());
    }
    // What lies beyond them is looked at when its time comes: nobody is refused something because others have many schedules.
    grows.iter().take(MOMENTS_MAX).try_for_each(|(at, numbers)| week.holds(*at, numbers))
}

/// Whether the policies of a cluster agree with each other.
fn agree(draft: &World, key: &ClusterKey, policies: &[Policy], from: Timestamp, own: &dyn Fn(&Policy) -> bool) -> Result<(), Broken> {
    let blame = |name: &pan_model::Name, path: String, text: String| {
        (Some(Which::Policy(key.0.clone(), name.clone())), Trouble::new(Code::Conflict, path, text))
    };
    let instants: Vec<Timestamp> = Changes::of(policies, from, from + AHEAD).take(CHANGES_MAX + 1).collect();
    if instants.len() > CHANGES_MAX {
        let name = policies.iter().find(|policy| own(policy)).map_or_else(|| policies[0].name.clone(), |policy| policy.name.clone());
        let text = format!(
            "policies of cluster {} begin or end more than {CHANGES_MAX} times within seven days: let them do so less often",
            key.1
        );
        return Err(blame(&name, "spec.schedules".into(), text));
    }
    let Some(found) = clash(policies, instants.into_iter()) else { return Ok(()) };
    let is_own = |active: &Active| policies.iter().any(|policy| policy.name == active.policy && own(policy));
    let (mine, other) = if is_own(&found.other) { (&found.other, &found.one) } else { (&found.one, &found.other) };
    let whose = if mine.policy == other.policy { String::new() } else { format!(" of policy {}", other.policy) };
    let spec = draft.policies.get(&(key.0.clone(), other.policy.clone())).and_then(|record| record.spec.schedules.get(other.schedule));
    let text = format!(
        "{} contradicts {}{whose}, {}, from {} on: both are about cluster {}",
        mine.effect,
        other.effect,
        tell::named(other.schedule, spec),
        tell::moment(draft, &key.0, mine, found.at),
        key.1
    );
    Err(blame(&mine.policy, format!("spec.schedules[{}]", mine.schedule), text))
}

/// The moments of a week at which some number grows, with all numbers then, each combination once.
fn moments(draft: &World, all: &BTreeMap<ClusterKey, Vec<Policy>>, from: Timestamp) -> Vec<(Timestamp, Numbers)> {
    let mut changes: BTreeMap<Timestamp, Vec<(&ClusterKey, Resolved)>> = BTreeMap::new();
    for (key, policies) in all {
        let Some(record) = draft.clusters.get(key).filter(|record| !record.deleting) else { continue };
        for at in Changes::of(policies, from, from + AHEAD).take(CHANGES_MAX) {
            changes.entry(at).or_default().push((key, resolve(policies, record.spec.servers, at)));
        }
    }
    let (mut current, mut seen, mut found) = (numbers_at(draft, from), BTreeSet::new(), Vec::new());
    for (at, changed) in changes {
        let mut grows = at == from;
        for (key, resolved) in changed {
            grows |= current.get(key).is_none_or(|former| former.servers < resolved.servers);
            current.insert(key.clone(), resolved);
        }
        let vector: Vec<u32> = current.values().map(|resolved| resolved.servers).collect();
        if grows && seen.insert(vector) {
            found.push((at, current.clone()));
        }
    }
    found
}

/// The world as it would be with these numbers.
fn future(world: &World, now: Now, numbers: &Numbers) -> Result<World, (ClusterKey, Trouble)> {
    let mut copy = world.clone();
    // What needs room comes after what makes some.
    let grows = |key: &ClusterKey, resolved: &Resolved| world.clusters.get(key).is_some_and(|record| record.wanted() < resolved.servers);
    for later in [false, true] {
        for (key, resolved) in numbers.iter().filter(|(key, resolved)| grows(key, resolved) == later) {
            set(&mut copy, now, key, resolved.servers, resolved).map_err(|trouble| (key.clone(), trouble))?;
        }
    }
    Ok(copy)
}

struct Week<'a> {
    before: &'a World,
    draft: &'a World,
    now: Now,
    within: Option<&'a PartitionName>,
}

impl Week<'_> {
    /// Whether even the largest numbers of the week can be had together: then so can those of each moment, which are less.
    fn has_all_at_once(&self, grows: &[(Timestamp, Numbers)]) -> bool {
        let mut most = Numbers::new();
        for (key, resolved) in grows.iter().flat_map(|(_, numbers)| numbers) {
            let largest = most.entry(key.clone()).or_insert_with(|| resolved.clone());
            if largest.servers < resolved.servers {
                *largest = resolved.clone();
            }
        }
        let Ok(to) = future(self.draft, self.now, &most) else { return false };
        let to = with_wanted_again(&to);
        // Nothing counts as having been so before.
        let from = Snapshot { clusters: BTreeMap::new(), ..to.clone() };
        pan_plan::admit(&from, &to).is_ok()
    }

    /// Whether what is wanted from a moment on can be had.
    fn holds(&self, at: Timestamp, numbers: &Numbers) -> Result<(), Broken> {
        let before = future(self.before, self.now, &numbers_at(self.before, at));
        let to = match future(self.draft, self.now, numbers) {
            Ok(to) => with_wanted_again(&to),
            Err((key, trouble)) if before.as_ref().is_err_and(|(other, _)| *other == key) && !self.is_new(&key) => {
                tracing::debug!(?key, why = %trouble.message, "could not be had before");
                return Ok(());
            }
            Err((key, trouble)) => return Err(self.broken(at, numbers, &key, trouble)),
        };
        let from = before.map_or_else(|_| with_wanted_again(self.before), |before| with_wanted_again(&before));
        if from == to {
            return Ok(());
        }
        pan_plan::admit(&from, &to).map(drop).map_err(|refusal| {
            let trouble = validate::refused(&refusal, self.within);
            self.broken(at, numbers, &refusal.cluster, trouble)
        })
    }

    /// Whether a cluster or a policy of it was changed.
    fn is_new(&self, key: &ClusterKey) -> bool {
        let about = |record: Option<&PolicyRecord>| record.is_some_and(|record| record.spec.target.cluster == key.1);
        let policies = [&self.before.policies, &self.draft.policies];
        let of_it = |policy: &&PolicyKey| policy.0 == key.0 && policies.iter().any(|all| about(all.get(*policy)));
        let spec = |world: &World| world.clusters.get(key).map(|record| record.spec.clone());
        spec(self.before) != spec(self.draft) || differing(policies[0], policies[1]).any(|policy| of_it(&policy))
    }

    /// Who is to blame, as far as whoever asks may know: the schedule that asks for the number, else the cluster.
    fn broken(&self, at: Timestamp, numbers: &Numbers, key: &ClusterKey, trouble: Trouble) -> Broken {
        let asking = numbers.get(key).and_then(|resolved| resolved.because.first());
        let (which, path) = match asking {
            Some(active) => (Which::Policy(key.0.clone(), active.policy.clone()), format!("spec.schedules[{}]", active.schedule)),
            None => (Which::Cluster(key.0.clone(), key.1.clone()), trouble.path.clone()),
        };
        let message = match self.moment(at, numbers, key) {
            Some(moment) => format!("from {moment} on: {}", trouble.message),
            None => trouble.message.clone(),
        };
        (self.is_seen(key).then_some(which), Trouble { path, message, ..trouble })
    }

    fn is_seen(&self, key: &ClusterKey) -> bool {
        self.within.is_none_or(|within| *within == key.0)
    }

    /// The moment, by the clocks of a schedule whose window begins or ends then. Of one of another partition nothing is said.
    fn moment(&self, at: Timestamp, numbers: &Numbers, first: &ClusterKey) -> Option<String> {
        let before = numbers_at(self.draft, at - SignedDuration::from_nanos(1));
        let turns = |key: &ClusterKey| {
            let begins = numbers.get(key)?.active.iter().find(|active| active.window.from == at);
            let active = begins.or_else(|| before.get(key)?.active.iter().find(|active| active.window.until == at))?;
            Some(tell::moment(self.draft, &key.0, active, at))
        };
        let own = std::iter::once(first).chain(numbers.keys()).filter(|key| self.is_seen(key)).find_map(turns);
        own.or_else(|| self.within.is_none().then(|| at.to_string()))
    }
}
