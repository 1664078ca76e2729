//! The instants at which something changes, one after the other.

use crate::resolve::{Active, Policy, resolve};
use jiff::{SignedDuration, Timestamp};

/// How far ahead policies are proved: a week, in which every day and hour of ordinary schedules comes once.
pub const AHEAD: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The first instant after one at which a window of any of the policies begins or is over.
#[must_use]
pub fn next_change(policies: &[Policy], after: Timestamp) -> Option<Timestamp> {
    let all = policies.iter().flat_map(|policy| &policy.schedules);
    all.filter_map(|schedule| schedule.calendar.next_change(after)).min()
}

/// An instant, and all instants of change after it and before an end, in their order.
#[derive(Debug, Clone)]
pub struct Changes<'a> {
    policies: &'a [Policy],
    next: Option<Timestamp>,
    end: Timestamp,
}

impl<'a> Changes<'a> {
    /// From `from` on, itself included, to before `end`.
    #[must_use]
    pub fn of(policies: &'a [Policy], from: Timestamp, end: Timestamp) -> Self {
        Self { policies, next: Some(from), end }
    }
}

impl Iterator for Changes<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        let now = self.next.filter(|at| *at < self.end)?;
        self.next = next_change(self.policies, now);
        Some(now)
    }
}

/// Two schedules that contradict each other, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The first instant at which both hold.
    pub at: Timestamp,
    /// The one.
    pub one: Active,
    /// The other.
    pub other: Active,
}

/// The first contradiction among the policies of a cluster at any of the instants.
#[must_use]
pub fn clash(policies: &[Policy], instants: impl Iterator<Item = Timestamp>) -> Option<Clash> {
    let mut found = instants.filter_map(|at| resolve(policies, 0, at).clash.map(|(one, other)| Clash { at, one, other }));
    found.next()
}
