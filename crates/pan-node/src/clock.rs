//! The two clocks of a node: the boot clock for everything that waits, the wall clock for timelines.

use std::time::Duration;

use pan_member::Tick;

/// The boot clock now.
pub(crate) fn now() -> Tick {
    Tick(nanos(pan_linux::realtime::since_boot()))
}

/// Completes when the boot clock shows `until`.
pub(crate) async fn reach(until: Tick) {
    tokio::time::sleep(until.since(now())).await;
}

/// Microseconds since 1970, for people.
pub(crate) fn wall_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
