//! Deadlines that move: a timer is armed once and looked at again when it fires, because most of the time it is not the
//! deadline that comes but the next byte.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Wakes a task at or before a deadline.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether the deadline is over. If not, the task will be woken to ask again, by then at the latest.
    pub fn over(&mut self, deadline: Instant, context: &mut Context<'_>) -> bool {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        // As long as the timer runs there is no need to look at a clock, which is asked for with every request and byte.
        while sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}

/// How long somebody waits for the next byte, and for all of them.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    whole: Option<Instant>,
    /// When it was first asked for the next byte in vain.
    since: Option<Instant>,
    alarm: Alarm,
}

impl Patience {
    /// Begins now.
    pub fn new(limit: Duration, whole: Option<Instant>) -> Self {
        Self { limit, whole, since: None, alarm: Alarm::default() }
    }

    /// Between two bytes.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// A byte came.
    pub fn progress(&mut self) {
        self.since = None;
    }

    /// Whether it is at its end; to be asked when nothing came.
    pub fn over(&mut self, context: &mut Context<'_>) -> bool {
        let deadline = *self.since.get_or_insert_with(Instant::now) + self.limit;
        self.alarm.over(self.whole.map_or(deadline, |whole| whole.min(deadline)), context)
    }

    /// Whether the time for all of it is over, which bytes do not prolong.
    pub fn whole_over(&self) -> bool {
        self.whole.is_some_and(|whole| whole <= Instant::now())
    }
}
