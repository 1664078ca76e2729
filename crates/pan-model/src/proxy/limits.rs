//! How much a client may send and how long each phase may take.

use crate::{ByteSize, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Limits {
    /// Of a request's line and headers together; more is 431. HTTP/2 counts them uncompressed.
    pub head: ByteSize,
    /// Header lines; more are 431.
    pub headers: usize,
    /// Of a request's body; more is 413. None when absent: bodies are streamed and take no memory.
    #[serde(skip_serializing_if = "Option::is_none")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_document_leaves_out_is_the_default() {
        let limits: Limits = serde_json::from_str(r#"{"body": "1MiB"}"#).unwrap();
        assert_eq!(limits, Limits { body: Some(ByteSize(1 << 20)), ..Limits::default() });
        assert!(serde_json::from_str::<Limits>(r#"{"boddy": "1MiB"}"#).is_err());
    }
}
