//! `lblc` and `lblcr`: a destination (a cached object, say) keeps its server, or its set of servers, until they have
//! too much to do.

use crate::pick::{Least, Load, Shape, Ties};
use crate::view::{Pick, View, Why};
use std::collections::BTreeMap;
use std::time::Duration;

/// Sets lose their busiest server when they did not change for so long, and entries that long unused go
/// (`lblc_expiration`, `lblcr_expiration`).
pub const EXPIRATION: Duration = Duration::from_secs(24 * 3600);
/// How often [`Locality::tick`] is to be called.
pub const CHECK_EVERY: Duration = Duration::from_secs(60);
/// Every so many checks that find nothing to do, all entries are looked at.
const FULL_CHECK_EVERY: u32 = 30;
/// Above so many entries (1024 buckets of 16), those go that were unused for [`UNUSED_MAX`].
const ENTRIES_MANY: usize = 16 * 1024;
const UNUSED_MAX: Duration = Duration::from_secs(6 * 60);
/// Above so many, none is added. The kernel has no such bound; 64,000 keys that nobody asks for again within six minutes
/// would otherwise take memory at the client's will.
const ENTRIES_MAX: usize = 4 * ENTRIES_MANY;

/// net/netfilter/ipvs/ip_vs_lblc.c and ip_vs_lblcr.c, after Zhang, "Linux Virtual Server for Scalable Network Services" (OLS
/// 2000). O(log keys) for a key that is known and whose server is not overloaded, else O(servers); a new key
/// allocates an entry. One difference: a server that is full is left also by the keys it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locality {
    kind: Kind,
    entries: BTreeMap<u64, Entry>,
    /// Where the last partial check ended.
    rover: u64,
    checks: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Replicated { expiration: Duration },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Servers' numbers, the newest first; never more than there are servers.
    set: Vec<u32>,
    changed: Duration,
    used: Duration,
}

impl Locality {
    /// `lblc`.
    #[must_use]
    pub fn single() -> Self {
        Self { kind: Kind::Single, entries: BTreeMap::new(), rover: 0, checks: 1 }
    }

    /// `lblcr`, with the time after which a set that did not change loses its busiest server.
    #[must_use]
    pub fn replicated(expiration: Duration) -> Self {
        Self { kind: Kind::Replicated { expiration }, ..Self::single() }
    }

    /// How many keys are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets servers that are no more.
    pub fn rebuild(&mut self, shape: &Shape<'_>) {
        let exists = |index: &u32| shape.servers.binary_search_by_key(index, |server| server.index).is_ok();
        self.entries.values_mut().for_each(|entry| entry.set.retain(exists));
    }

    /// The server of the key.
    pub fn pick(&mut self, view: &View<'_>, key: u64) -> Option<Pick> {
        let now = view.ask.now;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.used = now;
            let known = least_of(view, &entry.set);
            if let Kind::Replicated { expiration } = self.kind
                && entry.set.len() > 1
                && now > entry.changed + expiration
                && let Some(most) = most_of(view, &entry.set)
            {
                entry.set.retain(|index| *index != most);
                entry.changed = now;
            }
            if let Some(at) = known.filter(|at| !overloaded(view, *at)) {
                return Some(Pick { at, why: Why::Key { passed: 0 } });
            }
        }
        let pick = Least::weighted(Load::Overhead, Ties::First).pick(view)?;
        self.remember(key, view.servers[pick.at].index, now);
        Some(pick)
    }

    fn remember(&mut self, key: u64, index: u32, now: Duration) {
        let room = self.entries.len() < ENTRIES_MAX;
        match self.entries.get_mut(&key) {
            Some(entry) if self.kind == Kind::Single => {
                entry.set.clear();
                entry.set.push(index);
            }
            Some(entry) if !entry.set.contains(&index) => {
                entry.set.insert(0, index);
                entry.changed = now;
            }
            Some(_) => {}
            None if room => drop(self.entries.insert(key, Entry { set: vec![index], changed: now, used: now })),
            None => {}
        }
    }

    /// Forgets entries that were not used for long. O(entries) every half an hour or above 16,384 entries.
    pub fn tick(&mut self, now: Duration) {
        if self.checks.is_multiple_of(FULL_CHECK_EVERY) {
            self.checks = 1;
            self.entries.retain(|_, entry| entry.used + EXPIRATION > now);
            return;
        }
        if self.entries.len() <= ENTRIES_MANY {
            self.checks += 1;
            return;
        }
        let goal = ((self.entries.len() - ENTRIES_MANY) * 4 / 3).min(ENTRIES_MANY / 2);
        let stale = |(key, entry): (&u64, &Entry)| (now >= entry.used + UNUSED_MAX).then_some(*key);
        let after = self.entries.range(self.rover..).filter_map(stale);
        let before = self.entries.range(..self.rover).filter_map(stale);
        let keys: Vec<u64> = after.chain(before).take(goal).collect();
        for key in &keys {
            self.entries.remove(key);
        }
        self.rover = keys.last().map_or(0, |last| last.wrapping_add(1));
    }
}

/// The server of a set with the least overhead by weight; the newest of several.
fn least_of(view: &View<'_>, set: &[u32]) -> Option<usize> {
    let open = set.iter().filter_map(|index| position(view, *index)).filter(|at| view.open(*at));
    open.reduce(|best, at| if overhead(view, at) * weight(view, best) < overhead(view, best) * weight(view, at) { at } else { best })
}

/// The number of the one with the most, whether it is full or not.
fn most_of(view: &View<'_>, set: &[u32]) -> Option<u32> {
    let weighty = set.iter().filter_map(|index| position(view, *index)).filter(|at| view.roster.weights[*at] > 0);
    let most = weighty
        .reduce(|most, at| if overhead(view, at) * weight(view, most) > overhead(view, most) * weight(view, at) { at } else { most });
    most.map(|at| view.servers[at].index)
}

/// More connections than its weight, while somebody has less than half of theirs.
fn overloaded(view: &View<'_>, at: usize) -> bool {
    let connections = |at: usize| u64::from(view.servers[at].in_flight);
    connections(at) > view.weight(at) && (0..view.servers.len()).any(|other| 2 * connections(other) < view.weight(other))
}

fn overhead(view: &View<'_>, at: usize) -> u128 {
    (u128::from(view.servers[at].in_flight) << 8) + u128::from(view.servers[at].idle)
}

fn weight(view: &View<'_>, at: usize) -> u128 {
    u128::from(view.weight(at))
}

fn position(view: &View<'_>, index: u32) -> Option<usize> {
    view.servers.binary_search_by_key(&index, |server| server.index).ok()
}
