//! How old what this controller shows can be, and when that is too old to be told.
//!
//! Every transaction writes the leader's record. So whoever shows the record as the store had it at some moment shows everything that was
//! committed until then: reading that one record, past all that is followed, proves how new the rest is.

use pan_member::{Tick, Timing};
use std::collections::VecDeque;
use std::time::Duration;

/// A version of the leader's record, as the store counts; zero: there never was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark(pub u64);

/// Readings that wait to be shown, at most: three times as many as there are in the longest age that is told. What comes later than that
/// proves nothing of use.
const WAITING_MAX: usize = 3 * READINGS as usize;

/// Readings of the record within the longest age that is told: one may be lost, and one late.
const READINGS: u32 = 5;

/// How old what is told may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(Option<Duration>);

impl Limit {
    /// As long as a leader bears with a store that does not answer. An election of etcd is over by then, so who does not reach the store even
    /// now is cut off from it, and another controller may lead and have committed more. One that is alone knows all there is to know.
    #[must_use]
    pub fn of(timing: &Timing, controllers: usize) -> Self {
        Self((controllers > 1).then_some(timing.store_silence))
    }

    /// How often the record is read.
    #[must_use]
    pub fn reading(timing: &Timing) -> Duration {
        timing.store_silence / READINGS
    }
}

/// Too old to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOld {
    /// How old; none: it was never found to be the newest.
    pub age: Option<Duration>,
    /// How old it may be.
    pub max: Duration,
}

/// What is known of how new that is which is shown.
#[derive(Debug, Default)]
pub struct Known {
    shown: Mark,
    /// The last moment of which it is proved that everything committed until then is shown.
    as_of: Option<Tick>,
    /// Readings that began at a moment, and found more than is shown yet.
    waiting: VecDeque<(Tick, Mark)>,
}

impl Known {
    /// The record was read, which began at `at`, and found to be `mark`.
    pub fn read(&mut self, at: Tick, mark: Mark) {
        // Those that wait longest are shown first.
        if self.waiting.len() < WAITING_MAX || mark <= self.shown {
            self.waiting.push_back((at, mark));
        }
        self.prove();
    }

    /// From now on `mark` is shown, with all that was committed with it and before it.
    pub fn shows(&mut self, mark: Mark) {
        self.shown = mark;
        self.prove();
    }

    fn prove(&mut self) {
        let shown = self.shown;
        let proved = self.waiting.iter().filter(|(_, mark)| *mark <= shown).map(|(at, _)| *at).max();
        self.waiting.retain(|(_, mark)| *mark > shown);
        self.as_of = self.as_of.max(proved);
    }

    /// How old what is shown can be; none: nothing was read yet.
    #[must_use]
    pub fn age(&self, now: Tick) -> Option<Duration> {
        self.as_of.map(|at| now.since(at))
    }

    /// The age to be told with what is shown, to somebody who bears with `more` than the limit.
    ///
    /// # Errors
    /// [`TooOld`]: it is not to be told.
    pub fn told(&self, now: Tick, limit: Limit, more: Duration) -> Result<Option<Duration>, TooOld> {
        let age = self.age(now);
        let Some(max) = limit.0 else { return Ok(age) };
        match age {
            Some(age) if age <= max.saturating_add(more) => Ok(Some(age)),
            None if more == Duration::MAX => Ok(None),
            Some(_) | None => Err(TooOld { age, max }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_member::Profile;

    const MS: u64 = 1_000_000;

    /// Feeds `r AT MARK` and `s MARK`, and looks at the moments at which what is shown was the newest (milliseconds; `-`: never).
    fn check(steps: &str, wanted: &str) {
        let mut known = Known::default();
        let mut found = Vec::new();
        for step in steps.split(", ") {
            let words: Vec<&str> = step.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            match words[0] {
                "r" => known.read(Tick(number(1) * MS), Mark(number(2))),
                "s" => known.shows(Mark(number(1))),
                other => panic!("{other}"),
            }
            let now = Tick(1_000_000 * MS);
            found.push(known.age(now).map_or_else(|| "-".to_owned(), |age| (1_000_000 - age.as_millis()).to_string()));
        }
        assert_eq!(found.join(" "), wanted, "{steps}");
    }

    #[test]
    fn what_is_shown_is_as_new_as_the_last_reading_that_found_no_more() {
        check("r 5 0, s 0, r 9 0", "5 5 9");
        check("s 3, r 5 3, r 6 2, r 7 3", "- 5 6 7");
        // A reading that found more counts once that is shown, from when it began.
        check("s 3, r 5 3, r 7 4, r 9 4, s 4, r 11 5, s 4, s 6", "- 5 5 5 9 9 9 11");
        // Who shows nothing new while others commit grows old, however often it reads.
        check("s 3, r 5 3, r 6 4, r 7 5, r 8 6, s 4, s 5", "- 5 5 5 5 6 7");
        // A late answer does not make it older.
        check("s 3, r 9 3, r 5 3", "- 9 9");
    }

    #[test]
    fn readings_that_are_never_shown_are_forgotten() {
        let mut known = Known::default();
        for at in 1..=1000 {
            known.read(Tick(at * MS), Mark(at));
        }
        assert_eq!(known.waiting.len(), WAITING_MAX);
        // It is far behind, and what is shown next proves something all the same.
        known.shows(Mark(3));
        assert_eq!((known.waiting.len(), known.age(Tick(1000 * MS))), (WAITING_MAX - 3, Some(Duration::from_millis(997))));
        known.shows(Mark(1000));
        known.read(Tick(1001 * MS), Mark(1000));
        assert_eq!((known.waiting.len(), known.age(Tick(1001 * MS))), (0, Some(Duration::ZERO)));
    }

    #[test]
    fn what_is_older_than_a_leader_bears_with_is_not_told_unless_asked_for() {
        let (zero, ms) = (Duration::ZERO, Duration::from_millis);
        for profile in Profile::ALL {
            let timing = profile.timing(7);
            let (limit, max) = (Limit::of(&timing, 3), timing.store_silence);
            let mut known = Known::default();
            assert_eq!(known.told(Tick(0), limit, zero), Err(TooOld { age: None, max }), "nothing was read yet");
            assert_eq!(known.told(Tick(0), limit, Duration::MAX), Ok(None));
            known.read(Tick(0), Mark(0));
            let last = Tick(0).plus(max);
            assert_eq!(known.told(last, limit, zero), Ok(Some(max)));
            let age = max + ms(1);
            assert_eq!(known.told(last.plus(ms(1)), limit, zero), Err(TooOld { age: Some(age), max }));
            assert_eq!(known.told(last.plus(ms(1)), limit, ms(1)), Ok(Some(age)));
            assert_eq!(
                known.told(last.plus(ms(1)), Limit::of(&timing, 1), zero),
                Ok(Some(age)),
                "nobody knows more than one that is alone"
            );
            assert!(Limit::reading(&timing) * 3 < max, "a reading may be lost and another late");
        }
    }
}
