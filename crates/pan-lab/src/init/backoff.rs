//! How long to wait before a role that ended is started again.

use std::time::{Duration, Instant};

/// A crash that heals by itself is over by then; nobody notices so short a gap.
const FIRST: Duration = Duration::from_millis(100);
/// A role that cannot start is tried this often, so that repairing its cause is soon enough noticed.
const MOST: Duration = Duration::from_secs(5);
/// Who ran this long has started properly: its next end is a new story.
const HEALTHY: Duration = Duration::from_secs(10);

/// Waiting times of one role: 100 ms, doubling to 5 s, from the start again after 10 s of running.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// When to start again, given when the role was started and that it ended `now`.
    pub(super) fn after_exit(&mut self, started: Instant, now: Instant) -> Instant {
        if now.saturating_duration_since(started) >= HEALTHY {
            self.next = FIRST;
        }
        let at = now + self.next;
        self.next = (self.next * 2).min(MOST);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_a_bound_and_starts_over() {
        let mut backoff = Backoff::new();
        let now = Instant::now();
        let mut waits = (0..8).map(|_| (backoff.after_exit(now, now) - now).as_millis());
        assert!(waits.by_ref().eq([100, 200, 400, 800, 1600, 3200, 5000, 5000]));
        drop(waits);
        let later = now + HEALTHY;
        assert_eq!(backoff.after_exit(now, later) - later, FIRST);
    }
}
