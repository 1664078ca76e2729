//! What partitions used: a page for each day and cluster, which has its hours and, in the same record, up to where each instance is counted.

mod meter;

pub use meter::{Meter, advance, billed, heard};

use super::world::{Dirty, Now, World, wall_text};
use pan_api::usage::{Counters, Instance, Usage};
use pan_model::{ClusterName, Epoch, PartitionName, ServerKey, ServerName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;
const HOURS_OF_DAY: i64 = 24;

/// Which page: a cluster's, or that of the volumes of the partition, and of which day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageKey {
    /// The cluster; none: volumes.
    pub cluster: Option<ClusterName>,
    /// Days since 1970.
    pub day: i64,
}

/// What stands for volumes in the store: no cluster can be called that.
const VOLUMES: &str = "-";

impl PageKey {
    /// As the store has it.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}/{:06}", self.cluster.as_ref().map_or(VOLUMES, |cluster| cluster.as_str()), self.day)
    }

    /// The way back.
    #[must_use]
    pub fn read(cluster: &str, day: &str) -> Option<Self> {
        let cluster = if cluster == VOLUMES { None } else { Some(ClusterName::new(cluster).ok()?) };
        Some(Self { cluster, day: day.parse().ok()? })
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

/// An instance in one boot of its host: what is counted anew only with the host.
type Counted = (Instance, u64);

/// Up to where an instance is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    server: ServerName,
    epoch: Epoch,
    incarnation: u64,
    boot: u64,
    used: Counters,
    /// When something was counted last (wall, microseconds).
    at: i64,
    /// It ended, and this is all.
    ended: bool,
}

/// A day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// By hour of the day, ascending.
    hours: Vec<(i64, Hour)>,
    /// Only those of the newest page mean anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    marks: Vec<Mark>,
    /// Until when volumes are counted (wall, microseconds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored_until: Option<i64>,
}

impl Page {
    fn hour_mut(&mut self, hour: i64) -> &mut Hour {
        let of_day = hour.rem_euclid(HOURS_OF_DAY);
        let at = self.hours.partition_point(|(other, _)| *other < of_day);
        if self.hours.get(at).is_none_or(|(other, _)| *other != of_day) {
            self.hours.insert(at, (of_day, Hour::default()));
        }
        &mut self.hours[at].1
    }
}

/// All pages of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    pages: BTreeMap<PageKey, Arc<Page>>,
}

impl Book {
    /// A page.
    #[must_use]
    pub fn page(&self, key: &PageKey) -> Option<&Page> {
        self.pages.get(key).map(AsRef::as_ref)
    }

    /// Takes a page in as it was stored.
    pub fn restore(&mut self, key: PageKey, page: Page) {
        self.pages.insert(key, Arc::new(page));
    }

    /// The newest page of a cluster, or of volumes.
    fn newest(&self, cluster: Option<&ClusterName>) -> Option<(&PageKey, &Page)> {
        let from = PageKey { cluster: cluster.cloned(), day: i64::MIN };
        let to = PageKey { cluster: cluster.cloned(), day: i64::MAX };
        self.pages.range(from..=to).next_back().map(|(key, page)| (key, page.as_ref()))
    }

    /// Hours that begin from `from` on and before `to` (wall, microseconds), by hour.
    #[must_use]
    pub fn rows(&self, partition: &PartitionName, from: i64, to: i64) -> Vec<Usage> {
        let mut rows = Vec::new();
        for (key, page) in &self.pages {
            for (of_day, hour) in &page.hours {
                let begins = (key.day * HOURS_OF_DAY + of_day) * HOUR;
                if (from..to).contains(&begins) {
                    rows.push((begins, row(partition, key.cluster.as_ref(), begins, hour)));
                }
            }
        }
        rows.sort_by_key(|(begins, _)| *begins);
        rows.into_iter().map(|(_, row)| row).collect()
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
    hour_of(now.wall) + if used_before { HOUR } else { 0 }
}

/// Forgets a page that is no more in the store.
pub fn drop_page(world: &mut World, partition: &PartitionName, key: &PageKey) {
    let Some(book) = world.usage.get_mut(partition) else { return };
    Arc::make_mut(book).pages.remove(key);
    if book.pages.is_empty() {
        world.usage.remove(partition);
    }
}

fn key_of(partition: &PartitionName, mark: &Mark) -> Counted {
    let key = ServerKey { partition: partition.clone(), name: mark.server.clone() };
    (Instance { key, epoch: mark.epoch, incarnation: mark.incarnation }, mark.boot)
}

fn dirty(partition: &PartitionName, key: PageKey) -> Dirty {
    Dirty::Usage(partition.clone(), key)
}
