//! The figures of many probes together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sample::{Outcome, Sample};

/// Counts and latencies. Latencies are those of answered probes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// All probes.
    pub probes: u64,
    /// Answered.
    pub ok: u64,
    /// Refused.
    pub refused: u64,
    /// Broken off.
    pub reset: u64,
    /// Not answered in time.
    pub timeout: u64,
    /// Answered wrongly.
    pub bad: u64,
    /// Answered, but later than [`super::SLOW`].
    pub slow: u64,
    /// Half of the answers were there within it.
    pub p50_us: u64,
    /// 99 of 100 answers were there within it.
    pub p99_us: u64,
    /// All answers were there within it.
    pub max_us: u64,
    /// The most that a probe began later than due.
    pub late_max_us: u64,
    /// How often each first line was the answer.
    pub answers: BTreeMap<String, u64>,
    #[serde(skip)]
    latencies: Vec<u64>,
}

/// More different answers than servers could give: the rest is not told apart.
const ANSWERS_MAX: usize = 1000;

impl Summary {
    /// Takes in one more probe.
    pub(super) fn add(&mut self, sample: &Sample) {
        self.probes += 1;
        self.late_max_us = self.late_max_us.max(sample.late_us);
        match sample.outcome {
            Outcome::Refused => self.refused += 1,
            Outcome::Reset => self.reset += 1,
            Outcome::Timeout => self.timeout += 1,
            Outcome::Bad => self.bad += 1,
            Outcome::Ok => {
                self.ok += 1;
                self.slow += u64::from(!sample.is_good());
                self.latencies.push(sample.latency_us);
                if self.answers.len() < ANSWERS_MAX || self.answers.contains_key(&sample.answer) {
                    *self.answers.entry(sample.answer.clone()).or_default() += 1;
                }
            }
        }
    }

    /// Works the latencies out.
    pub(super) fn finish(mut self) -> Self {
        self.latencies.sort_unstable();
        let at = |percent: usize| {
            let rank = (self.latencies.len() * percent).div_ceil(100).max(1);
            self.latencies.get(rank - 1).copied().unwrap_or(0)
        };
        (self.p50_us, self.p99_us, self.max_us) = (at(50), at(99), at(100));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::sample;
    use super::*;

    #[test]
    fn latencies_are_those_of_answers() {
        let mut summary = Summary::default();
        for latency in 1..=100 {
            summary.add(&sample(0, Outcome::Ok, latency * 3_000));
        }
        summary.add(&sample(0, Outcome::Timeout, 1_000_000));
        let summary = summary.finish();
        assert_eq!((summary.probes, summary.ok, summary.timeout, summary.slow), (101, 100, 1, 34));
        assert_eq!((summary.p50_us, summary.p99_us, summary.max_us), (150_000, 297_000, 300_000));
        assert_eq!(Summary::default().finish().max_us, 0);
    }
}
