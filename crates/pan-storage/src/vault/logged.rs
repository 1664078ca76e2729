//! What the log of dirty extents on the disk is known to name.
//!
//! An extent becomes dirty with the record of a write, and is lost with it if the power goes before a sync. That is well as long as the log names any:
//! a replica that finds one after a loss of power knows that it may have lost more. Pure bookkeeping: it must not know the pool.

use pan_replica::Extent;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug)]
pub(super) struct Logged {
    /// The extents in the log, each with the moment at which it was known to be there.
    extents: BTreeMap<Extent, u64>,
    now: u64,
    /// Whatever was there at this moment is durable.
    durable: u64,
}

impl Logged {
    /// A pool that was opened has made durable what it found.
    pub fn new(extents: impl Iterator<Item = Extent>) -> Self {
        Self { extents: extents.map(|extent| (extent, 0)).collect(), now: 0, durable: 0 }
    }

    /// Whether the disk knows that something is dirty, whenever the power goes.
    pub fn is_anchored(&self) -> bool {
        self.extents.values().any(|since| *since <= self.durable)
    }

    /// The moment before a sync begins.
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// A sync that began at that moment is done.
    pub fn synced(&mut self, since: u64) {
        self.durable = self.durable.max(since);
    }

    /// A write to extents is in the journal, and synced with it if `since` says when that began.
    pub fn written(&mut self, extents: impl Iterator<Item = Extent>, since: Option<u64>) {
        if let Some(since) = since {
            self.synced(since);
        } else {
            self.now += 1;
        }
        let since = since.unwrap_or(self.now);
        for extent in extents {
            let known = self.extents.entry(extent).or_insert(since);
            *known = since.min(*known);
        }
    }

    /// Extents are being struck.
    pub fn struck(&mut self, extents: &[Extent]) {
        let gone: BTreeSet<Extent> = extents.iter().copied().collect();
        self.extents.retain(|extent, _| !gone.contains(extent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(extent: u64) -> impl Iterator<Item = Extent> {
        std::iter::once(Extent(extent))
    }

    #[test]
    fn the_first_mark_is_synced_and_the_last_one_struck_ends_that() {
        let mut logged = Logged::new(std::iter::empty());
        assert!(!logged.is_anchored());
        logged.written(one(1), None);
        assert!(!logged.is_anchored(), "it may be lost");
        let since = logged.now();
        logged.written(one(2), Some(since));
        assert!(logged.is_anchored());
        logged.struck(&[Extent(1), Extent(2)]);
        assert!(!logged.is_anchored());
    }

    #[test]
    fn a_sync_counts_for_what_was_there_when_it_began() {
        let mut logged = Logged::new(one(7));
        assert!(logged.is_anchored());
        logged.written(one(1), None);
        let since = logged.now();
        logged.written(one(2), None);
        logged.synced(since);
        logged.struck(&[Extent(7)]);
        assert!(logged.is_anchored(), "1 is on the disk");
        logged.struck(&[Extent(1)]);
        assert!(!logged.is_anchored(), "2 came while it was being synced");
    }
}
