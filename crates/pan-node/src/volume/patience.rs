//! For how long a device is waited for that nobody uses any more: as long as its storage takes what is written out, however long that
//! is, and not much longer. Pure.

use std::time::Duration;

use pan_member::Tick;

/// How long something may wait for the head while nothing at all gets done. Four times what a head puts up with in a replica (5 s):
/// if there were storage that could do it, another copy or another attempt would have by then.
pub const STILL_MAX: Duration = Duration::from_secs(20);
/// A machine has at most a fifth of its memory to write out; of 256 GiB that takes an hour at 15 MB/s.
pub const LONG_MAX: Duration = Duration::from_secs(3600);
/// How often it is looked what got done.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a device has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// A number that grows with everything that gets done.
    pub done: u64,
    /// Whether something waits for the head. A device that is merely held open waits for nothing.
    pub waits: bool,
}

/// Why what waits for a head is let fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// Nothing got done for [`STILL_MAX`].
    Still,
    /// It took [`LONG_MAX`].
    Long,
    /// Somebody else may have the right to write it by now: nothing of what is here can be written any more.
    Elsewhere,
    /// It is not wanted any more, and nobody has used it yet.
    Unused,
}

impl GivenUp {
    /// For people, where data was at stake that nobody had been promised.
    #[must_use]
    pub fn words(self) -> Option<String> {
        let what = match self {
            Self::Still => format!("its storage did nothing for {} s", STILL_MAX.as_secs()),
            Self::Long => format!("its storage did not take all of it within {} minutes", LONG_MAX.as_secs() / 60),
            Self::Elsewhere | Self::Unused => return None,
        };
        Some(format!("{what}, and what was not acknowledged yet is given up"))
    }
}

/// What is remembered from look to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    began: Tick,
    moved: Tick,
    done: u64,
}

impl Patience {
    /// Begins to wait.
    #[must_use]
    pub fn begin(seen: Progress, now: Tick) -> Self {
        Self { began: now, moved: now, done: seen.done }
    }

    /// What is seen now.
    pub fn look(&mut self, seen: Progress, now: Tick) {
        if seen.done != self.done || !seen.waits {
            (self.done, self.moved) = (seen.done, now);
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn over(&self, now: Tick) -> Option<GivenUp> {
        if now >= self.moved.plus(STILL_MAX) {
            return Some(GivenUp::Still);
        }
        (now >= self.began.plus(LONG_MAX)).then_some(GivenUp::Long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick(0).plus(Duration::from_secs(seconds))
    }

    /// What is seen in each second, and when it is over.
    fn check(seen: impl Fn(u64) -> Progress, expected: Option<(u64, GivenUp)>) {
        let mut patience = Patience::begin(seen(0), at(0));
        let found = (1..2 * LONG_MAX.as_secs()).find_map(|second| {
            patience.look(seen(second), at(second));
            patience.over(at(second)).map(|why| (second, why))
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn it_lasts_as_long_as_something_gets_done_and_nobody_waits_for_nothing() {
        let (still, long) = (STILL_MAX.as_secs(), LONG_MAX.as_secs());
        check(|_| Progress { done: 7, waits: true }, Some((still, GivenUp::Still)));
        // A slow disk: something every 19 seconds, for 190 seconds.
        let slow = |second: u64| Progress { done: second.min(190) / (still - 1), waits: true };
        check(slow, Some((190 + still, GivenUp::Still)));
        // Held open by somebody, without anything to be done; that begins to be so or ends at some time.
        check(|_| Progress { done: 7, waits: false }, Some((long, GivenUp::Long)));
        check(|second| Progress { done: 7, waits: second > 100 }, Some((100 + still, GivenUp::Still)));
        // It never ends.
        check(|second| Progress { done: second, waits: true }, Some((long, GivenUp::Long)));
    }

    #[test]
    fn a_device_that_starts_to_count_again_has_done_something() {
        check(|second| Progress { done: if second < 10 { 900 } else { 3 }, waits: true }, Some((10 + STILL_MAX.as_secs(), GivenUp::Still)));
    }
}
