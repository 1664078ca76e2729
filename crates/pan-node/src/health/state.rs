//! A server's health as checks see it. Pure.

use std::time::Duration;

use pan_member::Tick;
use pan_model::Span;
use pan_model::cluster::HealthSpec;
use serde::{Deserialize, Serialize};

/// The first checks come this soon after each other, so that a start is noticed quickly.
const EAGER: Duration = Duration::from_millis(50);

/// A server's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// No check has succeeded yet.
    Starting {
        /// When it was started, boot clock.
        #[serde(default)]
        since: u64,
        /// How many were made.
        checks: u32,
    },
    /// Checks succeed.
    Healthy {
        /// The first of an unbroken row, boot clock.
        since: u64,
        /// Failures since the last success.
        failures: u32,
    },
    /// It was healthy, and then too many checks in a row failed.
    Unhealthy {
        /// When it was called so, boot clock.
        since: u64,
    },
}

impl Health {
    /// The health of a server that has just been started.
    pub(crate) fn at_start(spec: Option<&HealthSpec>, now: Tick) -> Self {
        match spec {
            Some(_) => Self::Starting { since: now.0, checks: 0 },
            None => Self::Healthy { since: now.0, failures: 0 },
        }
    }

    /// The health after one more check.
    pub(crate) fn after(self, good: bool, spec: &HealthSpec, now: Tick) -> Self {
        match (self, good) {
            (Self::Healthy { since, .. }, true) => Self::Healthy { since, failures: 0 },
            (Self::Starting { .. } | Self::Unhealthy { .. }, true) => Self::Healthy { since: now.0, failures: 0 },
            (Self::Starting { since, checks }, false) => Self::Starting { since, checks: checks.saturating_add(1) },
            (Self::Unhealthy { since }, false) => Self::Unhealthy { since },
            (Self::Healthy { failures, .. }, false) if failures + 1 >= spec.failures => Self::Unhealthy { since: now.0 },
            (Self::Healthy { since, failures }, false) => Self::Healthy { since, failures: failures + 1 },
        }
    }

    /// Since when it is healthy.
    pub(crate) fn healthy_since(self) -> Option<Tick> {
        match self {
            Self::Healthy { since, .. } => Some(Tick(since)),
            Self::Starting { .. } | Self::Unhealthy { .. } => None,
        }
    }

    /// When a server that is not healthy is started again: one that was healthy after three times as long as it took
    /// to call it unhealthy, one that never was when the time for a start is over.
    pub(crate) fn hopeless_at(self, spec: Option<&HealthSpec>) -> Option<Tick> {
        match (self, spec) {
            (Self::Unhealthy { since }, Some(spec)) => Some(Tick(since).plus(spec.every.0.saturating_mul(spec.failures.saturating_mul(3)))),
            (Self::Starting { since, .. }, Some(spec)) => Some(Tick(since).plus(spec.start_max())),
            (Self::Healthy { .. }, _) | (_, None) => None,
        }
    }

    /// What did not happen to a server that is stopped for its health, for people.
    pub(crate) fn hopeless_because(self, spec: Option<&HealthSpec>) -> String {
        match (self, spec) {
            (Self::Starting { .. }, Some(spec)) => format!("it was not healthy within {} of its start", Span(spec.start_max())),
            (Self::Starting { .. }, None) | (Self::Healthy { .. } | Self::Unhealthy { .. }, _) => "it did not get healthy again".into(),
        }
    }
}

/// The pause before the next check: none before the first, then growing by half up to `every`.
pub(crate) fn pause(health: Health, every: Duration) -> Duration {
    match health {
        Health::Starting { checks: 0, .. } => Duration::ZERO,
        // Past twenty steps the pause would be over two minutes: `every` has long taken its place.
        Health::Starting { checks, .. } => (EAGER * 3u32.pow(checks.min(18) - 1) / 2u32.pow(checks.min(18) - 1)).min(every),
        Health::Healthy { .. } | Health::Unhealthy { .. } => every,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> HealthSpec {
        HealthSpec {
            http: None,
            tcp: None,
            exec: None,
            every: Span::millis(500),
            failures: 2,
            timeout: Span::millis(100),
            start: Span::millis(60_000),
        }
    }

    #[test]
    fn failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let mut health = Health::at_start(Some(&spec()), Tick(0));
        let mut at = 0;
        let mut seen = |good| {
            at += 1;
            health = health.after(good, &spec(), Tick(at));
            health
        };
        assert_eq!(seen(false), Health::Starting { since: 0, checks: 1 });
        assert_eq!(seen(true), Health::Healthy { since: 2, failures: 0 });
        assert_eq!(seen(false), Health::Healthy { since: 2, failures: 1 });
        assert_eq!(seen(true), Health::Healthy { since: 2, failures: 0 });
        seen(false);
        assert_eq!(seen(false), Health::Unhealthy { since: 6 });
        assert_eq!(seen(false), Health::Unhealthy { since: 6 });
        assert_eq!(Health::Unhealthy { since: 6 }.hopeless_at(Some(&spec())), Some(Tick(3_000_000_006)));
        assert_eq!(seen(true), Health::Healthy { since: 8, failures: 0 });
    }

    #[test]
    fn first_checks_are_eager() {
        let pauses: Vec<u128> =
            (0..9).map(|checks| pause(Health::Starting { since: 0, checks }, Duration::from_millis(500)).as_millis()).collect();
        assert_eq!(pauses, [0, 50, 75, 112, 168, 253, 379, 500, 500]);
        assert_eq!(pause(Health::Starting { since: 0, checks: u32::MAX }, Duration::from_secs(1)), Duration::from_secs(1));
    }

    #[test]
    fn without_checks_running_is_healthy() {
        assert_eq!(Health::at_start(None, Tick(7)).healthy_since(), Some(Tick(7)));
    }

    #[test]
    fn a_start_has_its_time_and_no_more() {
        let second = 1_000_000_000;
        let mut health = Health::at_start(Some(&spec()), Tick(second));
        for at in 2..100 {
            health = health.after(false, &spec(), Tick(at * second));
            assert_eq!(health.hopeless_at(Some(&spec())), Some(Tick(61 * second)), "failures do not move it");
        }
        assert_eq!(health.hopeless_because(Some(&spec())), "it was not healthy within 1m of its start");
        assert_eq!(health.after(true, &spec(), Tick(100 * second)).hopeless_at(Some(&spec())), None);
        let slow = HealthSpec { start: Span::millis(1), every: Span::millis(10_000), failures: 9, ..spec() };
        assert_eq!(health.hopeless_at(Some(&slow)), Some(Tick(91 * second)), "at least as long as it takes to call it unhealthy");
        assert_eq!(Health::at_start(None, Tick(0)).hopeless_at(None), None);
    }
}
