//! Random numbers from a seed, the same everywhere (SplitMix64, Steele et al. 2014).

use std::time::Duration;

/// A source of numbers; two of one seed say the same.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`; zero if that is zero.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.roll() % if limit == 0 { 1 } else { limit }
    }

    /// From `low` to below `high`.
    pub const fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low))
    }

    /// Once in so many times.
    pub const fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    /// A place in a list of this length, which is not empty.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length")
    }

    /// One of a list that is not empty.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.index(list.len())]
    }

    /// From `low` to below `high`, in nanoseconds, of milliseconds.
    pub const fn millis(&mut self, low: u64, high: u64) -> u64 {
        self.within(low * crate::time::MS, high * crate::time::MS)
    }

    /// Where a list's place is drawn by weight; at least one weight is not zero.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (place, weight) in weights.iter().enumerate() {
            if left < *weight {
                return place;
            }
            left -= weight;
        }
        weights.len() - 1
    }
}

/// Nanoseconds of a duration.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
