//! The bounds of serving.

use std::time::Duration;

use pan_model::ByteSize;

/// How much and how long. What a server needs at most is `sessions_max` times `bytes_max` twice over: under way, and kept
/// for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub sessions_max: usize,
    /// Requests of one connection under way, answers that wait to be sent included.
    pub requests_max: usize,
    /// Their data. One request is always taken, however long.
    pub bytes_max: ByteSize,
    /// Until a client has chosen.
    pub handshake: Duration,
    /// How long a client may leave answers unread.
    pub unread: Duration,
    /// How long the end of the server waits for what is under way.
    pub ending: Duration,
}

impl Limits {
    /// For clients on the same host.
    ///
    /// `nbdcopy` and QEMU open 4 to 16 connections with 64 requests of 256 KiB each; more does not make them faster. A
    /// client on the same host has chosen within milliseconds. One that reads nothing for a minute is stopped for good; a
    /// debugger would not be missed longer.
    pub const LOCAL: Self = Self {
        sessions_max: 16,
        requests_max: 128,
        bytes_max: ByteSize(32 << 20),
        handshake: Duration::from_secs(10),
        unread: Duration::from_secs(60),
        ending: Duration::from_secs(5),
    };
}
