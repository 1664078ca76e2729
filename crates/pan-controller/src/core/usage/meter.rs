//! From counters that only grow to what was used in which hour.
//!
//! Counters may be told twice, late, by another controller's reports or by an agent that was restarted: of each instance is counted what is more
//! than its mark says, and the mark is in the record that has the sum.

use super::{Book, Counted, HOUR, HOURS_OF_DAY, Mark, Page, PageKey, dirty, drop_page, key_of};
use crate::core::world::{Now, World};
use pan_api::usage::{Counters, Instance, Metered};
use pan_member::Tick;
use pan_model::{ClusterName, HostName, PartitionName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often is looked at what nodes told.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A page is written at most so often: what a bill is late by.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// Pages written in a round: with the rounds of a minute as many as thousands of clusters have.
const WRITES_MAX: usize = 256;
/// Days that are kept.
const DAYS_KEPT: i64 = 90;
/// Pages dropped in a round.
const DROPPED_MAX: usize = 64;
/// Instances of one host that are listened to: more than a node runs, with those that ended and wait to be written down.
const INSTANCES_MAX: usize = 10_000;
/// Marks of a cluster, beyond those of instances that nodes tell of: half a megabyte, which is what the store takes at once.
const MARKS_MAX: usize = 2_000;
/// An instance that ended has its mark for so long after its node stopped telling of it: reports that were overtaken are older.
const ENDED_KEPT: i64 = HOUR;
/// One whose node went silent may come back for so long. What comes later is counted from then on.
const SILENT_KEPT: i64 = 7 * HOURS_OF_DAY * HOUR;
/// Longest time that volumes are counted for at once: who has set a clock wrong shall not pay for years.
const STORED_MAX: i64 = HOURS_OF_DAY * HOUR;

/// An instance as its node told of it.
#[derive(Debug, Clone)]
struct Heard {
    cluster: ClusterName,
    began: i64,
    used: Counters,
    ended: bool,
    /// In the newest report.
    told: bool,
}

/// Whose page: a cluster's, or that of a partition's volumes.
type Owner = (PartitionName, Option<ClusterName>);

/// What nodes told; every controller has its own.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    hosts: BTreeMap<HostName, Arc<BTreeMap<Counted, Heard>>>,
    /// When pages were written.
    written: BTreeMap<Owner, Tick>,
    /// Bytes of volumes, each copy, as they were looked at last.
    stored: BTreeMap<PartitionName, u64>,
    /// When was looked last, and in which hour.
    looked: Option<(Tick, i64)>,
    /// The day for which old pages were dropped.
    swept: Option<i64>,
}

/// A node says what its instances used.
pub fn heard(world: &mut World, now: Now, host: &HostName, boot: u64, usage: Vec<Metered>) {
    if usage.is_empty() && !world.seen.meter.hosts.contains_key(host) {
        return;
    }
    let mut meter = std::mem::take(&mut world.seen.meter);
    let all = Arc::make_mut(meter.hosts.entry(host.clone()).or_default());
    all.values_mut().for_each(|heard| heard.told = false);
    for Metered { instance, cluster, began, used, ended } in usage.into_iter().take(INSTANCES_MAX) {
        let new = Heard { cluster, began: began.min(now.wall), used, ended, told: true };
        let heard = all.entry((instance, boot)).or_insert(new);
        (heard.used, heard.ended, heard.told) = (heard.used.most(used), heard.ended || ended, true);
    }
    // A node that was booted anew does not know what it told before; until that is written down, this is all there is of it.
    all.retain(|counted, heard| heard.told || !mark(world, counted, heard).is_some_and(|mark| covers(mark, heard)));
    while all.len() > 2 * INSTANCES_MAX {
        all.pop_first();
    }
    world.seen.meter = meter;
}

fn covers(mark: &Mark, heard: &Heard) -> bool {
    heard.used.beyond(mark.used) == Counters::default() && (mark.ended || !heard.ended)
}

fn mark<'a>(world: &'a World, (instance, boot): &Counted, heard: &Heard) -> Option<&'a Mark> {
    let (_, page) = world.usage.get(&instance.key.partition)?.newest(Some(&heard.cluster))?;
    let at = page.marks.binary_search_by(|mark| {
        let own = (&mark.server, mark.epoch, mark.incarnation, mark.boot);
        own.cmp(&(&instance.key.name, instance.epoch, instance.incarnation, *boot))
    });
    page.marks.get(at.ok()?)
}

/// Instances of a host that ended and are written down, whole.
#[must_use]
pub fn billed(world: &World, host: &HostName) -> Vec<Instance> {
    let Some(all) = world.seen.meter.hosts.get(host) else { return Vec::new() };
    let done = |(counted, heard): &(&Counted, &Heard)| {
        heard.told && heard.ended && mark(world, counted, heard).is_some_and(|mark| mark.ended && covers(mark, heard))
    };
    all.iter().filter(done).map(|((instance, _), _)| instance.clone()).collect()
}

/// Counts what is due.
pub fn advance(world: &mut World, now: Now) {
    let hour = now.wall.div_euclid(HOUR);
    let looked = world.seen.meter.looked;
    // What was told before the hour's end is of that hour.
    let turn = looked.map(|(_, last)| last).filter(|last| *last != hour);
    if turn.is_none() && looked.is_some_and(|(at, _)| now.boot.since(at) < LOOK_EVERY) {
        return;
    }
    let mut meter = std::mem::take(&mut world.seen.meter);
    meter.looked = Some((now.boot, hour));
    let at = At { now, hour: turn.map_or(hour, |last| last.min(hour)), turn: turn.is_some() };
    let left = servers(world, &mut meter, at);
    volumes(world, &mut meter, at, left);
    meter.hosts.retain(|host, all| world.hosts.contains_key(host) || all.iter().any(|(counted, heard)| !is_covered(world, counted, heard)));
    sweep(world, &mut meter, now);
    world.seen.meter = meter;
}

fn is_covered(world: &World, counted: &Counted, heard: &Heard) -> bool {
    mark(world, counted, heard).is_some_and(|mark| covers(mark, heard))
}

/// When is counted, and for which hour.
#[derive(Clone, Copy)]
struct At {
    now: Now,
    hour: i64,
    turn: bool,
}

impl At {
    const fn day(self) -> i64 {
        self.hour.div_euclid(HOURS_OF_DAY)
    }
}

impl Meter {
    /// Another one decides from now on, or this one: what was written when is known by whoever wrote it.
    pub fn turn(&mut self) {
        *self = Self { hosts: std::mem::take(&mut self.hosts), ..Self::default() };
    }

    fn is_due(&self, owner: &Owner, at: At) -> bool {
        at.turn || self.written.get(owner).is_none_or(|written| at.now.boot.since(*written) >= WRITE_EVERY)
    }
}

/// Counts what servers used; how many pages may still be written in this round.
fn servers(world: &mut World, meter: &mut Meter, at: At) -> usize {
    let mut due: BTreeMap<Owner, Vec<(Counted, Heard)>> = BTreeMap::new();
    for (counted, heard) in meter.hosts.values().flat_map(|all| all.iter()) {
        if !is_covered(world, counted, heard) {
            let owner = (counted.0.key.partition.clone(), Some(heard.cluster.clone()));
            due.entry(owner).or_default().push((counted.clone(), heard.clone()));
        }
    }
    due.retain(|owner, _| meter.is_due(owner, at));
    let mut due: Vec<_> = due.into_iter().collect();
    // Who waits longest comes first.
    due.sort_by_key(|(owner, _)| meter.written.get(owner).copied());
    let told: BTreeSet<&Counted> =
        meter.hosts.values().flat_map(|all| all.iter()).filter(|(_, heard)| heard.told).map(|(key, _)| key).collect();
    let mut left = WRITES_MAX;
    for (owner, instances) in due.into_iter().take(WRITES_MAX) {
        left = left.saturating_sub(1);
        write(world, &owner, at, |page| {
            instances.iter().for_each(|(counted, heard)| count(page, at, counted, heard));
            prune(page, &owner.0, at.now, &told);
        });
        meter.written.insert(owner, at.now.boot);
    }
    left
}

fn count(page: &mut Page, at: At, (instance, boot): &Counted, heard: &Heard) {
    let place = page.marks.binary_search_by(|mark| {
        let own = (&mark.server, mark.epoch, mark.incarnation, mark.boot);
        own.cmp(&(&instance.key.name, instance.epoch, instance.incarnation, *boot))
    });
    let index = place.unwrap_or_else(|index| {
        // Whose mark may have been dropped is not counted a second time.
        let forgotten = heard.began < at.now.wall - SILENT_KEPT;
        let Instance { key, epoch, incarnation } = instance.clone();
        let used = if forgotten { heard.used } else { Counters::default() };
        page.marks.insert(index, Mark { server: key.name, epoch, incarnation, boot: *boot, used, at: at.now.wall, ended: false });
        index
    });
    let mark = &mut page.marks[index];
    let more = heard.used.beyond(mark.used);
    (mark.used, mark.at, mark.ended) = (mark.used.most(heard.used), at.now.wall, heard.ended);
    let hour = page.hour_mut(at.hour);
    hour.used = hour.used.plus(more);
}

/// Drops marks that nobody will ask for any more.
fn prune(page: &mut Page, partition: &PartitionName, now: Now, told: &BTreeSet<&Counted>) {
    let mut spare: Vec<i64> = Vec::new();
    page.marks.retain(|mark| {
        let kept = if mark.ended { ENDED_KEPT } else { SILENT_KEPT };
        let own = told.contains(&key_of(partition, mark));
        let keep = own || now.wall - mark.at < kept;
        spare.extend((keep && !own).then_some(mark.at));
        keep
    });
    if spare.len() > MARKS_MAX {
        spare.sort_unstable();
        let oldest = spare[spare.len() - MARKS_MAX];
        page.marks.retain(|mark| mark.at >= oldest || told.contains(&key_of(partition, mark)));
    }
}

/// Changes the page of an hour, which begins with the marks of the one before.
fn write(world: &mut World, (partition, cluster): &Owner, at: At, change: impl FnOnce(&mut Page)) {
    let book: &mut Book = Arc::make_mut(world.usage.entry(partition.clone()).or_default());
    let newest = book.newest(cluster.as_ref()).map(|(key, page)| (key.clone(), page.clone()));
    // A clock that was set back goes on where it was: the newest page has the marks.
    let day = newest.as_ref().map_or(at.day(), |(key, _)| key.day.max(at.day()));
    let key = PageKey { cluster: cluster.clone(), day };
    let mut page = match newest {
        Some((last, page)) if last == key => {
            // Only now it is sure that the newest is in the store.
            let former = PageKey { day: day - 1, ..key.clone() };
            if let Some(old) = book.pages.get_mut(&former).filter(|old| !old.marks.is_empty()) {
                Arc::make_mut(old).marks.clear();
                world.dirty.insert(dirty(partition, former));
            }
            page
        }
        Some((_, page)) => Page { hours: Vec::new(), ..page },
        None => Page::default(),
    };
    change(&mut page);
    book.pages.insert(key.clone(), Arc::new(page));
    world.dirty.insert(dirty(partition, key));
}

/// Counts what volumes take: their size, on each host that is to have them.
fn volumes(world: &mut World, meter: &mut Meter, at: At, mut left: usize) {
    let mut stored: BTreeMap<PartitionName, u64> = BTreeMap::new();
    for (key, volume) in &world.volumes {
        let bytes = volume.size.0.saturating_mul(u64::from(volume.copies));
        let sum = stored.entry(key.partition.clone()).or_default();
        *sum = sum.saturating_add(bytes);
    }
    let all: BTreeSet<PartitionName> = stored.keys().chain(meter.stored.keys()).cloned().collect();
    for partition in all {
        let bytes = stored.get(&partition).copied().unwrap_or(0);
        let before = meter.stored.get(&partition).copied();
        let owner = (partition.clone(), None);
        let changed = before != Some(bytes);
        if left == 0 || !(changed || meter.is_due(&owner, at)) {
            continue;
        }
        left -= 1;
        let until = if at.turn { at.now.wall.min((at.hour + 1) * HOUR) } else { at.now.wall };
        write(world, &owner, at, |page| {
            let since = page.stored_until.unwrap_or(until);
            let seconds = u64::try_from((until - since).clamp(0, STORED_MAX) / 1_000_000).unwrap_or(0);
            // Whole seconds; the rest is counted next time.
            let whole = i64::try_from(seconds).unwrap_or(0) * 1_000_000;
            let reached = if until - since > STORED_MAX { until } else { since + whole };
            let used = (before.unwrap_or(bytes) >> 10).saturating_mul(seconds);
            if used > 0 {
                let hour = page.hour_mut(at.hour);
                hour.storage = hour.storage.saturating_add(used);
            }
            page.stored_until = (bytes > 0).then_some(reached);
        });
        meter.written.insert(owner, at.now.boot);
        match bytes {
            0 => drop(meter.stored.remove(&partition)),
            _ => drop(meter.stored.insert(partition, bytes)),
        }
    }
}

/// Drops pages of days that are kept no more, and what is remembered of pages that nobody wrote for long.
fn sweep(world: &mut World, meter: &mut Meter, now: Now) {
    let today = now.wall.div_euclid(HOUR * HOURS_OF_DAY);
    if meter.swept == Some(today) {
        return;
    }
    meter.written.retain(|_, written| now.boot.since(*written) < WRITE_EVERY);
    let old = |key: &&PageKey| key.day < today - DAYS_KEPT;
    let pages = world.usage.iter().flat_map(|(name, book)| book.pages.keys().filter(old).map(move |key| (name.clone(), key.clone())));
    let pages: Vec<_> = pages.take(DROPPED_MAX).collect();
    if pages.len() < DROPPED_MAX {
        meter.swept = Some(today);
    }
    for (partition, key) in pages {
        drop_page(world, &partition, &key);
        world.dirty.insert(dirty(&partition, key));
    }
}
