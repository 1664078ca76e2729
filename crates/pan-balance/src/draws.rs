//! Random numbers that are handed in: a sequence that its first number decides. Whoever holds it chooses that
//! number; the same one gives the same decisions again, which is how a decision is explained afterwards.

/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014): 64 bits
/// of state, a few nanoseconds a number, no number twice within 2^64. Not for secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draws {
    state: u64,
}

impl Draws {
    /// The sequence that `seed` begins.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number, any of 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::hash::mix(self.state)
    }

    /// A number below `bound`, or 0 if that is 0: by multiplication (Lemire, "Fast Random Integer Generation
    /// in an Interval", ACM TOMACS 2019) without its correction, whose lack no number of less than 2^32
    /// servers or weights makes visible.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of 128 bits has 64")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers that the paper's generator gives for the seed 0 and 1234567 (those of Java's
    /// `SplittableRandom`, which is where it comes from).
    #[test]
    fn the_sequence_is_the_published_one() {
        let mut draws = Draws::seeded(0);
        assert_eq!([draws.draw(), draws.draw()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
        let mut draws = Draws::seeded(1_234_567);
        assert_eq!([draws.draw(), draws.draw()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn bounds_hold_and_every_number_comes() {
        let mut draws = Draws::seeded(7);
        let mut seen = [0_u32; 5];
        for _ in 0..10_000 {
            seen[usize::try_from(draws.below(5)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (1_800..2_200).contains(count)), "{seen:?}");
        assert_eq!(draws.below(0), 0);
    }
}
