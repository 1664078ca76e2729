//! The revocation of one host, as far as it has got.

use std::time::Duration;

use pan_model::Admission;

use super::office::Asked;
use crate::tick::Tick;

#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) through: Admission,
    lessors: Vec<Lessor>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lessor {
    asked: Asked,
    /// From when on nothing is open that this lessor ever granted.
    over: Option<Tick>,
}

impl Pending {
    pub(super) fn new(through: Admission, lessors: usize) -> Self {
        Self { through, lessors: vec![Lessor::default(); lessors] }
    }

    /// The lessors to ask now; none, once `majority` of them have answered.
    pub(super) fn due(&mut self, now: Tick, again_after: Duration, majority: usize) -> Vec<usize> {
        if self.over(majority).is_some() {
            return Vec::new();
        }
        let open = self.lessors.iter_mut().enumerate().filter(|(_, lessor)| lessor.over.is_none());
        open.filter_map(|(number, lessor)| lessor.asked.is_due(now, again_after).then_some(number)).collect()
    }

    pub(super) fn next(&self, again_after: Duration, majority: usize) -> Option<Tick> {
        let open = self.lessors.iter().filter(|lessor| lessor.over.is_none() && self.over(majority).is_none());
        open.map(|lessor| lessor.asked.next(again_after)).min()
    }

    /// A lessor said how long a gate may be open yet. The answer was on its way for a while, and either clock may be
    /// fast: the bound allows for the latter, and the former only makes the wait longer. What it said once stays
    /// true, so of several answers the best counts.
    pub(super) fn answered(&mut self, lessor: usize, open: Duration, now: Tick) {
        let over = now.plus(open);
        let known = &mut self.lessors[lessor].over;
        *known = Some(known.map_or(over, |known| known.min(over)));
    }

    /// From when on nothing is open, if `majority` have answered. Any majority will do, so the one that is over
    /// first.
    pub(super) fn over(&self, majority: usize) -> Option<Tick> {
        let mut all: Vec<Tick> = self.lessors.iter().filter_map(|lessor| lessor.over).collect();
        all.sort_unstable();
        all.get(majority - 1).copied()
    }
}
