//! Bounded loads: no server far above its share, whatever keys are popular.

use crate::view::View;

/// Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018; arXiv 1608.01350): a server may
/// have at most c times its share of all requests in flight, the one to come included, rounded up. What it may
/// not have goes on in the key's order. HAProxy's `hash-balance-factor` is the same. Exact at one worker;
/// workers that count on their own keep it each for its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// c, in hundredths; over 100.
    percent: u32,
}

impl Bound {
    /// HAProxy's manual advises 125 to 200.
    pub const USUAL: Self = Self { percent: 125 };

    /// A bound of so many hundredths of the average; at least 101, since at 100 all would have to be equal.
    #[must_use]
    pub fn percent(percent: u32) -> Self {
        Self { percent: percent.max(101) }
    }

    /// The most requests that a server may have once it has got the next one.
    #[must_use]
    pub fn most(self, view: &View<'_>, at: usize) -> u64 {
        let roster = view.roster;
        let share = u128::from(self.percent) * u128::from(roster.busy + 1) * u128::from(view.weight(at));
        let whole = 100 * u128::from(roster.total().max(1));
        u64::try_from(share.div_ceil(whole)).unwrap_or(u64::MAX)
    }

    /// Whether a server may have one more.
    #[must_use]
    pub fn fits(self, view: &View<'_>, at: usize) -> bool {
        u64::from(view.servers[at].in_flight) < self.most(view, at)
    }
}
