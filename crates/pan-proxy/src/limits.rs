//! How much a client may send and how long each phase may take.

use pan_model::{ByteSize, Span};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How much of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Limits {
    /// Of a request's line and headers together; more is 431. HTTP/2 counts them uncompressed.
    pub head: ByteSize,
    /// Header lines; more are 431.
    pub headers: usize,
    /// Of a request's body; more is 413. None when absent: bodies are streamed and take no memory.
    pub body: Option<ByteSize>,
    /// Open connections of clients to a service; one more is closed at once.
    pub connections: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// Of a body, so much is kept until the answer begins, to send it again; one that is longer is sent once.
    pub replay: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: ByteSize(32 << 10), headers: 100, body: None, connections: 20_000, streams: 100, replay: ByteSize(64 << 10) }
    }
}

/// How long each phase may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Timeouts {
    /// From a request's first byte to the end of its head, and from a connection's beginning to its first request,
    /// however many bytes come; later is 408. TLS has as long again.
    pub head: Span,
    /// A connection without a request; then it is closed.
    pub idle: Span,
    /// Until a server takes the connection; later is another server, or 504.
    pub connect: Span,
    /// From the last byte of the request to the first of the answer; later is 504.
    pub request: Span,
    /// Between bytes of a body, either way, of a connection after an upgrade, and of an answer that a client
    /// does not take.
    pub body: Span,
    /// All of a request with its answer; none when absent, because some answers never end.
    pub whole: Option<Span>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Span::millis(10_000),
            idle: Span::millis(60_000),
            connect: Span::millis(1_000),
            request: Span::millis(30_000),
            body: Span::millis(30_000),
            whole: None,
        }
    }
}

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

    #[test]
    fn what_a_document_leaves_out_is_the_default() {
        let limits: Limits = serde_json::from_str(r#"{"body": "1MiB"}"#).unwrap();
        assert_eq!(limits, Limits { body: Some(ByteSize(1 << 20)), ..Limits::default() });
        assert!(serde_json::from_str::<Limits>(r#"{"boddy": "1MiB"}"#).is_err());
    }
}
