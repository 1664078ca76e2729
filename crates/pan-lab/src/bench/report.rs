//! What a benchmark found, for programs and for people. Pure but for the description of the machine.

use std::collections::BTreeMap;
use std::fmt;

use pan_api::insight::Timeline;
use serde::{Deserialize, Serialize};

use super::stretches::Stretch;

/// The unit of gaps. All other units but the next one are counts.
pub(super) const MILLIS: &str = "ms";
/// The unit of how much somebody does of what a peer does in the same time.
pub(super) const RATIO: &str = "of the peer's rate";
/// The unit of how much longer somebody waits than somebody else does.
pub(super) const TIMES: &str = "times the p99 alone";
/// Who is measured, where it is not a peer.
pub(super) const OWN: &str = "panloom";

/// The outcome of one benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which benchmark.
    pub bench: String,
    /// The timing profile it ran with.
    pub profile: String,
    /// The machine it ran on.
    pub machine: String,
    /// Each case and peer.
    pub cases: Vec<Case>,
}

/// The outcome of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Which case.
    pub case: String,
    /// Who was measured.
    pub peer: String,
    /// Runs made.
    pub runs: u32,
    /// Of everything below.
    pub unit: String,
    /// Half of the samples are at most this, or at least of rates; absent without samples.
    pub p50: Option<f64>,
    /// Nine of ten are.
    pub p90: Option<f64>,
    /// 99 of 100 are.
    pub p99: Option<f64>,
    /// All are.
    pub worst: Option<f64>,
    /// What half of the samples, and what all of them, are to be at most; absent where nothing is promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// What half of the samples are to reach at least; absent where nothing is promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    /// Runs that gave no sample, because the service did not recover.
    pub failed: u32,
    /// Why not all runs were made, if they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// One per run that did not fail, in the order of runs.
    pub samples: Vec<f64>,
    /// What happened in each run. Of several cases of one name and peer, measured in the same runs, the first
    /// has it.
    pub details: Vec<RunDetail>,
}

/// What is promised of a case, in its unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// Of half of the samples.
    pub p50: f64,
    /// Of all.
    pub worst: f64,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDetail {
    /// The host that was cut or disturbed; several, with spaces between.
    pub node: String,
    /// The server that ran there, or the address of a peer; empty where it was no node.
    pub server: String,
    /// Where it went.
    pub to: Option<String>,
    /// When the cut or the disturbance was begun, RFC 3339, microseconds.
    pub cut_at: String,
    /// How long cutting took: the gap is counted from its beginning, and may be too long by this.
    pub cut_ms: f64,
    /// The gap; absent if the service did not recover, or if nothing was cut.
    pub gap_ms: Option<f64>,
    /// What was counted, by its unit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// Probes begun after the cut.
    pub probes: u64,
    /// Of these, not answered.
    pub lost: u64,
    /// Of these, answered too late.
    pub slow: u64,
    /// When those that were not answered were begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stretches: Vec<Stretch>,
    /// The most that a probe began later than due.
    pub late_max_ms: f64,
    /// What the PAN says of the failover.
    pub timeline: Option<Timeline>,
    /// Where nobody failed: what the PAN says of everything that it took for a failure, by object and time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timelines: Vec<Timeline>,
}

impl Case {
    /// Works the figures of one unit out of the details.
    pub(super) fn of(case: &str, peer: &str, unit: &str, details: &[RunDetail], problem: Option<&str>) -> Self {
        let samples: Vec<f64> = details.iter().filter_map(|run| run.sample(unit)).collect();
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        Self {
            case: case.to_owned(),
            peer: peer.to_owned(),
            runs: count(details.len()),
            unit: unit.to_owned(),
            p50: rank(&sorted, 50),
            p90: rank(&sorted, 90),
            p99: rank(&sorted, 99),
            worst: rank(&sorted, 100),
            bound: None,
            least: None,
            failed: count(details.len() - samples.len()),
            problem: problem.map(ToOwned::to_owned),
            samples,
            details: Vec::new(),
        }
    }
}

impl Case {
    /// Works them out of what was counted, each number a run.
    pub(super) fn counted(case: &str, peer: &str, unit: &str, samples: Vec<f64>) -> Self {
        let runs = count(samples.len());
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let figure = |percent| rank(&sorted, percent);
        let [p50, p90, p99, worst] = [figure(50), figure(90), figure(99), figure(100)];
        Self { runs, p50, p90, p99, worst, failed: 0, samples, ..Self::of(case, peer, unit, &[], None) }
    }

    /// The same of what is the better the more there is of it: half of the samples are at least the p50, and all at least the worst.
    pub(super) fn rates(case: &str, peer: &str, unit: &str, samples: Vec<f64>) -> Self {
        let mut sorted = samples.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let figure = |percent| rank(&sorted, percent);
        let [p50, p90, p99, worst] = [figure(50), figure(90), figure(99), figure(100)];
        Self { p50, p90, p99, worst, ..Self::counted(case, peer, unit, samples) }
    }

    /// Whether something was above what is promised of all samples.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.bound.zip(self.worst).is_some_and(|(bound, worst)| worst > bound.worst)
    }

    /// Whether half of the samples are less than what is promised of them.
    #[must_use]
    pub fn is_under(&self) -> bool {
        self.least.zip(self.p50).is_some_and(|(least, p50)| p50 < least)
    }
}

impl RunDetail {
    fn sample(&self, unit: &str) -> Option<f64> {
        // Far below 2^53.
        if unit == MILLIS { self.gap_ms } else { self.counts.get(unit).map(|count| *count as f64) }
    }
}

impl fmt::Display for RunDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.node.is_empty() { "no host touched" } else { &self.node })?;
        if !self.server.is_empty() {
            write!(f, " with {}", self.server)?;
        }
        match (&self.to, self.counts.is_empty()) {
            (Some(to), _) => write!(f, ", taken over by {to}")?,
            (None, true) => f.write_str(", not taken over")?,
            (None, false) => {}
        }
        if let Some(gap) = self.gap_ms {
            write!(f, ", gap {gap:.0} ms")?;
        }
        for (unit, count) in &self.counts {
            write!(f, ", {count} {unit}")?;
        }
        write!(f, ", {} of {} probes lost", self.lost, self.probes)?;
        for Stretch { from_ms, to_ms, failed, answered, outcome } in &self.stretches {
            write!(f, "\n  {failed} failed ({outcome:?}) and {answered} answered from {from_ms:.0} to {to_ms:.0} ms after the cut")?;
        }
        for Timeline { object, steps, .. } in &self.timelines {
            let steps: Vec<String> = steps.iter().map(|step| format!("{} ({})", step.step, step.reason)).collect();
            write!(f, "\n  {object}: {}", steps.join(", "))?;
        }
        Ok(())
    }
}

/// The nearest-rank percentile: always one of the samples, never a value nobody saw.
fn rank(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("runs are counted with 32 bits")
}

impl Report {
    /// Whether every run of every case gave a sample. Of a peer that is what is measured: one that does not recover, or that is not
    /// ready any more after some runs, has that for a figure.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let all = |case: &Case| case.failed == 0 && case.problem.is_none();
        self.cases.iter().all(|case| case.runs > 0 && (case.peer != OWN || all(case)))
    }

    /// Cases that could not be run, or not as often as wanted, and why; and those that are not what is promised of them.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for case in &self.cases {
            let Some(problem) = &case.problem else { continue };
            let text = match case.runs {
                0 => format!("{} could not be run: {problem}", case.case),
                runs => format!("{} could not be run more than {runs} times: {problem}", case.case),
            };
            if !all.contains(&text) {
                all.push(text);
            }
        }
        let over = |case: &&Case| case.is_over();
        let told = |case: &Case| {
            let (worst, limit) = (case.worst.unwrap_or_default(), case.bound.map_or(0.0, |bound| bound.worst));
            format!("{}: worst {worst:.1} {} is above {limit:.1}", case.case, case.unit)
        };
        all.extend(self.cases.iter().filter(over).map(told));
        let short = |case: &Case| {
            let (p50, least) = (case.p50.unwrap_or_default(), case.least.unwrap_or_default());
            format!("{}, {}: {p50:.2} {} is below {least:.2}", case.case, case.peer, case.unit)
        };
        all.extend(self.cases.iter().filter(|case| case.is_under()).map(short));
        all
    }

    /// The names of the columns of [`Report::rows`].
    pub const HEAD: [&'static str; 10] = ["CASE", "PEER", "RUNS", "UNIT", "P50", "P90", "P99", "WORST", "FAILED", "BOUND"];

    /// The figures as a table, a line per case.
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<String>> {
        let figure = |unit: &str, value: Option<f64>| match value {
            None => "-".to_owned(),
            Some(value) if unit == MILLIS => format!("{value:.1}"),
            // Counts are whole, and of what is measured a thousandth says nothing.
            Some(value) if value.fract() != 0.0 && value < 100.0 || [RATIO, TIMES].contains(&unit) => format!("{value:.2}"),
            Some(value) => format!("{value:.0}"),
        };
        let row = |case: &Case| {
            vec![
                case.case.clone(),
                case.peer.clone(),
                case.runs.to_string(),
                case.unit.clone(),
                figure(&case.unit, case.p50),
                figure(&case.unit, case.p90),
                figure(&case.unit, case.p99),
                figure(&case.unit, case.worst),
                case.failed.to_string(),
                match (case.bound, case.least) {
                    (Some(bound), _) => format!("{}/{}", bound.p50, bound.worst),
                    (None, Some(least)) => format!(">= {least:.1}"),
                    (None, None) => "-".to_owned(),
                },
            ]
        };
        self.cases.iter().map(row).collect()
    }
}

/// This machine in a line: processors, kernel.
pub(super) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo").lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned()));
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let model = model.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{processors} x {model}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(gap_ms: Option<f64>) -> RunDetail {
        RunDetail {
            node: "n1".into(),
            server: "web-1".into(),
            to: None,
            cut_at: "2026-11-22T00:00:00.000000Z".into(),
            cut_ms: 1.0,
            gap_ms,
            counts: BTreeMap::new(),
            probes: 0,
            lost: 0,
            stretches: Vec::new(),
            slow: 0,
            late_max_ms: 0.0,
            timeline: None,
            timelines: Vec::new(),
        }
    }

    #[test]
    fn figures_are_samples() {
        let details: Vec<RunDetail> = (1..=20).rev().map(|gap| run(Some(f64::from(gap)))).collect();
        let case = Case::of("c", "panloom", MILLIS, &details, None);
        assert_eq!((case.p50, case.p90, case.p99, case.worst), (Some(10.0), Some(18.0), Some(20.0), Some(20.0)));
        assert_eq!((case.runs, case.failed, case.samples[0]), (20, 0, 20.0));
    }

    #[test]
    fn every_sample_and_every_run_is_in_the_json() {
        let gaps: Vec<f64> = (1..=50).map(|run| f64::from(run * 37 % 50)).collect();
        let details: Vec<RunDetail> = gaps.iter().map(|gap| run(Some(*gap))).collect();
        let mut case = Case::of("c", "panloom", MILLIS, &details, None);
        case.details = details;
        let report = Report { bench: "failover".into(), profile: "lan".into(), machine: machine(), cases: vec![case] };
        let json = serde_json::to_value(&report).unwrap();
        let case = &json["cases"][0];
        assert_eq!((&case["runs"], &case["samples"]), (&serde_json::json!(50), &serde_json::json!(gaps)));
        let told: Vec<f64> = case["details"].as_array().unwrap().iter().map(|run| run["gapMs"].as_f64().unwrap()).collect();
        assert_eq!(told, gaps, "in the order of runs");
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }

    #[test]
    fn a_run_without_recovery_is_no_sample() {
        let mut case = Case::of("c", "panloom", MILLIS, &[run(Some(5.0)), run(None)], None);
        assert_eq!((case.runs, case.failed, case.worst), (2, 1, Some(5.0)));
        case.details = vec![run(Some(5.0)), run(None)];
        let empty = Case::of("c", "panloom", MILLIS, &[run(None)], None);
        assert_eq!((empty.p50, empty.worst), (None, None));
        let report = Report { bench: "failover".into(), profile: "lan".into(), machine: machine(), cases: vec![case, empty] };
        assert!(!report.is_whole());
        assert_eq!(report.rows()[1][4], "-");
        assert!(report.rows().iter().all(|row| row.len() == Report::HEAD.len()));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["cases"][0]["details"][0]["gapMs"], 5.0);
        assert!(json["cases"][0].get("problem").is_none() && json["cases"][0]["details"][0].get("counts").is_none());
    }

    #[test]
    fn counts_are_whole_numbers() {
        let counted = |count| RunDetail { counts: BTreeMap::from([("failed requests".to_owned(), count)]), ..run(None) };
        let case = Case::of("c", "panloom", "failed requests", &[counted(0), counted(12)], None);
        assert_eq!((case.p50, case.worst, case.failed), (Some(0.0), Some(12.0), 0));
        let report = Report { bench: "failover".into(), profile: "lan".into(), machine: machine(), cases: vec![case] };
        assert!(report.is_whole());
        assert_eq!(report.rows()[0][3..8], ["failed requests", "0", "12", "12", "12"].map(String::from));
        let bound = Some(Bound { p50: 80.0, worst: 200.0 });
        let bounded = Report { cases: vec![Case { bound, ..report.cases[0].clone() }], ..report.clone() };
        assert_eq!([report.rows()[0][9].as_str(), &bounded.rows()[0][9]], ["-", "80/200"]);
        assert_eq!(serde_json::to_value(&bounded).unwrap()["cases"][0]["bound"]["worst"], 200.0);
        let small = Report { cases: vec![Case::rates("c", "panloom", "ms p99", vec![1.437])], ..report.clone() };
        assert_eq!(small.rows()[0][4], "1.44");
        assert_eq!(counted(12).to_string(), "n1 with web-1, 12 failed requests, 0 of 0 probes lost");
    }

    #[test]
    fn what_falls_short_is_told() {
        let of = |samples: Vec<f64>| Case { least: Some(0.6), ..Case::rates("4k-read", "2 copies", RATIO, samples) };
        let report = |case| Report { bench: "volume".into(), profile: "lan".into(), machine: machine(), cases: vec![case] };
        let enough = report(of(vec![0.6, 0.2, 0.9]));
        assert!(enough.problems().is_empty(), "{:?}", enough.problems());
        assert_eq!([enough.rows()[0][4].as_str(), &enough.rows()[0][9]], ["0.60", ">= 0.6"]);
        assert_eq!(enough.cases[0].worst, Some(0.2));
        assert_eq!(report(of(vec![0.59])).problems(), ["4k-read, 2 copies: 0.59 of the peer's rate is below 0.60"]);
    }

    #[test]
    fn what_was_taken_for_a_failure_is_told() {
        use pan_api::insight::Step;
        let step = |step: &str, reason: &str| Step { at: String::new(), step: step.into(), took_ms: 0, reason: reason.into() };
        let steps = vec![step("suspect", "silent for 70 ms"), step("alive-again", "it is heard again")];
        let timeline = Timeline { object: "n1".into(), epoch: None, finished: true, steps, total_ms: 0 };
        let run = RunDetail { node: String::new(), server: String::new(), timelines: vec![timeline], ..run(None) };
        assert!(run.to_string().ends_with("\n  n1: suspect (silent for 70 ms), alive-again (it is heard again)"), "{run}");
        assert!(run.to_string().starts_with("no host touched"), "{run}");
    }

    #[test]
    fn what_could_not_be_run_is_said_once() {
        let case = |unit| Case::of("agent-killed", "panloom", unit, &[], Some("no agent"));
        let report = Report { bench: "failover".into(), profile: "lan".into(), machine: machine(), cases: vec![case("a"), case("b")] };
        assert!(!report.is_whole());
        assert_eq!(report.problems(), ["agent-killed could not be run: no agent"]);
    }

    #[test]
    fn a_peer_that_is_not_ready_any_more_is_a_figure_of_the_peer() {
        let report = |peer, runs: &[RunDetail]| {
            let case = Case::of("pacemaker-300ms-fenced", peer, MILLIS, runs, Some("it was not ready"));
            Report { bench: "failover".into(), profile: "lan".into(), machine: machine(), cases: vec![case] }
        };
        let one = report("pacemaker", &[run(Some(3.0))]);
        assert!(one.is_whole());
        assert_eq!(one.problems(), ["pacemaker-300ms-fenced could not be run more than 1 times: it was not ready"]);
        assert!(!report("pacemaker", &[]).is_whole() && !report(OWN, &[run(Some(3.0))]).is_whole());
    }
}
