//! Slow start: a server that has just come up gets its share little by little, while its caches fill.

use crate::ewma::micros;
use crate::fixed;
use std::time::Duration;

/// Envoy's formula (cluster.proto, `SlowStartConfig`): weight × max(least, (age / window) ^ (1 / aggression)). With an
/// aggression of 1 it is linear, which is HAProxy's `slowstart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    /// How long it lasts.
    pub window: Duration,
    /// In thousandths: 1000 is linear, more gives more at first, less gives less.
    pub aggression: u32,
    /// The least share, in hundredths; Envoy's is 10.
    pub least: u32,
}

impl SlowStart {
    /// HAProxy's way.
    #[must_use]
    pub fn linear(window: Duration) -> Self {
        Self { window, aggression: 1000, least: 10 }
    }

    /// The share of its weight that a server of some age gets, with 32 bits after the point; never less than a
    /// younger one's.
    #[must_use]
    pub fn share(&self, age: Duration) -> u64 {
        if age >= self.window {
            return fixed::ONE;
        }
        let part = u128::from(micros(age)) * u128::from(fixed::ONE) / u128::from(micros(self.window).max(1));
        let part = u64::try_from(part).unwrap_or(fixed::ONE);
        let grown = if self.aggression == 1000 { part } else { fixed::root(part, self.aggression) };
        grown.max(fixed::ONE * u64::from(self.least.min(100)) / 100).min(fixed::ONE)
    }

    /// A weight at some age; at least 1 of a weight that is not 0.
    #[must_use]
    pub fn weigh(&self, weight: u64, age: Duration) -> u64 {
        let slow = u64::try_from((u128::from(weight) * u128::from(self.share(age)) + u128::from(fixed::ONE / 2)) >> 32).unwrap_or(weight);
        slow.max(u64::from(weight > 0))
    }
}
