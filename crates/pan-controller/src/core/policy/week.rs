//! Whether everything that policies want in the next seven days can be had: the production planner, asked for each moment at which a
//! number grows.

use super::{by_cluster, differing, instant, looked_at, set, tell};
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
    let keys = looked_at(world, &all);
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
    let Ahead { most, grows } = ahead(draft, &all, from);
    if week.has_all_at_once(&most) {
        return Ok(());
    }
    // What lies beyond them is looked at when its time comes: nobody is refused something because others have many schedules.
    grows.iter().try_for_each(|(at, numbers)| week.holds(*at, numbers))
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

/// What a week asks for: the largest number of each cluster, and the first moments at which some number grows, with all numbers then, each
/// combination once.
struct Ahead {
    most: Numbers,
    grows: Vec<(Timestamp, Numbers)>,
}

fn ahead(draft: &World, all: &BTreeMap<ClusterKey, Vec<Policy>>, from: Timestamp) -> Ahead {
    let mut changes: BTreeMap<Timestamp, Vec<(&ClusterKey, Resolved)>> = BTreeMap::new();
    for (key, policies) in all {
        let Some(record) = draft.clusters.get(key).filter(|record| !record.deleting) else { continue };
        for at in Changes::of(policies, from, from + AHEAD).take(CHANGES_MAX) {
            changes.entry(at).or_default().push((key, resolve(policies, record.spec.servers, at)));
        }
    }
    let mut current = numbers_at(draft, from);
    let (mut most, mut seen, mut grows) = (current.clone(), BTreeSet::new(), Vec::new());
    for (at, changed) in changes {
        let mut more = at == from;
        for (key, resolved) in changed {
            more |= current.get(key).is_none_or(|former| former.servers < resolved.servers);
            if most.get(key).is_none_or(|largest| largest.servers < resolved.servers) {
                most.insert(key.clone(), resolved.clone());
            }
            current.insert(key.clone(), resolved);
        }
        if more && grows.len() < MOMENTS_MAX && seen.insert(current.values().map(|resolved| resolved.servers).collect::<Vec<u32>>()) {
            grows.push((at, current.clone()));
        }
    }
    Ahead { most, grows }
}

/// The world as it would be with these numbers, and which clusters cannot have theirs: these stay as they are.
fn future(world: &World, now: Now, numbers: &Numbers) -> (World, BTreeMap<ClusterKey, Trouble>) {
    // What needs room comes after what makes some.
    let grows = |key: &ClusterKey, resolved: &Resolved| world.clusters.get(key).is_some_and(|record| record.wanted() < resolved.servers);
    let (shrinking, growing): (Vec<_>, Vec<_>) = numbers.iter().partition(|(key, resolved)| !grows(key, resolved));
    let mut troubles = BTreeMap::new();
    loop {
        let mut copy = world.clone();
        let mut asked = shrinking.iter().chain(&growing).filter(|(key, _)| !troubles.contains_key(*key));
        let refused = asked.find_map(|(key, resolved)| {
            set(&mut copy, now, key, resolved.servers, resolved).err().map(|trouble| ((*key).clone(), trouble))
        });
        match refused {
            None => return (copy, troubles),
            Some((key, trouble)) => drop(troubles.insert(key, trouble)),
        }
    }
}

struct Week<'a> {
    before: &'a World,
    draft: &'a World,
    now: Now,
    within: Option<&'a PartitionName>,
}

impl Week<'_> {
    /// Whether even the largest numbers of the week can be had together: then so can those of each moment, which are less.
    fn has_all_at_once(&self, most: &Numbers) -> bool {
        let (to, troubles) = future(self.draft, self.now, most);
        if !troubles.is_empty() {
            return false;
        }
        let to = with_wanted_again(&to);
        // Nothing counts as having been so before.
        let from = Snapshot { clusters: BTreeMap::new(), ..to.clone() };
        pan_plan::admit(&from, &to).is_ok()
    }

    /// Whether what is wanted from a moment on can be had. Of a cluster that could not have it before, that is no news; all others are looked at
    /// as if it stayed as it is.
    fn holds(&self, at: Timestamp, numbers: &Numbers) -> Result<(), Broken> {
        let (before, known) = future(self.before, self.now, &numbers_at(self.before, at));
        let (to, troubles) = future(self.draft, self.now, numbers);
        let news = troubles.into_iter().find(|(key, _)| !known.contains_key(key) || self.is_new(key));
        if let Some((key, trouble)) = news {
            return Err(self.broken(at, numbers, &key, trouble));
        }
        let (from, to) = (with_wanted_again(&before), with_wanted_again(&to));
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

    /// Who is to blame, as far as whoever asks may know: the schedule that asks for the number, else the cluster. Of another partition's it is told
    /// that there is no room, and nothing more.
    fn broken(&self, at: Timestamp, numbers: &Numbers, key: &ClusterKey, trouble: Trouble) -> Broken {
        let when = self.moment(at, numbers, key).map(|moment| format!("from {moment} on: ")).unwrap_or_default();
        if !self.is_seen(key) {
            return (None, Trouble::new(Code::NoCapacity, "spec", format!("{when}{}", pan_plan::NOT_AVAILABLE_NOW)));
        }
        let asking = numbers.get(key).and_then(|resolved| resolved.because.first());
        let (which, path) = match asking {
            Some(active) => (Which::Policy(key.0.clone(), active.policy.clone()), format!("spec.schedules[{}]", active.schedule)),
            None => (Which::Cluster(key.0.clone(), key.1.clone()), trouble.path.clone()),
        };
        (Some(which), Trouble { path, message: format!("{when}{}", trouble.message), ..trouble })
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
