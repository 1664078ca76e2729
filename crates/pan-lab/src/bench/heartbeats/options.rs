//! What the measurement is asked for, and by which clock it tells the time of day.

use std::path::PathBuf;
use std::time::Duration;

/// What to measure and how.
#[derive(Debug, Clone)]
pub struct HeartbeatsOptions {
    /// How many hosts beat.
    pub hosts: u16,
    /// How many of them fall silent, one after the other.
    pub runs: u32,
    /// How long all are heard before.
    pub length: Duration,
    /// Timing profile: `lan`, `shared` or `wan`.
    pub profile: String,
    /// Between two heartbeats of a host, if it is not to be what the profile says for so many hosts.
    pub period: Option<Duration>,
    /// Whether the laboratory is left running.
    pub keep: bool,
    /// The `pan` program.
    pub exe: PathBuf,
}

/// The wall clock, in microseconds since 1970.
pub(super) fn now_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
