//! `capacity` for slot tables: weights that follow how busy servers are, a little at each report.

use crate::slots::Member;

/// Weights are in thousandths of what is configured, so that they can change by little.
pub const SCALE: u32 = 1000;
/// No report changes a weight by more than a fifth: one wrong report does little, and ten reports move it eightfold.
const CHANGE_MAX: u64 = 200;
/// Load below this, in thousandths, counts as this: what is idle differs by noise.
const LOAD_MIN: u64 = 50;
/// No weight falls below a tenth of the configured one, or nobody would notice that the server is well again; and
/// none rises above ten times.
const RANGE: u64 = 10;

/// What is known of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Its fixed number.
    pub index: u32,
    /// Its configured weight; 0 takes no part.
    pub weight: u32,
    /// Its weight in the table of now, in the scale of [`weights`]; nothing if it is new.
    pub current: Option<u32>,
    /// How busy it is, in thousandths of what it can do; more than 1000 where work waits.
    pub load: u32,
}

/// The next weights: each moves by half of how far its load is from the mean of all, so that they come to rest
/// where all are equally busy. Whole numbers; equal reports give equal weights everywhere. O(servers).
#[must_use]
pub fn weights(reports: &[Report]) -> Vec<Member> {
    let part = || reports.iter().filter(|report| report.weight > 0);
    let load = |report: &Report| u64::from(report.load).max(LOAD_MIN);
    let whole: u64 = part().map(|report| u64::from(report.weight)).sum();
    let mean = part().map(|report| load(report) * u64::from(report.weight)).sum::<u64>().checked_div(whole).unwrap_or(0);
    let mut next: Vec<(u32, u64)> = Vec::with_capacity(reports.len());
    for report in part() {
        let configured = u64::from(report.weight) * u64::from(SCALE);
        let current = report.current.map_or(configured, u64::from);
        // In thousandths: 1000 + half of (mean - load) / mean.
        let distance = mean.abs_diff(load(report)) * 500 / mean.max(1);
        let change = distance.min(CHANGE_MAX);
        let moved = if load(report) > mean { current * (1000 - change) / 1000 } else { current * (1000 + change) / 1000 };
        next.push((report.index, moved.clamp((configured / RANGE).max(1), configured * RANGE)));
    }
    // The sum stays what is configured, so that weights mean the same from one update to the next.
    let sum: u64 = next.iter().map(|(_, weight)| weight).sum();
    let scaled = |weight: u64| u128::from(weight) * u128::from(whole) * u128::from(SCALE) / u128::from(sum.max(1));
    next.into_iter().map(|(index, weight)| Member { index, weight: u32::try_from(scaled(weight).max(1)).unwrap_or(u32::MAX) }).collect()
}
