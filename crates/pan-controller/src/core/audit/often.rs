//! What hosts do by themselves: heads claim their volumes, machines join. A host that does so again and again writes a line a minute and log
//! for each kind of thing it does and what it did so to, which says how many times it stands for.

use super::Actor;
use super::told::Act;
use crate::core::world::{Now, World};
use pan_member::Tick;
use pan_model::PartitionName;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a host has a line of one kind in one log.
const EVERY: Duration = Duration::from_secs(60);
/// Hosts, kinds and logs that are counted apart: more than there are hosts with servers of many partitions, a few megabytes. What is beyond
/// is told at once.
const COUNTED_MAX: usize = 4_096;
/// Of how many things, each with a line of its own, a host is heard in one kind of line: those of a small node's servers. What it did to others
/// has one line together, so that a host that is taken over cannot push out what others did.
const NAMES_MAX: usize = 16;
/// The name of that line.
const SEVERAL: &str = "several";

/// Who does what, and where.
type Key = (Option<PartitionName>, String, &'static str, &'static str);

/// What was done since the last line: the newest of each name, and how many times.
#[derive(Debug, Clone)]
struct Held {
    since: Tick,
    untold: BTreeMap<String, (Act, u64)>,
}

impl Held {
    fn add(&mut self, act: Act) {
        let known = self.untold.len() < NAMES_MAX || self.untold.contains_key(&act.name);
        let act = if known { act } else { Act { name: SEVERAL.to_owned(), detail: String::new(), ..act } };
        let (before, times) = self.untold.entry(act.name.clone()).or_insert_with(|| (act.clone(), 0));
        *times += 1;
        let same = before.detail == act.detail;
        *before = if same { act } else { Act { detail: String::new(), ..act } };
    }
}

/// What hosts did of late. What is only counted is forgotten by a controller that ends: the line before it says that such things were done.
#[derive(Debug, Clone, Default)]
pub struct Often(BTreeMap<Key, Held>);

impl Often {
    /// Forgets what belongs to a log.
    pub fn forget(&mut self, place: &Option<PartitionName>) {
        self.0.retain(|key, _| key.0 != *place);
    }
}

/// What of it is told now; the rest is counted.
pub fn first(world: &mut World, now: Now, actor: &Actor, acts: Vec<Act>) -> Vec<Act> {
    let often = &mut world.seen.often.0;
    acts.into_iter().filter_map(|act| count(often, now, actor, act)).collect()
}

fn count(often: &mut BTreeMap<Key, Held>, now: Now, actor: &Actor, act: Act) -> Option<Act> {
    let key = (act.place.clone(), actor.name.clone(), act.verb, act.kind);
    match often.get_mut(&key) {
        Some(held) => {
            held.add(act);
            None
        }
        None => {
            if often.len() < COUNTED_MAX {
                often.insert(key, Held { since: now.boot, untold: BTreeMap::new() });
            }
            Some(act)
        }
    }
}

/// Tells what was counted, and forgets who did nothing for as long as that.
pub fn advance(world: &mut World, now: Now) {
    let due = |held: &Held| now.boot.since(held.since) >= EVERY;
    let keys: Vec<Key> = world.seen.often.0.iter().filter(|(_, held)| due(held)).map(|(key, _)| key.clone()).collect();
    for key in keys {
        let Some(held) = world.seen.often.0.get_mut(&key) else { continue };
        held.since = now.boot;
        let told = std::mem::take(&mut held.untold);
        if told.is_empty() {
            world.seen.often.0.remove(&key);
            continue;
        }
        let acts = told.into_values().map(|(act, times)| Act { times: (times > 1).then_some(times), ..act });
        super::write(world, now, &Actor::host(key.1), acts.collect());
    }
}
