//! Extents as runs of neighbours: all of a volume of 16 TiB are one run, where each by itself would be 134 million entries.
//!
//! How many runs there can be: one where it is everything; else as many as the lists of the members that were asked have, and a list
//! on the wire has no more than [`RUNS_MAX`](crate::wire::RUNS_MAX).

use crate::geometry::Extent;
use std::collections::BTreeMap;
use std::ops::Range;

/// See the module. Runs neither meet nor touch, so what is equal looks equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Runs {
    /// The first extent of each, and the one after its last.
    runs: BTreeMap<u64, u64>,
    extents: u64,
}

impl Runs {
    /// Adds a run.
    pub fn insert(&mut self, run: Range<u64>) {
        if run.is_empty() {
            return;
        }
        let (mut first, mut end) = (run.start, run.end);
        // From the back: whichever begins before the new one ends, or right there, becomes part of it if it reaches it.
        while let Some((&start, &stop)) = self.runs.range(..=end).next_back().filter(|(_, stop)| **stop >= first) {
            self.runs.remove(&start);
            self.extents -= stop - start;
            (first, end) = (first.min(start), end.max(stop));
        }
        self.runs.insert(first, end);
        self.extents += end - first;
    }

    /// Takes the first extent out.
    pub fn pop_first(&mut self) -> Option<Extent> {
        let (first, end) = self.runs.pop_first()?;
        if first + 1 < end {
            self.runs.insert(first + 1, end);
        }
        self.extents -= 1;
        Some(Extent(first))
    }

    /// How many extents.
    pub const fn extents(&self) -> u64 {
        self.extents
    }

    pub const fn is_empty(&self) -> bool {
        self.extents == 0
    }
}

impl Extend<Extent> for Runs {
    fn extend<I: IntoIterator<Item = Extent>>(&mut self, extents: I) {
        extents.into_iter().for_each(|extent| self.insert(extent.0..extent.0 + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Runs are added and first ones taken, as from a plain set; and equal sets are equal however they came about.
        #[test]
        fn they_are_what_a_set_is(steps in prop::collection::vec((0u64..60, 0u64..20, 0usize..8), 1..40)) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for (first, length, taken) in steps {
                runs.insert(first..first + length);
                set.extend((first..first + length).map(Extent));
                for _ in 0..taken {
                    prop_assert_eq!(runs.pop_first(), set.pop_first());
                }
                prop_assert_eq!(runs.extents(), set.len() as u64);
                prop_assert_eq!(runs.is_empty(), set.is_empty());
                let mut one_by_one = Runs::default();
                one_by_one.extend(set.iter().rev().copied());
                prop_assert_eq!(&runs, &one_by_one);
            }
        }
    }

    #[test]
    fn a_whole_volume_is_one_run() {
        let mut runs = Runs::default();
        runs.extend([Extent(3), Extent(5), Extent(1 << 26)]);
        runs.insert(0..1 << 27);
        assert_eq!((runs.runs.len(), runs.extents()), (1, 1 << 27));
        assert_eq!(runs.pop_first(), Some(Extent(0)));
        assert_eq!(runs.runs.len(), 1);
    }
}
