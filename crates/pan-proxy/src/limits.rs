//! Where a client's connection is in time, and when that is over.

use pan_model::proxy::Timeouts;
use std::time::Duration;

/// Why a client's connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// It had a part of a head.
    Head,
    /// It had nothing.
    Idle,
    /// It did not take what was sent.
    Stalled,
}

/// Where a client's connection is, as far as time matters. Times are on one clock of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waits for a request; `first` if there was none yet.
    Waiting {
        /// Since when.
        since: Duration,
        /// Whether it has had no request.
        first: bool,
    },
    /// Has a part of a head.
    Head {
        /// Since its first byte, or since the connection began if it is the first.
        since: Duration,
    },
    /// Works on a request: others watch over it, but for a client that takes no more of an answer by HTTP/2.
    Busy {
        /// Since when the longest of those waits.
        untaken: Option<Duration>,
    },
}

impl Phase {
    /// When it is over, and what that means.
    #[must_use]
    pub fn due(self, timeouts: &Timeouts) -> Option<(Duration, Overdue)> {
        match self {
            Self::Waiting { since, first: true } => Some((since + timeouts.head.0, Overdue::Idle)),
            Self::Waiting { since, first: false } => Some((since + timeouts.idle.0, Overdue::Idle)),
            Self::Head { since } => Some((since + timeouts.head.0, Overdue::Head)),
            Self::Busy { untaken } => untaken.map(|since| (since + timeouts.body.0, Overdue::Stalled)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_model::Span;

    #[test]
    fn bytes_that_trickle_in_do_not_prolong_a_head() {
        let timeouts = Timeouts { head: Span::millis(500), idle: Span::millis(9_000), body: Span::millis(700), ..Timeouts::default() };
        let at = Duration::from_millis;
        let check = |phase: Phase, due: Option<(Duration, Overdue)>| assert_eq!(phase.due(&timeouts), due);
        check(Phase::Waiting { since: at(100), first: true }, Some((at(600), Overdue::Idle)));
        check(Phase::Waiting { since: at(100), first: false }, Some((at(9_100), Overdue::Idle)));
        check(Phase::Head { since: at(100) }, Some((at(600), Overdue::Head)));
        check(Phase::Busy { untaken: None }, None);
        check(Phase::Busy { untaken: Some(at(100)) }, Some((at(800), Overdue::Stalled)));
    }
}
