//! What is rotten at a member is written anew from another one: what a read came upon, and what a member says unasked. It is made equal
//! like what an earlier head left (rules 4 and 11): under the extent's lock, from a member in sync, on the others' disks.

use super::{Head, Role};
use crate::geometry::{Extent, Geometry, Span};
use crate::message::ROTTEN_MAX;
use pan_model::mirror::Member;
use std::collections::BTreeSet;

/// What became of what was rotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Mended {
    /// Extents that were written anew.
    pub extents: u64,
    /// Extents that no member in sync has whole: what is rotten in them cannot be read.
    pub lost: u64,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Mending {
    /// What members said, and was not looked at yet. At most [`ROTTEN_MAX`]; what is beyond them is said again after the next scrub.
    told: BTreeSet<(Extent, Member)>,
    extents: u64,
    /// At most [`ROTTEN_MAX`] are counted.
    lost: BTreeSet<Extent>,
}

impl Mending {
    /// It was written anew, by everybody but the one it came from.
    pub fn mended(&mut self, extent: Extent) {
        self.extents += 1;
        self.lost.remove(&extent);
        self.told.retain(|(told, _)| *told != extent);
    }

    /// Nobody has it whole.
    pub fn lost(&mut self, extent: Extent) {
        if self.lost.len() < ROTTEN_MAX {
            self.lost.insert(extent);
        }
    }

    /// Whatever was there, something else is.
    pub fn written(&mut self, geometry: &Geometry, span: Span) {
        if !self.lost.is_empty() {
            self.lost.retain(|extent| !span.covers(geometry.span_of(*extent)));
        }
    }

    /// It says everything again when it is back.
    pub fn gone(&mut self, member: Member) {
        self.told.retain(|(_, told)| *told != member);
    }
}

impl<D: Clone> Head<D> {
    /// What became of what was rotten so far.
    #[must_use]
    pub fn mended(&self) -> Mended {
        Mended { extents: self.mending.extents, lost: self.mending.lost.len() as u64 }
    }

    /// Whether something that members said to be rotten is still to be looked at.
    #[must_use]
    pub fn is_mending(&self) -> bool {
        !self.mending.told.is_empty()
    }

    /// A member says what it has that is not what was written.
    pub(super) fn told_rotten(&mut self, member: Member, extents: Vec<Extent>) {
        let all = self.settings.geometry.all();
        for extent in extents.into_iter().filter(|extent| all.contains(&extent.0)) {
            if self.mending.told.len() < ROTTEN_MAX {
                self.mending.told.insert((extent, member));
            }
        }
    }

    /// Begins with some of it. As many as are copied at the same time anyway, and the next ones only when these are equal: flushes and members
    /// on the way back wait for them. None while replicas have no room for more.
    pub(super) fn mend(&mut self) {
        if self.mending.told.is_empty() || !self.open || !self.unequal.is_empty() || self.is_crowded() {
            return;
        }
        // Of one that is on its way back later: it may be given that extent anyway.
        let ready = |(_, member): &&(Extent, Member)| self.role(*member) == Some(&Role::InSync);
        let begun: Vec<_> = self.mending.told.iter().filter(ready).take(self.settings.copies_max).copied().collect();
        for (extent, member) in begun {
            self.mending.told.remove(&(extent, member));
            self.make_equal(extent, Some(member));
        }
    }

    /// What a member has of a place is not what was written there.
    pub(super) fn distrust(&mut self, span: Span, member: Member) {
        self.settings.geometry.extents(span).for_each(|extent| self.make_equal(extent, Some(member)));
    }

    /// Nobody has a place as it was written.
    pub(super) fn lose(&mut self, span: Span) {
        self.settings.geometry.extents(span).for_each(|extent| self.mending.lost(extent));
    }
}
