//! What a run showed.

use crate::options::{Calm, Fault, Options};
use crate::time::{MS, SECOND};
use std::fmt;

/// A checker found something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which: an invariant, or what else must hold.
    pub checker: &'static str,
    /// True time, nanoseconds.
    pub at: u64,
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} is violated at {}.{:03} s: {}", self.checker, self.at / SECOND, self.at / MS % 1000, self.text)
    }
}

/// What happened in a run, counted.
#[derive(Debug, Clone)]
pub struct Tally {
    pub faults: [u64; Fault::ALL.len()],
    pub calm: Calm,
    pub events: u64,
    /// Virtual seconds.
    pub seconds: u64,
    /// Servers bound anew because their node died.
    pub failovers: u64,
    pub deaths: u64,
    pub brakes: u64,
    pub leaders: u64,
    pub fenced_nodes: u64,
    pub readmissions: u64,
    pub suspicions: u64,
    pub acknowledged: u64,
    pub orphans: u64,
    /// Transactions that were sent again, their outcome being in doubt.
    pub resent: u64,
    /// Lessors that came back with an old copy of their disk.
    pub old_disks: u64,
    /// Rounds of ears after which some of their news waited for room.
    pub held: u64,
    /// Longest time to come to rest after the last repair, and of the last failover, in nanoseconds.
    pub healed: u64,
    pub failover_took: u64,
}

impl Tally {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            faults: [0; Fault::ALL.len()],
            calm: options.calm,
            events: 0,
            seconds: 0,
            failovers: 0,
            deaths: 0,
            brakes: 0,
            leaders: 0,
            fenced_nodes: 0,
            readmissions: 0,
            suspicions: 0,
            acknowledged: 0,
            orphans: 0,
            resent: 0,
            old_disks: 0,
            held: 0,
            healed: 0,
            failover_took: 0,
        }
    }

    /// Faults of all kinds, those of the calm part not counted.
    #[must_use]
    pub fn faults_total(&self) -> u64 {
        self.faults.iter().sum()
    }
}

/// The end of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub seed: u64,
    pub violation: Option<Violation>,
    pub tally: Tally,
    /// Empty, if none was kept.
    pub log: String,
}

impl Outcome {
    /// What is wrong with the run: it broke an invariant, or it was too quiet to show that it holds.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if let Some(violation) = &self.violation {
            return Some(violation.to_string());
        }
        let found @ [seconds, faults, failovers] = [self.tally.seconds, self.tally.faults_total(), self.tally.failovers];
        let quiet = found.iter().zip(LEAST).any(|(found, least)| *found < least);
        let [least_seconds, least_faults, least_failovers] = LEAST;
        quiet.then(|| {
            format!(
                "too quiet to show anything: {seconds} s, {faults} faults and {failovers} failovers; expected \
                 {least_seconds}, {least_faults} and {least_failovers} at least"
            )
        })
    }
}

/// Virtual seconds, faults and failovers that each run has at least.
const LEAST: [u64; 3] = [60, 5, 1];

/// What many runs showed together.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    pub runs: u64,
    pub seconds: u64,
    faults: [u64; Fault::ALL.len()],
    calms: [u64; Calm::ALL.len()],
    counts: [(u64, u64); COUNTED.len()],
    failovers_took: Vec<u64>,
    healed: u64,
    faults_min: Option<u64>,
    failovers_min: Option<u64>,
    seconds_min: Option<u64>,
}

const COUNTED: [&str; 12] = [
    "failovers",
    "deaths",
    "brakes",
    "changes of leader",
    "fenced nodes",
    "readmissions",
    "suspicions",
    "writes",
    "orphans",
    "transactions sent again",
    "old disks",
    "rounds of ears that kept news back",
];

impl Coverage {
    /// Adds a run.
    pub fn add(&mut self, tally: &Tally) {
        self.runs += 1;
        self.seconds += tally.seconds;
        for (sum, count) in self.faults.iter_mut().zip(tally.faults) {
            *sum += u64::from(count > 0);
        }
        self.calms[tally.calm as usize] += 1;
        let found = [
            tally.failovers,
            tally.deaths,
            tally.brakes,
            tally.leaders.saturating_sub(1),
            tally.fenced_nodes,
            tally.readmissions,
            tally.suspicions,
            tally.acknowledged,
            tally.orphans,
            tally.resent,
            tally.old_disks,
            tally.held,
        ];
        for (sum, count) in self.counts.iter_mut().zip(found) {
            *sum = (sum.0 + count, sum.1 + u64::from(count > 0));
        }
        self.failovers_took.push(tally.failover_took);
        self.healed = self.healed.max(tally.healed);
        let least = |known: &mut Option<u64>, found: u64| *known = Some(known.map_or(found, |known| known.min(found)));
        least(&mut self.faults_min, tally.faults_total());
        least(&mut self.failovers_min, tally.failovers);
        least(&mut self.seconds_min, tally.seconds);
    }
}

/// So many runs show everything that is drawn, or it is not drawn any more.
const ENOUGH: u64 = 500;

impl Coverage {
    /// What none of many runs showed, though each may.
    #[must_use]
    pub fn gap(&self) -> Option<String> {
        if self.runs < ENOUGH {
            return None;
        }
        let faults = Fault::ALL.iter().zip(self.faults).map(|(kind, runs)| (format!("fault {kind:?}"), runs));
        let calms = Calm::ALL.iter().zip(self.calms).map(|(kind, runs)| (format!("calm {kind:?}"), runs));
        let counts = COUNTED.iter().zip(self.counts).map(|(name, (_, runs))| ((*name).to_owned(), runs));
        let missing: Vec<String> = faults.chain(calms).chain(counts).filter(|(_, runs)| *runs == 0).map(|(name, _)| name).collect();
        (!missing.is_empty()).then(|| format!("{} runs, and none has: {}", self.runs, missing.join(", ")))
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [seconds, faults, failovers] = [self.seconds_min, self.faults_min, self.failovers_min].map(Option::unwrap_or_default);
        write!(
            out,
            "coverage: {} runs, {} virtual seconds; in each at least {seconds} s, {faults} faults, {failovers} failovers;",
            self.runs, self.seconds
        )?;
        for (name, (sum, runs)) in COUNTED.iter().zip(self.counts) {
            write!(out, " {name} {sum} (in {runs} runs),")?;
        }
        write!(out, " runs with fault")?;
        for (kind, runs) in Fault::ALL.iter().zip(self.faults) {
            write!(out, " {kind:?} {runs}")?;
        }
        write!(out, "; with calm")?;
        for (kind, runs) in Calm::ALL.iter().zip(self.calms) {
            write!(out, " {kind:?} {runs}")?;
        }
        let mut took = self.failovers_took.clone();
        took.sort_unstable();
        let middle = took.get(took.len() / 2).copied().unwrap_or_default();
        let worst = took.last().copied().unwrap_or_default();
        write!(
            out,
            "; last failover {} ms in the middle, {} at worst; at rest after {} ms at worst",
            middle / MS,
            worst / MS,
            self.healed / MS
        )
    }
}
