//! I5 from outside: while no more fails than protection promises to survive, nobody waits long.

use std::time::Duration;

use super::super::observation::Observation;

/// What is promised of a target within a span of time.
#[derive(Debug, Clone, Copy)]
pub(in crate::chaos) struct Promise<'a> {
    /// Who asks.
    pub(in crate::chaos) observer: &'a str,
    /// Whom.
    pub(in crate::chaos) target: &'a str,
    /// From when, by the boot clock in microseconds.
    pub(in crate::chaos) from_us: u64,
    /// Until when.
    pub(in crate::chaos) to_us: u64,
    /// The longest time without an answer.
    pub(in crate::chaos) gap_max: Duration,
}

/// The longest time within a span in which no request was sent that got an answer.
pub(in crate::chaos) fn longest_gap(observations: &[Observation], promise: &Promise<'_>) -> Duration {
    let of_it = |one: &&Observation| one.observer == promise.observer && one.target.name() == promise.target && one.answer.is_some();
    let mut served: Vec<u64> = observations.iter().filter(of_it).map(|one| one.sent_us).collect();
    served.retain(|sent| (promise.from_us..=promise.to_us).contains(sent));
    served.push(promise.to_us);
    served.sort_unstable();
    let mut before = promise.from_us;
    let gaps = served.into_iter().map(|at| at - std::mem::replace(&mut before, at));
    Duration::from_micros(gaps.max().unwrap_or(0))
}

/// Whether a promise was kept.
pub(in crate::chaos) fn service(observations: &[Observation], promise: &Promise<'_>) -> Option<String> {
    let gap = longest_gap(observations, promise);
    (gap > promise.gap_max).then(|| {
        format!(
            "I5: {} was not answered for {} ms (asked by {}), although no more failed than it is protected against; at most {} ms were expected",
            promise.target,
            gap.as_millis(),
            promise.observer,
            promise.gap_max.as_millis()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::observation::{Answer, Asked};

    fn check(served: &[(u64, bool)], wanted_ms: u64, kept: bool) {
        let one = |target: &str, sent_us, good: bool| Observation {
            observer: "out".to_owned(),
            target: Asked::Service { name: target.to_owned(), cluster: "web".to_owned() },
            sent_us,
            received_us: sent_us + 10,
            answer: Answer::parse(if good { "web-1 a" } else { "" }),
        };
        let mut log: Vec<Observation> = served.iter().map(|(ms, good)| one("www", ms * 1000, *good)).collect();
        // Somebody else's answers do not count.
        log.extend((0..200).map(|ms| one("one", ms * 10_000, true)));
        let promise = Promise { observer: "out", target: "www", from_us: 100_000, to_us: 1_100_000, gap_max: Duration::from_millis(500) };
        assert_eq!(longest_gap(&log, &promise), Duration::from_millis(wanted_ms), "{served:?}");
        assert_eq!(service(&log, &promise).is_none(), kept, "{served:?}");
    }

    #[test]
    fn the_longest_time_without_an_answer_counts() {
        check(&[(100, true), (500, true), (900, true)], 400, true);
        check(&[], 1000, false);
        check(&[(100, true), (300, false), (500, false), (700, true), (1100, true)], 600, false);
        check(&[(50, true), (700, true)], 600, false);
        check(&[(500, true), (2000, true)], 600, false);
        check(&[(600, true), (1090, true)], 500, true);
    }
}
