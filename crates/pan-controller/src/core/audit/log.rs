//! A log as the store keeps it: entries of a few lines that were written at once, each line with the hash of the one before.

use crate::core::world::{Dirty, Now, World};
use pan_api::audit::{BEGINNING, Line, PAGE_MAX, Page};
use pan_model::PartitionName;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// Lines kept of a log: months of what people do, and under a megabyte for each of a thousand partitions.
const LINES_MAX: usize = 2_000;
/// Lines kept of one of which more than that are young: whoever wants to push something out has to do a lot, which then is there to be seen.
const YOUNG_MAX: usize = 20_000;
/// What is young, microseconds: a week.
const YOUNG: i64 = 7 * 24 * 3_600_000_000;
/// Lines of one entry: with the longest texts a tenth of what a transaction of etcd may hold.
const ENTRY_LINES_MAX: usize = 128;
/// Old entries dropped with one request: it must fit one transaction with everything else that it changes. What is too much then goes with the next.
const DROPPED_MAX: usize = 64;

/// A line without its place in a log.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    pub principal: String,
    pub token: Option<String>,
    pub role: &'static str,
    pub verb: String,
    pub kind: &'static str,
    pub name: String,
    pub result: &'static str,
    pub detail: String,
    pub times: Option<u64>,
}

/// Lines that were written at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// At least one.
    pub lines: Vec<Line>,
}

impl Entry {
    /// The number of its first line, by which it is known.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.lines.first().map_or(0, |line| line.number)
    }
}

impl Entry {
    /// With how many lines after it it is still kept.
    fn lines_kept(&self, now: Now) -> usize {
        let written = self.lines.last().and_then(|line| line.time.parse::<jiff::Timestamp>().ok());
        let young = written.is_some_and(|written| now.wall - written.as_microsecond() < YOUNG);
        if young { YOUNG_MAX } else { LINES_MAX }
    }
}

/// A log. The newest entry is always kept, and so is the hash that the next line follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    entries: VecDeque<Arc<Entry>>,
    lines: usize,
}

impl Log {
    fn last(&self) -> Option<&Line> {
        self.entries.back().and_then(|entry| entry.lines.last())
    }

    /// An entry.
    #[must_use]
    pub fn entry(&self, number: u64) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&number, |entry| entry.number()).ok()?;
        self.entries.get(at).map(AsRef::as_ref)
    }

    /// The numbers of its entries.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|entry| entry.number())
    }

    /// Takes an entry in as it was stored, in the place of one of its number.
    pub fn restore(&mut self, entry: Entry) {
        self.remove(entry.number());
        let at = self.entries.partition_point(|other| other.number() < entry.number());
        self.lines += entry.lines.len();
        self.entries.insert(at, Arc::new(entry));
    }

    /// Forgets an entry.
    pub fn remove(&mut self, number: u64) {
        if let Ok(at) = self.entries.binary_search_by_key(&number, |entry| entry.number()) {
            self.lines -= self.entries.remove(at).map_or(0, |entry| entry.lines.len());
        }
    }

    /// Lines from a number on, or from the first that is of `since` or later (microseconds since 1970), and at most `most` of them.
    #[must_use]
    pub fn page(&self, from: u64, since: Option<jiff::Timestamp>, most: usize) -> Page {
        let late = |line: &&Line| since.is_none_or(|since| line.time.parse::<jiff::Timestamp>().map_or(true, |time| time >= since));
        let all = self.entries.iter().flat_map(|entry| &entry.lines).skip_while(|line| line.number < from);
        let mut rest = all.skip_while(|line| !late(line));
        let lines: Vec<Line> = rest.by_ref().take(most.clamp(1, PAGE_MAX)).cloned().collect();
        Page {
            lines,
            first: self.entries.front().map_or(1, |entry| entry.number()),
            last: self.last().map_or(0, |line| line.number),
            head: self.last().map_or_else(|| BEGINNING.to_owned(), |line| line.hash.clone()),
            next: rest.next().map(|line| line.number),
        }
    }

    /// Adds lines; the numbers of entries that are new, and of those that are no more.
    fn push(&mut self, now: Now, place: Option<&PartitionName>, drafts: Vec<Draft>) -> Vec<u64> {
        let mut touched = Vec::new();
        let mut drafts = drafts.into_iter().peekable();
        while drafts.peek().is_some() {
            let (mut number, mut previous) = self.last().map_or_else(|| (0, BEGINNING.to_owned()), |line| (line.number, line.hash.clone()));
            let mut lines = Vec::new();
            for draft in drafts.by_ref().take(ENTRY_LINES_MAX) {
                number += 1;
                let line = draft.line(number, now, place, std::mem::take(&mut previous));
                previous.clone_from(&line.hash);
                lines.push(line);
            }
            let entry = Entry { lines };
            touched.push(entry.number());
            self.restore(entry);
        }
        for _ in 0..DROPPED_MAX {
            match self.entries.front() {
                Some(oldest) if self.entries.len() > 1 && self.lines - oldest.lines.len() >= oldest.lines_kept(now) => {
                    let number = oldest.number();
                    touched.push(number);
                    self.remove(number);
                }
                Some(_) | None => break,
            }
        }
        touched
    }
}

impl Draft {
    fn line(self, number: u64, now: Now, place: Option<&PartitionName>, previous: String) -> Line {
        let Self { principal, token, role, verb, kind, name, result, detail, times } = self;
        let (role, kind, result, partition) = (role.to_owned(), kind.to_owned(), result.to_owned(), place.cloned());
        let (time, hash) = (now.text(), String::new());
        let line = Line { number, time, partition, principal, token, role, verb, kind, name, result, detail, times, previous, hash };
        Line { hash: line.digest(), ..line }
    }
}

/// Writes lines, in the transaction of whatever else is dirty.
pub fn append(world: &mut World, now: Now, place: Option<&PartitionName>, drafts: Vec<Draft>) {
    // Of a partition that is not there, nothing is left to be told.
    let there = place.is_none_or(|partition| world.partitions.contains_key(partition));
    if drafts.is_empty() || !there || !world.leading {
        return;
    }
    let log = Arc::make_mut(world.audit.entry(place.cloned()).or_default());
    let touched = log.push(now, place, drafts);
    world.dirty.extend(touched.into_iter().map(|number| Dirty::Audit(place.cloned(), number)));
}

/// Forgets a partition's log.
pub fn forget(world: &mut World, partition: &PartitionName) {
    let place = Some(partition.clone());
    let log = world.audit.remove(&place).unwrap_or_default();
    world.dirty.extend(log.numbers().map(|number| Dirty::Audit(place.clone(), number)));
    world.seen.refusals.forget(&place);
    world.seen.often.forget(&place);
}
