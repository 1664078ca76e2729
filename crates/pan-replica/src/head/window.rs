//! What replicas may have dirty on behalf of this head: every change from the oldest one that is not done yet on. Only what is before
//! that one is settled, and may be struck from a replica's log of dirty extents.

use crate::geometry::{Extent, Geometry, Span};
use crate::message::Sequence;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// See the module. It follows from the history, so two heads that are alike otherwise are alike.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    changes: BTreeMap<Sequence, Span>,
    /// How many of the changes touch an extent.
    extents: BTreeMap<Extent, u32>,
}

impl Window {
    /// A change is sent.
    pub fn begin(&mut self, geometry: &Geometry, sequence: Sequence, span: Span) {
        for extent in geometry.extents(span) {
            *self.extents.entry(extent).or_default() += 1;
        }
        self.changes.insert(sequence, span);
    }

    /// All changes up to this one are done.
    pub fn settle(&mut self, geometry: &Geometry, upto: Sequence) {
        while let Some(first) = self.changes.first_entry().filter(|first| *first.key() <= upto) {
            for extent in geometry.extents(first.remove()) {
                if let std::collections::btree_map::Entry::Occupied(mut count) = self.extents.entry(extent) {
                    *count.get_mut() -= 1;
                    if *count.get() == 0 {
                        count.remove();
                    }
                }
            }
        }
    }

    /// Extents that are not settled.
    pub fn extents(&self) -> u64 {
        self.extents.len() as u64
    }
}

impl PartialEq for Window {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Window {}

impl Hash for Window {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const GEOMETRY: Geometry = Geometry { size: 1000, extent: 10 };

    proptest! {
        /// Changes begin in order and end in any; what counts is the distinct extents from the oldest that is not done on.
        #[test]
        fn it_counts_what_a_list_of_all_changes_says(steps in prop::collection::vec((0u64..900, 1u64..60, any::<prop::sample::Index>()), 1..60)) {
            let mut window = Window::default();
            let (mut all, mut open): (Vec<Span>, BTreeSet<usize>) = (Vec::new(), BTreeSet::new());
            for (at, length, ends) in steps {
                let span = Span { at, length };
                window.begin(&GEOMETRY, Sequence(all.len() as u64 + 1), span);
                open.insert(all.len());
                all.push(span);
                let ended = *open.iter().nth(ends.index(open.len())).unwrap();
                open.remove(&ended);
                let oldest = open.first().copied().unwrap_or(all.len());
                window.settle(&GEOMETRY, Sequence(oldest as u64));
                let wanted: BTreeSet<Extent> = all[oldest..].iter().flat_map(|span| GEOMETRY.extents(*span)).collect();
                prop_assert_eq!(window.extents(), wanted.len() as u64);
            }
        }
    }
}
