//! When requests failed: a number alone does not say whether it was once or all the time.

use serde::{Deserialize, Serialize};

use crate::prober::{Outcome, Sample};

/// Failures further apart than this are told apart: twenty requests of the usual rate that were answered.
const APART_US: u64 = 100_000;
/// The most that are told. Whoever fails more often than that fails all the time, and the numbers say so.
pub(super) const STRETCHES_MAX: usize = 50;

/// Requests that failed one soon after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stretch {
    /// When the first of them began, in milliseconds since the cut.
    pub from_ms: f64,
    /// When the last of them began.
    pub to_ms: f64,
    /// How many failed.
    pub failed: u64,
    /// How many that began meanwhile were answered.
    pub answered: u64,
    /// What became of most of them.
    pub outcome: Outcome,
}

/// Stretches of failures after `cut_us` on the boot clock, the first [`STRETCHES_MAX`] of them. Samples may come in any order.
pub(super) fn stretches(samples: &[Sample], cut_us: u64) -> Vec<Stretch> {
    let mut failed: Vec<&Sample> = samples.iter().filter(|sample| sample.outcome != Outcome::Ok).collect();
    failed.sort_by_key(|sample| sample.boot_us);
    let parts = failed.chunk_by(|one, next| next.boot_us - one.boot_us <= APART_US);
    parts.take(STRETCHES_MAX).map(|part| stretch(part, samples, cut_us)).collect()
}

fn stretch(part: &[&Sample], samples: &[Sample], cut_us: u64) -> Stretch {
    let (from, to) = (part[0].boot_us, part[part.len() - 1].boot_us);
    let meanwhile = samples.iter().filter(|sample| (from..=to).contains(&sample.boot_us)).count();
    let number = |wanted: Outcome| part.iter().filter(|sample| sample.outcome == wanted).count();
    let kinds = [Outcome::Timeout, Outcome::Reset, Outcome::Refused, Outcome::Bad];
    let millis = |at: u64| (at.saturating_sub(cut_us) / 100) as f64 / 10.0;
    Stretch {
        from_ms: millis(from),
        to_ms: millis(to),
        failed: part.len() as u64,
        answered: (meanwhile - part.len()) as u64,
        outcome: kinds.into_iter().max_by_key(|kind| number(*kind)).unwrap_or(Outcome::Bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prober::sample_of;

    #[test]
    fn failures_close_to_each_other_are_one_stretch() {
        use Outcome::{Ok, Reset, Timeout};
        let at = |millis: u64, outcome| sample_of(1_000_000 + millis * 1000, outcome, 5);
        let samples = [at(500, Reset), at(5, Ok), at(10, Timeout), at(15, Ok), at(20, Timeout), at(25, Reset), at(30, Ok)];
        let found = stretches(&samples, 1_000_000);
        let first = Stretch { from_ms: 10.0, to_ms: 25.0, failed: 3, answered: 1, outcome: Timeout };
        assert_eq!(found, [first, Stretch { from_ms: 500.0, to_ms: 500.0, failed: 1, answered: 0, outcome: Reset }]);
        assert_eq!(stretches(&samples[1..2], 1_000_000), []);
    }

    #[test]
    fn what_fails_all_the_time_is_cut_off() {
        let samples: Vec<Sample> = (0..200).map(|number| sample_of(number * 200_000, Outcome::Bad, 5)).collect();
        assert_eq!(stretches(&samples, 0).len(), STRETCHES_MAX);
    }
}
