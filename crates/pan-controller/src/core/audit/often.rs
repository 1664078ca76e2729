//! What hosts do by themselves: heads claim their volumes, machines join. A host that does so again and again writes a line a minute and log
//! for each kind of thing it does, which says how many it stands for.

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
const COUNTED_MAX: usize = 16_384;
/// What stands for the name where not all were one.
const SEVERAL: &str = "several";

/// Who does what, and where.
type Key = (Option<PartitionName>, String, &'static str, &'static str);

/// What was done since the last line.
#[derive(Debug, Clone)]
struct Held {
    since: Tick,
    /// The newest, and how many.
    untold: Option<(Act, u64)>,
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
            let (before, times) = match held.untold.take() {
                Some((before, times)) => (Some(before), times + 1),
                None => (None, 1),
            };
            let same = before.is_none_or(|before| before.name == act.name && before.detail == act.detail);
            let act = if same { act } else { Act { name: SEVERAL.to_owned(), detail: String::new(), ..act } };
            held.untold = Some((act, times));
            None
        }
        None => {
            if often.len() < COUNTED_MAX {
                often.insert(key, Held { since: now.boot, untold: None });
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
        let told = world.seen.often.0.get_mut(&key).and_then(|held| {
            held.since = now.boot;
            held.untold.take()
        });
        match told {
            Some((act, times)) => {
                let act = Act { times: (times > 1).then_some(times), ..act };
                super::write(world, now, &Actor::host(key.1), vec![act]);
            }
            None => drop(world.seen.often.0.remove(&key)),
        }
    }
}
