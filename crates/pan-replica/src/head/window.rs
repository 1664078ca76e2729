//! What replicas may have dirty and cannot strike from their logs: every change from the oldest one that is not done yet on, for only
//! what is before that one is settled; and what earlier heads left, until all of it is equal. Writes wait while that is much, so that
//! no replica's log is ever full of what cannot go (docs/volumes.md has the argument).

use super::Head;
use crate::geometry::{Extent, Geometry, Span};
use crate::message::Sequence;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

/// See the module. It follows from the history, so two heads that are alike otherwise are alike.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    changes: BTreeMap<Sequence, Span>,
    /// What earlier heads left, and what of it was not made equal yet.
    held: BTreeSet<Extent>,
    unequal: BTreeSet<Extent>,
    /// How many of the changes touch an extent, and one more where an earlier head left it.
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
            geometry.extents(first.remove()).for_each(|extent| self.discount(extent));
        }
    }

    /// What earlier heads left; all of it counts until none of it is unequal.
    pub fn hold(&mut self, extents: &BTreeSet<Extent>) {
        for extent in extents {
            *self.extents.entry(*extent).or_default() += 1;
        }
        (self.held, self.unequal) = (extents.clone(), extents.clone());
    }

    /// An extent was made equal. If it has to be once more, because a copy of it rotted, that may have to wait for writes that wait for
    /// room, and so they do not wait for it.
    pub fn equal(&mut self, extent: Extent) {
        self.unequal.remove(&extent);
        if self.unequal.is_empty() {
            std::mem::take(&mut self.held).into_iter().for_each(|extent| self.discount(extent));
        }
    }

    fn discount(&mut self, extent: Extent) {
        if let Entry::Occupied(mut count) = self.extents.entry(extent) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Extents that cannot be struck.
    pub fn extents(&self) -> u64 {
        self.extents.len() as u64
    }
}

impl<D: Clone> Head<D> {
    /// Whether replicas might have no room for one write more. Never unless something is under way that makes room when it is done.
    pub(super) fn is_crowded(&self) -> bool {
        self.window.extents() >= self.settings.extents_max
    }

    /// Begins the writes that there is room for now.
    pub(super) fn begin_crowded(&mut self) {
        let settled = self.settled();
        self.window.settle(&self.settings.geometry, settled);
        while !self.is_crowded()
            && let Some(ticket) = self.crowded.pop_front()
        {
            self.begin_now(ticket);
        }
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
