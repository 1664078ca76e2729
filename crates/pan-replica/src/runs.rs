//! Extents as runs of neighbours: all of a volume of 16 TiB are one run, where each by itself would be 134 million entries.
//!
//! So a list costs whoever holds it what it cost on the wire, whatever it stands for: about 35 bytes a run.

use crate::geometry::Extent;
use std::collections::BTreeMap;
use std::ops::Range;

/// See the module. Runs neither meet nor touch, so what is equal looks equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Runs {
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
            if start <= first && end <= stop {
                return;
            }
            self.runs.remove(&start);
            self.extents -= stop - start;
            (first, end) = (first.min(start), end.max(stop));
        }
        self.runs.insert(first, end);
        self.extents += end - first;
    }

    /// Adds all runs of another set.
    pub fn add(&mut self, other: &Self) {
        other.ranges().for_each(|run| self.insert(run));
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

    /// The runs, in order.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<u64>> {
        self.runs.iter().map(|(first, end)| *first..*end)
    }

    /// How many extents.
    #[must_use]
    pub const fn extents(&self) -> u64 {
        self.extents
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.extents == 0
    }

    /// Whether an extent is one of them.
    #[must_use]
    pub fn contains(&self, extent: Extent) -> bool {
        self.runs.range(..=extent.0).next_back().is_some_and(|(_, end)| extent.0 < *end)
    }

    /// Where there are more runs than that, takes in what lies between those that are nearest to each other, until there are half as many:
    /// so each call that does something is followed by many that do nothing.
    pub fn coarsen(&mut self, most: usize) {
        let mut gap = 1;
        let wanted = if self.runs.len() > most { most / 2 } else { most };
        while self.runs.len() > wanted {
            let mut coarse: Vec<(u64, u64)> = Vec::new();
            for run in self.ranges() {
                match coarse.last_mut() {
                    Some((_, end)) if run.start - *end <= gap => *end = run.end,
                    Some(_) | None => coarse.push((run.start, run.end)),
                }
            }
            self.extents = coarse.iter().map(|(first, end)| end - first).sum();
            self.runs = coarse.into_iter().collect();
            gap *= 2;
        }
    }
}

impl Extend<Extent> for Runs {
    fn extend<I: IntoIterator<Item = Extent>>(&mut self, extents: I) {
        extents.into_iter().for_each(|extent| self.insert(extent.0..extent.0 + 1));
    }
}

impl FromIterator<Extent> for Runs {
    fn from_iter<I: IntoIterator<Item = Extent>>(extents: I) -> Self {
        let mut runs = Self::default();
        runs.extend(extents);
        runs
    }
}

impl FromIterator<Range<u64>> for Runs {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(all: I) -> Self {
        let mut runs = Self::default();
        all.into_iter().for_each(|run| runs.insert(run));
        runs
    }
}

/// One by one: for who wants each, and has a bound for how many.
impl IntoIterator for Runs {
    type Item = Extent;
    type IntoIter = std::iter::FlatMap<
        std::collections::btree_map::IntoIter<u64, u64>,
        std::iter::Map<Range<u64>, fn(u64) -> Extent>,
        fn((u64, u64)) -> std::iter::Map<Range<u64>, fn(u64) -> Extent>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.runs.into_iter().flat_map(|(first, end)| (first..end).map(Extent as fn(u64) -> Extent))
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
                prop_assert!((0..90).map(Extent).all(|extent| runs.contains(extent) == set.contains(&extent)));
                prop_assert_eq!(&runs, &set.iter().rev().copied().collect::<Runs>());
                prop_assert_eq!(&runs, &runs.ranges().collect::<Runs>());
                prop_assert_eq!(runs.clone().into_iter().collect::<BTreeSet<_>>(), set.clone());
            }
        }

        /// Nothing is left out, and what is taken in lies between.
        #[test]
        fn coarse_ones_are_few_and_have_all(all in prop::collection::btree_set(0u64..5000, 1..300), most in 2usize..50) {
            let exact: Runs = all.iter().copied().map(Extent).collect();
            let mut runs = exact.clone();
            runs.coarsen(most);
            prop_assert!(runs.ranges().len() <= most);
            prop_assert_eq!(runs.extents(), runs.ranges().map(|run| run.end - run.start).sum::<u64>());
            prop_assert!(all.iter().all(|extent| runs.contains(Extent(*extent))));
            prop_assert!(runs.ranges().all(|run| all.contains(&run.start) && all.contains(&(run.end - 1))));
            prop_assert!(exact.ranges().len() > most || runs == exact);
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
