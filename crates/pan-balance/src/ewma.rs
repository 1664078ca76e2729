//! How long a server has lately taken to answer: an average that forgets at a rate and that jumps to what is
//! worse at once.

use crate::fixed;
use std::time::Duration;

/// Peak-EWMA, as Finagle's `PeakEwma` load metric describes it (twitter/finagle, `p2c`): a longer time than the
/// average becomes the average, a shorter one pulls it down by how long ago the last was, with the time
/// constant `tau`. In whole microseconds, so that it is the same everywhere. O(1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeakEwma {
    micros: u64,
    at: Duration,
}

/// Finagle's own: what happened ten seconds ago counts a third.
pub const TAU: Duration = Duration::from_secs(10);

/// What a failure counts as, at least.
const FAILED: Duration = Duration::from_secs(1);

/// What a server costs that has requests and has never answered: more than any that has, and finite so that two of them
/// compare by how many they have. Microseconds; an hour.
const NEVER_ANSWERED: u64 = 3_600_000_000;

impl PeakEwma {
    /// Takes in that an answer took `took`.
    pub fn observe(&mut self, took: Duration, now: Duration, tau: Duration) {
        let took = micros(took);
        self.micros = if took > self.micros { took } else { self.toward(took, now, tau) };
        self.at = self.at.max(now);
    }

    /// Takes in that no answer had come after `took`, when nobody waited any longer: it would have been longer.
    pub fn unanswered(&mut self, took: Duration, now: Duration, tau: Duration) {
        if micros(took) > self.micros {
            self.observe(took, now, tau);
        }
    }

    /// Takes in that a request failed after `took`. It counts as slow, however fast it was: a server that refuses all at
    /// once would otherwise look like the best of them.
    pub fn failed(&mut self, took: Duration, now: Duration, tau: Duration) {
        self.observe(took.max(FAILED).max(Duration::from_micros(self.micros)), now, tau);
    }

    /// The average now, in microseconds: it sinks while nothing is heard, so that a server that was slow once is
    /// tried again. 0 of one that never answered.
    #[must_use]
    pub fn micros(&self, now: Duration, tau: Duration) -> u64 {
        self.toward(0, now, tau)
    }

    /// The cost of one more request at a server with `in_flight`: the average times how many there would be.
    #[must_use]
    pub fn cost(&self, in_flight: u32, now: Duration, tau: Duration) -> u64 {
        match self.micros(now, tau) {
            0 if in_flight > 0 => NEVER_ANSWERED + u64::from(in_flight),
            average => average.saturating_mul(u64::from(in_flight) + 1),
        }
    }

    fn toward(&self, other: u64, now: Duration, tau: Duration) -> u64 {
        let kept = fixed::decay(micros(now.saturating_sub(self.at)), micros(tau));
        let sum = u128::from(self.micros) * u128::from(kept) + u128::from(other) * u128::from(fixed::ONE - kept);
        u64::try_from(sum >> 32).unwrap_or(u64::MAX)
    }
}

/// Whole microseconds, as many as 64 bits hold.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
