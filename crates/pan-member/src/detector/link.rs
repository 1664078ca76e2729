//! One fabric of one host.

use std::time::Duration;

use crate::profile::Timing;
use crate::tick::Tick;

/// Heartbeats in a row that bring a link back: a link that loses most of its packets stays down.
const BEATS_TO_RETURN: u32 = 3;

#[derive(Debug, Clone)]
pub(super) struct Link {
    status: Status,
    /// Silence counts from here: the last heartbeat, or when we began to expect one.
    base: Tick,
    /// Time since `base` in which we could not have noticed anything.
    credit: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Nothing said about it yet.
    Unknown,
    Up,
    Down {
        beats: u32,
    },
}

impl Link {
    pub(super) fn new(base: Tick) -> Self {
        Self { status: Status::Unknown, base, credit: Duration::ZERO }
    }

    /// The host died: nothing is said about its links until it is heard again.
    pub(super) fn forget_status(&mut self) {
        self.status = Status::Unknown;
    }

    /// Expects heartbeats from `now` on, whatever was before.
    pub(super) fn expect_from(&mut self, now: Tick) {
        if now > self.base {
            (self.base, self.credit) = (now, Duration::ZERO);
        }
    }

    /// Takes a heartbeat; says whether the link came up by it.
    pub(super) fn hear(&mut self, received: Tick, timing: &Timing) -> bool {
        let in_a_row = self.silence(received) < timing.suspect_after();
        self.expect_from(received);
        let next = match self.status {
            Status::Unknown | Status::Up => Status::Up,
            Status::Down { beats } if in_a_row && beats + 1 >= BEATS_TO_RETURN => Status::Up,
            Status::Down { beats } => Status::Down { beats: if in_a_row { beats + 1 } else { 1 } },
        };
        let came_up = next == Status::Up && self.status != Status::Up;
        self.status = next;
        came_up
    }

    /// Says for how long the link was silent, if it goes down now.
    pub(super) fn judge(&mut self, now: Tick, timing: &Timing) -> Option<Duration> {
        let silence = self.silence(now);
        if silence < timing.link_down_after() || matches!(self.status, Status::Down { .. }) {
            return None;
        }
        self.status = Status::Down { beats: 0 };
        Some(silence)
    }

    pub(super) fn silence(&self, now: Tick) -> Duration {
        now.since(self.base).saturating_sub(self.credit)
    }

    /// When the link will have been silent for `duration`, if nothing happens.
    pub(super) fn silent_for_at(&self, duration: Duration) -> Tick {
        self.base.plus(self.credit).plus(duration)
    }

    /// When [`Link::judge`] would call it down; `None` if it is.
    pub(super) fn down_at(&self, timing: &Timing) -> Option<Tick> {
        let down = matches!(self.status, Status::Down { .. });
        (!down).then(|| self.silent_for_at(timing.link_down_after()))
    }

    /// We noticed nothing between `from` and `to`.
    pub(super) fn freeze(&mut self, from: Tick, to: Tick) {
        self.credit += to.since(from.max(self.base));
    }
}
