//! Up to where instances are counted, and when that may be forgotten.

use super::Page;
use pan_api::usage::{Counters, Instance};
use pan_model::{Epoch, HostName, PartitionName, ServerKey, ServerName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Marks of a page: more than a cluster has servers, and at most three megabytes, of the four that the store takes at once.
const MARKS_MAX: usize = 11_000;
/// Marks that nobody tells of any more are kept beside the others as long as there are no more.
const SPARE_MAX: usize = 2_000;
/// An instance that ended has its mark for so long after its node stopped telling of it: reports that were overtaken are older.
const ENDED_KEPT: i64 = super::HOUR;
/// One whose node went silent may come back for so long. What comes later is counted from then on.
pub(super) const SILENT_KEPT: i64 = 7 * super::HOURS_OF_DAY * super::HOUR;

/// An instance in one boot of its host: what is counted anew only with the host.
pub(super) type Counted = (Instance, u64);

/// Up to where an instance is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(super) struct Mark {
    pub(super) server: ServerName,
    pub(super) epoch: Epoch,
    pub(super) incarnation: u64,
    pub(super) boot: u64,
    pub(super) used: Counters,
    /// When something was counted last (wall, microseconds).
    pub(super) at: i64,
    /// It ended, and this is all.
    pub(super) ended: bool,
    /// Where it ran.
    pub(super) host: Option<HostName>,
}

/// A mark in the store: a page has ten thousand.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Short(ServerName, Epoch, u64, u64, [u64; 4], i64, bool, Option<HostName>),
    /// As it was written before nodes were compared.
    Long {
        server: ServerName,
        epoch: Epoch,
        incarnation: u64,
        boot: u64,
        used: Counters,
        at: i64,
        ended: bool,
    },
}

impl From<Stored> for Mark {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Short(server, epoch, incarnation, boot, [cpu_micros, memory_kib_seconds, received, sent], at, ended, host) => {
                let used = Counters { cpu_micros, memory_kib_seconds, received, sent };
                Self { server, epoch, incarnation, boot, used, at, ended, host }
            }
            Stored::Long { server, epoch, incarnation, boot, used, at, ended } => {
                Self { server, epoch, incarnation, boot, used, at, ended, host: None }
            }
        }
    }
}

impl From<Mark> for Stored {
    fn from(mark: Mark) -> Self {
        let Counters { cpu_micros, memory_kib_seconds, received, sent } = mark.used;
        let used = [cpu_micros, memory_kib_seconds, received, sent];
        Self::Short(mark.server, mark.epoch, mark.incarnation, mark.boot, used, mark.at, mark.ended, mark.host)
    }
}

impl Mark {
    /// Both: what either says is counted.
    pub(super) fn with(mut self, other: &Self) -> Self {
        self.used = self.used.most(other.used);
        self.at = self.at.max(other.at);
        self.ended |= other.ended;
        self.host = self.host.or_else(|| other.host.clone());
        self
    }

    pub(super) fn counted(&self, partition: &PartitionName) -> Counted {
        let key = ServerKey { partition: partition.clone(), name: self.server.clone() };
        (Instance { key, epoch: self.epoch, incarnation: self.incarnation }, self.boot)
    }

    fn key(&self) -> (&ServerName, Epoch, u64, u64) {
        (&self.server, self.epoch, self.incarnation, self.boot)
    }
}

/// What nodes tell now, and which have not spoken although they are there.
pub(super) struct Knowledge {
    pub(super) told: BTreeSet<Counted>,
    pub(super) silent: BTreeSet<HostName>,
}

impl Knowledge {
    /// A node tells of it.
    fn tells(&self, counted: &Counted) -> bool {
        self.told.contains(counted)
    }

    /// The node has spoken, or is no more: of what it does not tell it will not tell.
    fn is_heard(&self, host: &HostName) -> bool {
        !self.silent.contains(host)
    }
}

impl Page {
    fn place(&self, (instance, boot): &Counted) -> Result<usize, usize> {
        let key = (&instance.key.name, instance.epoch, instance.incarnation, *boot);
        self.marks.binary_search_by(|mark| mark.key().cmp(&key))
    }

    pub(super) fn mark(&self, counted: &Counted) -> Option<&Mark> {
        self.marks.get(self.place(counted).ok()?)
    }

    /// Moves the marks of these instances, or makes them, each by what `count` says of the one that there is. Those for which there is no
    /// room now are not asked for.
    pub(super) fn move_marks<'a, T: 'a>(
        &mut self,
        instances: impl Iterator<Item = (&'a Counted, &'a T)>,
        mut count: impl FnMut(&mut Self, &Counted, &T, Option<Mark>) -> Mark,
    ) {
        let mut fresh = Vec::new();
        for (counted, told) in instances {
            match self.place(counted) {
                Ok(at) => {
                    let former = self.marks[at].clone();
                    self.marks[at] = count(self, counted, told, Some(former));
                }
                Err(_) if self.marks.len() + fresh.len() >= MARKS_MAX => {}
                Err(_) => fresh.push(count(self, counted, told, None)),
            }
        }
        self.marks.append(&mut fresh);
        self.marks.sort_by(|one, other| one.key().cmp(&other.key()));
    }

    /// Drops marks that nobody will ask for any more, and for want of room, which `wanted` new ones need, those that hardly anybody will.
    pub(super) fn prune(&mut self, partition: &PartitionName, now: i64, told: &Knowledge, wanted: usize) {
        // The older an instance's end, the sooner it goes; one that may be told of again goes last.
        let rank = |mark: &Mark| {
            let over = mark.ended && mark.host.as_ref().is_none_or(|host| told.is_heard(host));
            (!over, mark.at)
        };
        let mut spare: Vec<(bool, i64)> = Vec::new();
        self.marks.retain(|mark| {
            if told.tells(&mark.counted(partition)) {
                return true;
            }
            let (open, at) = rank(mark);
            let keep = now - at < if open { SILENT_KEPT } else { ENDED_KEPT };
            spare.extend(keep.then_some((open, at)));
            keep
        });
        let room = MARKS_MAX.saturating_sub(self.marks.len() - spare.len() + wanted);
        let most = SPARE_MAX.min(room);
        if spare.len() > most {
            spare.sort_unstable();
            let last = spare[spare.len() - most - 1];
            self.marks.retain(|mark| rank(mark) > last || told.tells(&mark.counted(partition)));
        }
    }
}
