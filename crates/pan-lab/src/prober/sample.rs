//! What is noted of one probe, and the gap that follows from many. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An answer that took longer counts as none: a user has noticed.
pub const SLOW: Duration = Duration::from_millis(200);

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A whole answer with status 200.
    Ok,
    /// The connection was refused, or the network said that there is no way.
    Refused,
    /// The connection was made and then broken.
    Reset,
    /// No whole answer in time.
    Timeout,
    /// An answer, but not a whole one with status 200.
    Bad,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sample {
    /// Its number, from 0; number n is due n periods after number 0.
    pub number: u64,
    /// When it began: microseconds of the boot clock, which is the same for all hosts of a laboratory.
    pub boot_us: u64,
    /// When it began: microseconds since 1970.
    pub wall_us: u64,
    /// How much later than due it began: the prober's own fault.
    pub late_us: u64,
    /// Its source port.
    pub port: u16,
    /// What became of it.
    pub outcome: Outcome,
    /// From its beginning to the end of the answer, or to the failure.
    pub latency_us: u64,
    /// First line of the answer's body; empty without an answer.
    pub answer: String,
}

impl Sample {
    /// Whether it was answered, and soon enough.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.outcome == Outcome::Ok && u128::from(self.latency_us) <= SLOW.as_micros()
    }
}

/// The gap after a cut: from the cut to the beginning of the last probe that failed or took longer than
/// [`SLOW`]. Zero if none did. Everybody who came later was served as usual.
///
/// `cut_us` is the boot clock at the cut, in microseconds. Samples may come in any order.
#[must_use]
pub fn gap(samples: &[Sample], cut_us: u64) -> Duration {
    let last = samples.iter().filter(|sample| !sample.is_good()).map(|sample| sample.boot_us).max();
    Duration::from_micros(last.map_or(0, |last| last.saturating_sub(cut_us)))
}

#[cfg(test)]
pub(crate) fn sample(boot_us: u64, outcome: Outcome, latency_us: u64) -> Sample {
    Sample { number: 0, boot_us, wall_us: 0, late_us: 0, port: 1, outcome, latency_us, answer: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(samples: &[(u64, Outcome, u64)], wanted_us: u64) {
        let samples: Vec<Sample> = samples.iter().map(|(boot, outcome, latency)| sample(*boot, *outcome, *latency)).collect();
        assert_eq!(gap(&samples, 10_000), Duration::from_micros(wanted_us), "{samples:?}");
    }

    #[test]
    fn the_gap_ends_with_the_last_probe_that_was_not_served() {
        use Outcome::{Bad, Ok, Refused, Reset, Timeout};
        check(&[], 0);
        check(&[(5_000, Ok, 900), (15_000, Ok, 900), (20_000, Ok, 900)], 0);
        check(&[(15_000, Timeout, 1_000_000), (20_000, Ok, 900), (25_000, Reset, 10), (30_000, Ok, 900)], 15_000);
        check(&[(25_000, Refused, 10), (15_000, Bad, 10)], 15_000);
        // Slow is not served, and how long it took is not part of the gap.
        check(&[(15_000, Ok, 200_000), (20_000, Ok, 200_001), (25_000, Ok, 900)], 10_000);
        // Begun before the cut and lost by it: nobody who came later met anything.
        check(&[(9_000, Reset, 2_000), (15_000, Ok, 900)], 0);
    }
}
