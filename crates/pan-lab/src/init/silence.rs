//! When a role that says nothing is taken to stand still.

use std::time::{Duration, Instant};

/// How long a role may say nothing. As long as its node's servers are left alone without an agent: whoever ends it sooner takes a
/// machine that is merely busy for one that hangs.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How often to look.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// One run of a role, as it is heard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silence {
    /// When it was heard last; nothing before it was heard once.
    heard: Option<Instant>,
    looked: Instant,
}

impl Silence {
    pub(super) const fn new(now: Instant) -> Self {
        Self { heard: None, looked: now }
    }

    /// It said something.
    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// A look: whether it stands still. The time in which nobody looked is not counted: who looks stood still as well.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let away = now.saturating_duration_since(self.looked) > 2 * LOOK;
        self.looked = now;
        if away && self.heard.is_some() {
            self.heard = Some(now);
        }
        self.heard.is_some_and(|heard| now.saturating_duration_since(heard) >= SILENCE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a second; whether it was found to stand still, and after how many seconds.
    fn found(silence: &mut Silence, from: Instant, said: impl Fn(u32) -> bool) -> Option<u32> {
        (1..60).find(|second| {
            let now = from + LOOK * *second;
            if said(*second) {
                silence.heard(now);
            }
            silence.look(now)
        })
    }

    #[test]
    fn who_says_nothing_for_ten_seconds_stands_still() {
        let now = Instant::now();
        assert_eq!(found(&mut Silence::new(now), now, |second| second % 5 == 0), None);
        assert_eq!(found(&mut Silence::new(now), now, |second| second == 3), Some(13));
    }

    #[test]
    fn who_was_never_heard_is_not_judged() {
        let now = Instant::now();
        assert_eq!(found(&mut Silence::new(now), now, |_| false), None);
    }

    #[test]
    fn who_looks_and_stood_still_itself_counts_anew() {
        let now = Instant::now();
        let mut silence = Silence::new(now);
        silence.heard(now + LOOK);
        assert!(!silence.look(now + LOOK));
        let thawed = now + Duration::from_secs(60);
        assert!(!silence.look(thawed));
        assert_eq!(found(&mut silence, thawed, |_| false), Some(10));
    }
}
