//! How long a silence must be to count, given how often leaders have changed.

use std::collections::VecDeque;
use std::time::Duration;

use crate::tick::Tick;

/// A leader younger than this is given more time.
const YOUNG: Duration = Duration::from_secs(2);
/// So many changes...
const CHANGES_MAX: usize = 3;
/// ...within this time are flapping.
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default)]
pub(super) struct Patience {
    changes: VecDeque<Tick>,
}

impl Patience {
    /// The leader record changed.
    pub(super) fn changed(&mut self, now: Tick) {
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(now);
    }

    /// The silence that counts at `now`, where `silence` is the usual one.
    pub(super) fn needed(&self, silence: Duration, now: Tick) -> Duration {
        let flapping = self.changes.len() == CHANGES_MAX && self.changes.front().is_some_and(|first| now.since(*first) < WINDOW);
        let young = self.changes.back().is_some_and(|last| now.since(*last) < YOUNG);
        match (young, flapping) {
            (true, true) => YOUNG.max(silence * 2),
            (true, false) => silence * 2,
            (false, _) => silence,
        }
    }
}
