//! What was refused. Whoever is refused can ask as often as it likes, so only so many lines are written, and the rest is counted: no storm
//! of refusals pushes out what was done.

use super::log::{self, Draft};
use super::{Actor, plain};
use crate::core::world::{Now, World};
use pan_member::Tick;
use pan_model::{Code, PartitionName};
use std::collections::BTreeMap;
use std::time::Duration;

/// Refusals of a log that are told one by one.
const BURST: u32 = 20;
/// How often there may be another line from then on: in a week they are as many as a log keeps.
const EVERY: Duration = Duration::from_secs(300);
/// Kinds of refusals that are counted apart: by who is refused, and why.
const COUNTED_MAX: usize = 16;
/// What the line of all other kinds says of who, what and why.
const OTHERS: &str = "others";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// To do what.
    pub verb: String,
    /// To what kind of object.
    pub kind: &'static str,
    /// Which, in the caller's words.
    pub name: String,
}

/// Refusals that were not told, by who and why: the first of them, and how many.
type Counted = BTreeMap<(Option<u64>, Code), (Draft, u64)>;

/// Refusals of one log.
#[derive(Debug, Clone)]
struct Held {
    /// Lines that may be written.
    left: u32,
    /// When the last of them was added.
    since: Tick,
    counted: Counted,
    /// All other kinds together.
    others: u64,
}

impl Held {
    const fn new(now: Now) -> Self {
        Self { left: BURST, since: now.boot, counted: BTreeMap::new(), others: 0 }
    }

    fn is_empty(&self) -> bool {
        self.counted.is_empty() && self.others == 0
    }

    fn refill(&mut self, now: Now) {
        let due = now.boot.since(self.since).as_secs() / EVERY.as_secs();
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        self.since = if due >= BURST - self.left { now.boot } else { self.since.plus(EVERY * due) };
        self.left = self.left.saturating_add(due).min(BURST);
    }

    /// The next line that may be written.
    fn next(&mut self) -> Option<Draft> {
        if self.left == 0 {
            return None;
        }
        let (draft, times) = match self.counted.pop_first() {
            Some((_, told)) => told,
            None if self.others > 0 => {
                let all = || OTHERS.to_owned();
                let draft = Draft { principal: all(), role: OTHERS, verb: all(), kind: OTHERS, result: OTHERS, ..Draft::default() };
                (draft, std::mem::take(&mut self.others))
            }
            None => return None,
        };
        self.left -= 1;
        Some(Draft { times: (times > 1).then_some(times), ..draft })
    }

    fn count(&mut self, key: (Option<u64>, Code), draft: Draft) {
        if self.counted.len() >= COUNTED_MAX && !self.counted.contains_key(&key) {
            self.others += 1;
        } else {
            self.counted.entry(key).or_insert((draft, 0)).1 += 1;
        }
    }
}

/// Refusals that are not written yet. Those that are only counted are forgotten by a controller that ends: they changed nothing.
#[derive(Debug, Clone, Default)]
pub struct Refusals(BTreeMap<Option<PartitionName>, Held>);

impl Refusals {
    /// Forgets those of a log.
    pub fn forget(&mut self, place: &Option<PartitionName>) {
        self.0.remove(place);
    }
}

/// Somebody was refused, and it belongs into the log of where it is from.
pub fn refused(world: &mut World, now: Now, actor: &Actor, attempt: &Attempt, code: Code) {
    let place = actor.partition.clone();
    let Attempt { verb, kind, name } = attempt;
    let draft = Draft { verb: plain(verb), kind, name: plain(name), result: code.as_str(), ..actor.line(place.as_ref()) };
    world.seen.refusals.0.entry(place.clone()).or_insert_with(|| Held::new(now)).count((actor.token, code), draft);
    tell(world, now, place);
}

fn tell(world: &mut World, now: Now, place: Option<PartitionName>) {
    let Some(held) = world.seen.refusals.0.get_mut(&place) else { return };
    held.refill(now);
    let lines: Vec<Draft> = std::iter::from_fn(|| held.next()).collect();
    if held.is_empty() && held.left == BURST {
        world.seen.refusals.0.remove(&place);
    }
    log::append(world, now, place.as_ref(), lines);
}

/// Tells what could not be told at once.
pub fn advance(world: &mut World, now: Now) {
    let places: Vec<Option<PartitionName>> = world.seen.refusals.0.keys().cloned().collect();
    for place in places {
        tell(world, now, place);
    }
}
