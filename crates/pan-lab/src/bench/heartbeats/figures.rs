//! What was measured, in the form of every benchmark's report. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::report::{Bound, Case, MILLIS, OWN, RunDetail};

/// Detection may take so much longer than the profile's silence: it is what a failover's other steps count on.
pub(super) const SLACK: Duration = Duration::from_millis(30);

/// All hosts heard: the cost, and the mistakes.
#[derive(Debug, Clone, Default)]
pub(super) struct Steady {
    /// Percent of one core, of each second.
    pub(super) cpu: Vec<f64>,
    /// Mebibytes at each second's end.
    pub(super) memory: Vec<f64>,
    /// Counts by their unit.
    pub(super) counts: BTreeMap<&'static str, f64>,
    /// The most by which the senders were late.
    pub(super) late_ms: f64,
}

/// One host that fell silent.
#[derive(Debug, Clone)]
pub(super) struct Silence {
    pub(super) host: String,
    /// RFC 3339.
    pub(super) last_sent: String,
    /// From its last heartbeat to the event of its death; `None` if that was not seen.
    pub(super) event_ms: Option<f64>,
    /// For how long the controller said it had been silent when it was judged to be dead, before it was fenced.
    pub(super) judged_ms: Option<f64>,
    /// The most by which the senders were late meanwhile.
    pub(super) late_ms: f64,
}

impl Steady {
    pub(super) fn cases(&self) -> Vec<Case> {
        let mut all = vec![
            Case::counted("steady", OWN, "% of a core", self.cpu.clone()),
            Case::counted("steady", OWN, "MiB resident", self.memory.clone()),
        ];
        all.extend(self.counts.iter().map(|(unit, count)| Case::counted("steady", OWN, unit, vec![*count])));
        all.push(Case::counted("steady-sender-late", OWN, MILLIS, vec![self.late_ms]));
        all
    }
}

/// The deaths: as the PAN's administrators see them, and as they were judged.
pub(super) fn deaths(silences: &[Silence], dead_after: Duration, problem: Option<&str>) -> Vec<Case> {
    let detail = |silence: &Silence| RunDetail {
        node: silence.host.clone(),
        server: String::new(),
        to: None,
        cut_at: silence.last_sent.clone(),
        cut_ms: 0.0,
        gap_ms: silence.event_ms,
        counts: BTreeMap::new(),
        probes: 0,
        lost: 0,
        stretches: Vec::new(),
        slow: 0,
        late_max_ms: silence.late_ms,
        timeline: None,
        timelines: Vec::new(),
    };
    let details: Vec<RunDetail> = silences.iter().map(detail).collect();
    let limit = (dead_after + SLACK).as_secs_f64() * 1e3;
    let bound = Some(Bound { p50: limit, worst: limit });
    let mut seen = Case::of("silenced", OWN, MILLIS, &details, problem);
    (seen.bound, seen.details) = (bound, details);
    let judged = silences.iter().filter_map(|silence| silence.judged_ms).collect();
    let late = silences.iter().map(|silence| silence.late_ms).collect();
    let judged = Case { bound, ..Case::counted("silenced-judged", OWN, MILLIS, judged) };
    vec![seen, judged, Case::counted("silenced-sender-late", OWN, MILLIS, late)]
}

/// The milliseconds in an event like `host n1 has been silent on both fabrics for 271 ms; …`.
pub(super) fn judged(message: &str) -> Option<f64> {
    message.split_once(" for ")?.1.split_once(" ms")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controllers_words_are_understood() {
        assert_eq!(judged("host sim7 has been silent on both fabrics for 271 ms; 0 servers were on it"), Some(271.0));
        assert_eq!(judged("host sim7 is heard"), None);
    }

    #[test]
    fn a_death_nobody_saw_is_a_failed_run() {
        let silence = |event_ms| Silence {
            host: "sim1".into(),
            last_sent: "2026-11-28T00:00:00Z".into(),
            event_ms,
            judged_ms: event_ms.map(|ms: f64| ms.floor()),
            late_ms: 0.5,
        };
        let cases = deaths(&[silence(Some(280.5)), silence(None), silence(Some(301.0))], Duration::from_millis(270), None);
        assert_eq!((cases[0].runs, cases[0].failed, cases[0].worst, cases[0].bound.unwrap().worst), (3, 1, Some(301.0), 300.0));
        assert!(cases[0].is_over() && cases[1].is_over() && !cases[2].is_over());
        assert_eq!(cases[1].samples, [280.0, 301.0]);
    }
}
