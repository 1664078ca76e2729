//! What partitions used: a page for each day and cluster, which has its hours and, in the same record, up to where each instance is counted.

mod belief;
mod clock;
mod mark;
mod meter;

pub use meter::{Meter, advance, billed, heard};

use super::world::{Dirty, Now, World, wall_text};
use mark::{Counted, Mark};
use pan_api::usage::{Counters, Usage};
use pan_model::{ClusterName, PartitionName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;
const HOURS_OF_DAY: i64 = 24;
/// Pages of a partition and day. Clusters beyond that share one, so that names that come and go do not fill the store.
const PAGES_MAX: usize = 1_000;

/// Whose page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// A cluster's.
    Cluster(ClusterName),
    /// That of the clusters beyond the first thousand of a day.
    Rest,
    /// That of the partition's volumes.
    Volumes,
}

/// What stands for volumes, and for the rest, in the store: no cluster can be called that.
const VOLUMES: &str = "-";
const REST: &str = "+";

/// Which page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageKey {
    /// Whose.
    pub of: Of,
    /// Days since 1970.
    pub day: i64,
}

impl PageKey {
    /// As the store has it.
    #[must_use]
    pub fn text(&self) -> String {
        let of = match &self.of {
            Of::Cluster(cluster) => cluster.as_str(),
            Of::Rest => REST,
            Of::Volumes => VOLUMES,
        };
        format!("{of}/{:06}", self.day)
    }

    /// The way back.
    #[must_use]
    pub fn read(of: &str, day: &str) -> Option<Self> {
        let of = match of {
            VOLUMES => Of::Volumes,
            REST => Of::Rest,
            cluster => Of::Cluster(ClusterName::new(cluster).ok()?),
        };
        Some(Self { of, day: day.parse().ok()? })
    }

    /// Whose rows it has: none for what no cluster has to itself.
    const fn cluster(&self) -> Option<&ClusterName> {
        match &self.of {
            Of::Cluster(cluster) => Some(cluster),
            Of::Rest | Of::Volumes => None,
        }
    }
}

/// What was used in an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Hour {
    /// By servers.
    #[serde(flatten)]
    used: Counters,
    /// By volumes, KiB times seconds.
    storage: u64,
}

impl Hour {
    fn plus(self, other: Self) -> Self {
        Self { used: self.used.plus(other.used), storage: self.storage.saturating_add(other.storage) }
    }
}

/// A day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// By hour of the day, ascending.
    hours: Vec<(i64, Hour)>,
    /// Of other hours, since 1970, ascending: what came so late that it is another owner's of the partition's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    late: Vec<(i64, Hour)>,
    /// Only those of the newest page mean anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    marks: Vec<Mark>,
    /// Until when volumes are counted (wall, microseconds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored_until: Option<i64>,
    /// The bytes they took then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored_bytes: Option<u64>,
    /// Of the pages of one owner the newest is that with the highest turn. Not that of the latest day: a clock may have been ahead.
    #[serde(default, skip_serializing_if = "is_zero")]
    turn: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn entry(hours: &mut Vec<(i64, Hour)>, hour: i64) -> &mut Hour {
    let at = hours.partition_point(|(other, _)| *other < hour);
    if hours.get(at).is_none_or(|(other, _)| *other != hour) {
        hours.insert(at, (hour, Hour::default()));
    }
    &mut hours[at].1
}

impl Page {
    /// An hour of the page's day, by its number since 1970.
    fn hour_mut(&mut self, hour: i64) -> &mut Hour {
        entry(&mut self.hours, hour.rem_euclid(HOURS_OF_DAY))
    }

    /// Any hour, by its number since 1970.
    fn late_mut(&mut self, hour: i64) -> &mut Hour {
        entry(&mut self.late, hour)
    }

    /// Its hours, by their beginning (wall, microseconds).
    fn hours(&self, day: i64) -> impl Iterator<Item = (i64, Hour)> {
        let own = self.hours.iter().map(move |(of_day, hour)| (day * HOURS_OF_DAY + of_day, *hour));
        own.chain(self.late.iter().copied()).map(|(number, hour)| (number * HOUR, hour))
    }
}

/// All pages of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    pages: BTreeMap<PageKey, Arc<Page>>,
    /// The day of the newest page of each owner.
    newest: BTreeMap<Of, i64>,
    /// How many pages each day has.
    days: BTreeMap<i64, usize>,
}

impl Book {
    /// A page.
    #[must_use]
    pub fn page(&self, key: &PageKey) -> Option<&Page> {
        self.pages.get(key).map(AsRef::as_ref)
    }

    /// Takes a page in as it was stored, or is to be.
    pub fn put(&mut self, key: PageKey, page: Page) {
        let (of, day) = (key.of.clone(), key.day);
        if self.pages.insert(key, Arc::new(page)).is_none() {
            *self.days.entry(day).or_default() += 1;
        }
        self.find_newest(of);
    }

    fn remove(&mut self, key: &PageKey) {
        if self.pages.remove(key).is_none() {
            return;
        }
        let left = self.days.get(&key.day).map_or(0, |pages| pages - 1);
        match left {
            0 => drop(self.days.remove(&key.day)),
            _ => drop(self.days.insert(key.day, left)),
        }
        self.find_newest(key.of.clone());
    }

    fn of(&self, of: &Of) -> impl Iterator<Item = (&PageKey, &Page)> {
        let key = |day| PageKey { of: of.clone(), day };
        self.pages.range(key(i64::MIN)..=key(i64::MAX)).map(|(key, page)| (key, page.as_ref()))
    }

    fn find_newest(&mut self, of: Of) {
        match self.of(&of).map(|(key, page)| (page.turn, key.day)).max() {
            Some((_, day)) => drop(self.newest.insert(of, day)),
            None => drop(self.newest.remove(&of)),
        }
    }

    /// The newest page of an owner.
    fn newest(&self, of: &Of) -> Option<(&PageKey, &Page)> {
        let key = PageKey { of: of.clone(), day: *self.newest.get(of)? };
        self.pages.get_key_value(&key).map(|(key, page)| (key, page.as_ref()))
    }

    /// Drops the marks of an owner's pages but one, which has them all; those that had any.
    fn clear_marks(&mut self, but: &PageKey) -> Vec<PageKey> {
        let marked = |(key, page): &(&PageKey, &Page)| *key != but && !page.marks.is_empty();
        let old: Vec<PageKey> = self.of(&but.of).filter(marked).map(|(key, _)| key.clone()).collect();
        for key in &old {
            if let Some(page) = self.pages.get_mut(key) {
                Arc::make_mut(page).marks.clear();
            }
        }
        old
    }

    /// Up to where an instance of a cluster is counted: on the cluster's newest page, and on that of the rest.
    fn mark(&self, cluster: &ClusterName, counted: &Counted) -> Option<Mark> {
        let on = |of: &Of| self.newest(of)?.1.mark(counted).cloned();
        match (on(&Of::Cluster(cluster.clone())), on(&Of::Rest)) {
            (Some(one), Some(other)) => Some(one.with(&other)),
            (one, other) => one.or(other),
        }
    }

    /// On whose page a cluster is counted on a day.
    fn place(&self, cluster: &ClusterName, day: i64) -> Of {
        let own = PageKey { of: Of::Cluster(cluster.clone()), day };
        let full = self.days.get(&day).is_some_and(|pages| *pages >= PAGES_MAX);
        if full && !self.pages.contains_key(&own) { Of::Rest } else { own.of }
    }

    /// How many rows there are at most ([`Self::rows`]).
    #[must_use]
    pub fn count(&self, from: i64, to: i64) -> usize {
        self.pages.iter().map(|(key, page)| page.hours(key.day).filter(|(begins, _)| (from..to).contains(begins)).count()).sum()
    }

    /// Hours that begin from `from` on and before `to` (wall, microseconds), by hour.
    #[must_use]
    pub fn rows(&self, partition: &PartitionName, from: i64, to: i64) -> Vec<Usage> {
        let mut sums: BTreeMap<(i64, Option<&ClusterName>), Hour> = BTreeMap::new();
        for (key, page) in &self.pages {
            for (begins, hour) in page.hours(key.day).filter(|(begins, _)| (from..to).contains(begins)) {
                let sum = sums.entry((begins, key.cluster())).or_default();
                *sum = sum.plus(hour);
            }
        }
        sums.into_iter().map(|((begins, cluster), hour)| row(partition, cluster, begins, &hour)).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "what is lost is less than a millionth of a bill")]
fn row(partition: &PartitionName, cluster: Option<&ClusterName>, begins: i64, hour: &Hour) -> Usage {
    let gib_hours = |kib_seconds: u64| kib_seconds as f64 / f64::from(1 << 20) / 3600.0;
    Usage {
        partition: partition.clone(),
        cluster: cluster.cloned(),
        hour: wall_text(begins).replace(".000000", ""),
        cpu_seconds: hour.used.cpu_micros as f64 / 1e6,
        memory_gib_hours: gib_hours(hour.used.memory_kib_seconds),
        storage_gib_hours: gib_hours(hour.storage),
        received_bytes: hour.used.received,
        sent_bytes: hour.used.sent,
    }
}

/// The beginning of the hour of a moment.
#[must_use]
pub const fn hour_of(wall: i64) -> i64 {
    wall.div_euclid(HOUR) * HOUR
}

/// From when on a partition that is made now may see what was used under its name: of an hour in which another one had that, nothing.
#[must_use]
pub fn visible_from(world: &World, partition: &PartitionName, now: Now) -> i64 {
    let used_before = world.usage.contains_key(partition) || world.partitions.contains_key(partition);
    hour_of(clock::agreed(world, now)) + if used_before { HOUR } else { 0 }
}

/// Forgets a page that is no more in the store.
pub fn drop_page(world: &mut World, partition: &PartitionName, key: &PageKey) {
    let Some(book) = world.usage.get_mut(partition) else { return };
    Arc::make_mut(book).remove(key);
    if book.pages.is_empty() {
        world.usage.remove(partition);
    }
}

fn dirty(partition: &PartitionName, key: PageKey) -> Dirty {
    Dirty::Usage(partition.clone(), key)
}
