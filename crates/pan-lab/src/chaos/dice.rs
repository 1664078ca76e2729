//! Random numbers from a seed, the same everywhere (SplitMix64, Steele et al. 2014). The simulator has such dice, too; neither
//! crate may import the other, and old seeds must go on meaning what they meant to each.

/// A source of numbers; two of one seed say the same.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, which is not zero.
    pub(super) const fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    /// From `low` to below `high`, which is greater.
    pub(super) const fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    /// One of a list that is not empty.
    pub(super) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).expect("below a length")]
    }

    /// One of a list of which some come more often.
    pub(super) fn weighted<T: Copy>(&mut self, list: &[(T, u64)]) -> T {
        let mut left = self.below(list.iter().map(|(_, weight)| weight).sum());
        for (one, weight) in list {
            if left < *weight {
                return *one;
            }
            left -= weight;
        }
        list[list.len() - 1].0
    }
}
