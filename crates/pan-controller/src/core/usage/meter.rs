//! From counters that only grow to what was used in which hour.
//!
//! Counters may be told twice, late, by another controller's reports or by an agent that was restarted: of each instance is counted what is more
//! than its mark says, and the mark is in the record that has the sum.

use super::clock::{self, Clock};
use super::mark::{Counted, Knowledge, Mark, SILENT_KEPT};
use super::{Book, HOUR, HOURS_OF_DAY, Of, Page, PageKey, belief, dirty, drop_page};
use crate::core::world::{Now, World};
use pan_api::usage::{Counters, Instance, Metered};
use pan_member::Tick;
use pan_model::event::Severity;
use pan_model::{ClusterName, Epoch, HostName, PartitionName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often is looked at what nodes told.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A page is written at most so often: what a bill is late by.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// Pages written in a round: with the rounds of a minute as many as thousands of clusters have.
const WRITES_MAX: usize = 256;
/// Days that are kept: those on which anything was used, not those of a clock, which may jump.
const DAYS_KEPT: usize = 91;
/// Pages dropped in a round.
const DROPPED_MAX: usize = 64;
/// Instances of one host that are listened to: more than a node runs, with those that ended and wait to be written down.
const INSTANCES_MAX: usize = 10_000;
/// Longest time that volumes are counted for at once: who has set a clock wrong shall not pay for years.
const STORED_MAX: i64 = HOURS_OF_DAY * HOUR;
/// That a node tells of more than can be is told so often.
const DOUBTS_EVERY: Duration = Duration::from_secs(3600);

/// An instance as its node told of it.
#[derive(Debug, Clone)]
struct Heard {
    cluster: ClusterName,
    began: i64,
    /// Since when it can have run (wall, microseconds).
    since: i64,
    used: Counters,
    ended: bool,
    /// In the newest report.
    told: bool,
}

/// What a host told.
#[derive(Debug, Clone, Default)]
struct Host {
    instances: BTreeMap<Counted, Heard>,
    /// Those of its newest report that ended and never were its own, as far as anybody knows: it may forget them.
    strange: BTreeSet<Instance>,
}

/// Whose page.
type Owner = (PartitionName, Of);

/// What nodes told; every controller has its own.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    hosts: BTreeMap<HostName, Arc<Host>>,
    /// When pages were written.
    written: BTreeMap<Owner, Tick>,
    /// Bytes of volumes, each copy, as they were looked at last.
    stored: BTreeMap<PartitionName, u64>,
    /// When was looked last, and in which hour.
    looked: Option<(Tick, i64)>,
    clock: Clock,
    /// The day for which old pages were dropped.
    swept: Option<i64>,
    /// When it was told last that a host tells of more than can be.
    doubted: BTreeMap<HostName, Tick>,
}

/// A node says what its instances used. What is not its own is not listened to.
pub fn heard(world: &mut World, now: Now, host: &HostName, boot: u64, usage: Vec<Metered>) {
    let mut meter = std::mem::take(&mut world.seen.meter);
    let Host { instances, strange } = Arc::make_mut(meter.hosts.entry(host.clone()).or_default());
    instances.values_mut().for_each(|heard| heard.told = false);
    strange.clear();
    for metered in usage.into_iter().take(INSTANCES_MAX) {
        let counted = (metered.instance.clone(), boot);
        let heard = match instances.get_mut(&counted) {
            Some(heard) if heard.cluster == metered.cluster => heard,
            Some(_) => continue,
            None => match belief::since(world, host, boot, &metered) {
                Some(since) => {
                    let Metered { cluster, began, used, ended, .. } = metered.clone();
                    instances.entry(counted).or_insert(Heard { cluster, began: began.min(now.wall), since, used, ended, told: true })
                }
                None => {
                    strange.extend(metered.ended.then_some(metered.instance));
                    continue;
                }
            },
        };
        (heard.used, heard.ended, heard.told) = (heard.used.most(metered.used), heard.ended || metered.ended, true);
    }
    // A node that was booted anew does not know what it told before; until that is written down, this is all there is of it.
    instances.retain(|counted, heard| heard.told || !is_covered(world, counted, heard));
    while instances.len() > 2 * INSTANCES_MAX {
        instances.pop_first();
    }
    world.seen.meter = meter;
}

fn covers(mark: &Mark, heard: &Heard) -> bool {
    heard.used.beyond(mark.used) == Counters::default() && (mark.ended || !heard.ended)
}

fn mark(world: &World, counted: &Counted, heard: &Heard) -> Option<Mark> {
    world.usage.get(&counted.0.key.partition)?.mark(&heard.cluster, counted)
}

fn is_covered(world: &World, counted: &Counted, heard: &Heard) -> bool {
    mark(world, counted, heard).is_some_and(|mark| covers(&mark, heard))
}

/// Instances of a host that ended and are written down, whole, or are not its own: it need not tell of them any more.
#[must_use]
pub fn billed(world: &World, host: &HostName) -> Vec<Instance> {
    let Some(Host { instances, strange }) = world.seen.meter.hosts.get(host).map(AsRef::as_ref) else { return Vec::new() };
    let done = |(counted, heard): &(&Counted, &Heard)| {
        heard.told && heard.ended && mark(world, counted, heard).is_some_and(|mark| mark.ended && covers(&mark, heard))
    };
    instances.iter().filter(done).map(|((instance, _), _)| instance.clone()).chain(strange.iter().cloned()).collect()
}

/// Counts what is due.
pub fn advance(world: &mut World, now: Now) {
    let mut meter = std::mem::take(&mut world.seen.meter);
    let now = Now { wall: meter.clock.read(clock::agreed(world, now), now.boot), ..now };
    count_due(world, &mut meter, now);
    world.seen.meter = meter;
}

fn count_due(world: &mut World, meter: &mut Meter, now: Now) {
    let hour = now.wall.div_euclid(HOUR);
    let looked = meter.looked;
    // What was told before the hour's end is of that hour.
    let turn = looked.map(|(_, last)| last).filter(|last| *last != hour);
    if turn.is_none() && looked.is_some_and(|(at, _)| now.boot.since(at) < LOOK_EVERY) {
        return;
    }
    meter.looked = Some((now.boot, hour));
    let at = At { now, hour: turn.map_or(hour, |last| last.min(hour)), turn: turn.is_some() };
    let left = servers(world, meter, at);
    volumes(world, meter, at, left);
    let open = |host: &Host| host.instances.iter().any(|(counted, heard)| !is_covered(world, counted, heard));
    meter.hosts.retain(|name, host| world.hosts.contains_key(name) || open(host));
    sweep(world, meter, now);
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

    fn instances(&self) -> impl Iterator<Item = (&HostName, &Counted, &Heard)> {
        self.hosts.iter().flat_map(|(name, host)| host.instances.iter().map(move |(counted, heard)| (name, counted, heard)))
    }
}

/// Counts what servers used; how many pages may still be written in this round.
fn servers(world: &mut World, meter: &mut Meter, at: At) -> usize {
    let none = Book::default();
    let mut due: BTreeMap<Owner, BTreeMap<Counted, (HostName, Heard)>> = BTreeMap::new();
    for (host, counted, heard) in meter.instances() {
        if !is_covered(world, counted, heard) {
            let partition = &counted.0.key.partition;
            let of = world.usage.get(partition).map_or(&none, AsRef::as_ref).place(&heard.cluster, at.day());
            due.entry((partition.clone(), of)).or_default().insert(counted.clone(), (host.clone(), heard.clone()));
        }
    }
    due.retain(|owner, _| meter.is_due(owner, at));
    if due.is_empty() {
        return WRITES_MAX;
    }
    let mut due: Vec<_> = due.into_iter().collect();
    // Who waits longest comes first.
    due.sort_by_key(|(owner, _)| meter.written.get(owner).copied());
    let knowledge = Knowledge {
        told: meter.instances().filter(|(_, _, heard)| heard.told).map(|(_, counted, _)| counted.clone()).collect(),
        silent: world.hosts.keys().filter(|host| !meter.hosts.contains_key(*host)).cloned().collect(),
    };
    let mut left = WRITES_MAX;
    for (owner, instances) in due.into_iter().take(WRITES_MAX) {
        left = left.saturating_sub(1);
        for host in write_servers(world, &owner, at, &instances, &knowledge) {
            doubt(world, meter, at.now, host);
        }
        meter.written.insert(owner, at.now.boot);
    }
    left
}

/// Counts on one page; hosts that told of more than can be.
fn write_servers(
    world: &mut World,
    owner: &Owner,
    at: At,
    instances: &BTreeMap<Counted, (HostName, Heard)>,
    knowledge: &Knowledge,
) -> BTreeSet<HostName> {
    let mut doubtful = BTreeSet::new();
    let former = former_owner(world, &owner.0);
    write(world, owner, at, |world, book, page| {
        let fresh = instances.keys().filter(|counted| page.mark(counted).is_none()).count();
        page.prune(&owner.0, at.now.wall, knowledge, fresh);
        page.move_marks(instances.iter(), |page, counted, (host, heard), mark| {
            // It may be on the cluster's own page, or on that of the rest.
            let all = mark.into_iter().chain(book.mark(&heard.cluster, counted));
            let Count { mark, more, cut } = count(world, at, host, counted, heard, all.reduce(|one, other| one.with(&other)));
            doubtful.extend(cut.then(|| host.clone()));
            let hour = match &former {
                Some((epoch, hour)) if counted.0.epoch <= *epoch => page.late_mut(*hour),
                _ => page.hour_mut(at.hour),
            };
            hour.used = hour.used.plus(more);
            mark
        });
    });
    doubtful
}

/// Up to which epoch servers of a partition were of another that had its name, and in which hour that paid last.
fn former_owner(world: &World, partition: &PartitionName) -> Option<(Epoch, i64)> {
    let record = world.partitions.get(partition)?;
    Some((record.first_epoch, record.created.div_euclid(HOUR) - 1))
}

/// What became of an instance.
struct Count {
    mark: Mark,
    more: Counters,
    /// It told of more than can be.
    cut: bool,
}

fn count(world: &World, at: At, host: &HostName, (instance, boot): &Counted, heard: &Heard, mark: Option<Mark>) -> Count {
    let wall = at.now.wall;
    let from = mark.as_ref().map_or(heard.since, |mark| mark.at);
    let mark = mark.unwrap_or_else(|| {
        // Whose mark may have been dropped is not counted a second time.
        let forgotten = heard.began.max(heard.since) < wall - SILENT_KEPT;
        let used = if forgotten { heard.used } else { Counters::default() };
        let Instance { key, epoch, incarnation } = instance.clone();
        Mark { server: key.name, epoch, incarnation, boot: *boot, used, at: wall, ended: false, host: None }
    });
    let told = heard.used.beyond(mark.used);
    let more = told.least(belief::possible(world, host, wall - from, heard.ended && !mark.ended));
    // What is too much of one that runs is looked at again; it had no time for it yet.
    let used = if heard.ended { mark.used.most(heard.used) } else { mark.used.plus(more) };
    let mark = Mark { used, at: wall, ended: heard.ended, host: Some(host.clone()), ..mark };
    Count { mark, more, cut: more != told }
}

/// Says once an hour that a node tells of more than can be.
fn doubt(world: &mut World, meter: &mut Meter, now: Now, host: HostName) {
    if meter.doubted.get(&host).is_some_and(|told| now.boot.since(*told) < DOUBTS_EVERY) {
        return;
    }
    let text = format!("host {host} tells that servers used more than it can have given them: what is more is not counted");
    world.host_event(now, &host, Severity::Warning, "UsageDoubted", text);
    meter.doubted.insert(host, now.boot);
}

/// Changes the page of an hour, which begins with the marks of the one before. `change` is given the others as they are.
fn write(world: &mut World, (partition, of): &Owner, at: At, change: impl FnOnce(&World, &Book, &mut Page)) {
    let mut shared = world.usage.remove(partition).unwrap_or_default();
    let book: &mut Book = Arc::make_mut(&mut shared);
    let key = PageKey { of: of.clone(), day: at.day() };
    let mut page = match book.newest(of).map(|(key, page)| (key.day, page.clone())) {
        Some((day, page)) if day == key.day => {
            // Only now it is sure that the newest is in the store.
            for old in book.clear_marks(&key) {
                world.dirty.insert(dirty(partition, old));
            }
            page
        }
        // Also where the clock was set back: an earlier day has its page already.
        Some((_, Page { marks, stored_until, stored_bytes, turn, .. })) => {
            Page { marks, stored_until, stored_bytes, turn: turn + 1, ..book.page(&key).cloned().unwrap_or_default() }
        }
        None => Page::default(),
    };
    change(world, book, &mut page);
    book.put(key.clone(), page);
    world.usage.insert(partition.clone(), shared);
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
        let owner = (partition.clone(), Of::Volumes);
        let changed = before != Some(bytes);
        if left == 0 || !(changed || meter.is_due(&owner, at)) {
            continue;
        }
        left -= 1;
        let until = if at.turn { at.now.wall.min((at.hour + 1) * HOUR) } else { at.now.wall };
        write(world, &owner, at, |_, _, page| store(page, at.hour, until, before, bytes));
        meter.written.insert(owner, at.now.boot);
        match bytes {
            0 => drop(meter.stored.remove(&partition)),
            _ => drop(meter.stored.insert(partition, bytes)),
        }
    }
}

/// Counts volumes up to a moment. They took `before` bytes, as far as this controller knows, and take `bytes` from then on.
fn store(page: &mut Page, hour: i64, until: i64, before: Option<u64>, bytes: u64) {
    let since = page.stored_until.unwrap_or(until);
    let seconds = u64::try_from((until - since).clamp(0, STORED_MAX) / 1_000_000).unwrap_or(0);
    // Whole seconds; the rest is counted next time.
    let whole = i64::try_from(seconds).unwrap_or(0) * 1_000_000;
    let reached = if (until - since).abs() > STORED_MAX { until } else { since + whole };
    let used = (before.or(page.stored_bytes).unwrap_or(bytes) >> 10).saturating_mul(seconds);
    if used > 0 {
        let hour = page.hour_mut(hour);
        hour.storage = hour.storage.saturating_add(used);
    }
    page.stored_until = (bytes > 0).then_some(reached);
    page.stored_bytes = (bytes > 0).then_some(bytes);
}

/// Drops pages of days that are kept no more, and what is remembered of pages that nobody wrote for long.
fn sweep(world: &mut World, meter: &mut Meter, now: Now) {
    let today = now.wall.div_euclid(HOUR * HOURS_OF_DAY);
    if meter.swept == Some(today) {
        return;
    }
    meter.written.retain(|_, written| now.boot.since(*written) < WRITE_EVERY);
    meter.doubted.retain(|_, told| now.boot.since(*told) < DOUBTS_EVERY);
    let days: BTreeSet<i64> = world.usage.values().flat_map(|book| book.days.keys().copied()).collect();
    let Some(first) = days.iter().rev().nth(DAYS_KEPT - 1).copied() else {
        meter.swept = Some(today);
        return;
    };
    let old = |key: &&PageKey| key.day < first;
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
