//! Quarantine: a node that dies again and again gets no servers for a while, each time for longer.
//!
//! A death counts if it was not planned, and if the node had been heard: one that has just joined, or that a controller knows from
//! its records only, may be given up before its first heartbeat arrives. A minute of health after a death forgives it: what
//! comes later begins a new count. Three that count within ten minutes make a quarantine.

use std::collections::VecDeque;
use std::time::Duration;

use crate::tick::Tick;

/// So many deaths that count...
const DEATHS: usize = 3;
/// ...within this time make a quarantine.
const WINDOW: Duration = Duration::from_secs(600);
/// Health that forgives the deaths before it.
const HEALTH: Duration = Duration::from_secs(60);
/// The first quarantine; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(600);
/// The longest: by then somebody has had a working day to look at the node.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Time without a quarantine after which the next is a first one again.
const FORGET: Duration = Duration::from_secs(7 * 24 * 3600);

/// Whether somebody wanted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Shut down, drained, removed: does not count.
    Planned,
    /// Everything else.
    Unplanned,
}

/// One node's record.
#[derive(Debug, Clone, Default)]
pub struct Quarantine {
    deaths: VecDeque<Tick>,
    alive_since: Option<Tick>,
    strikes: u32,
    until: Option<Tick>,
}

/// What of a record outlives whoever keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// Deaths that count.
    pub deaths: Vec<Tick>,
    /// Quarantines so far that are not forgotten.
    pub strikes: u32,
    /// The end of the last one.
    pub until: Option<Tick>,
}

impl Quarantine {
    /// What is to be kept.
    #[must_use]
    pub fn times(&self) -> Times {
        Times { deaths: self.deaths.iter().copied().collect(), strikes: self.strikes, until: self.until }
    }

    /// Goes on with what was kept; whether the node is alive is not a part of it.
    pub fn recall(&mut self, kept: Times) {
        let Times { deaths, strikes, until } = kept;
        *self = Self { deaths: deaths.into(), alive_since: self.alive_since, strikes, until };
    }

    /// A clean record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The node is alive (again).
    pub fn on_alive(&mut self, now: Tick) {
        self.alive_since.get_or_insert(now);
    }

    /// The node died. Returns until when it is quarantined, if this death brings that about.
    pub fn on_death(&mut self, death: Death, now: Tick) -> Option<Tick> {
        let health = now.since(self.alive_since.take()?);
        if health >= HEALTH {
            self.deaths.clear();
        }
        match death {
            Death::Planned => return None,
            Death::Unplanned => self.deaths.push_back(now),
        }
        while self.deaths.front().is_some_and(|first| now.since(*first) > WINDOW) {
            self.deaths.pop_front();
        }
        if self.deaths.len() < DEATHS {
            return None;
        }
        self.deaths.clear();
        if self.until.is_some_and(|until| now.since(until) >= FORGET) {
            self.strikes = 0;
        }
        let term = FIRST.saturating_mul(2_u32.saturating_pow(self.strikes)).min(LONGEST);
        self.strikes += 1;
        self.until = Some(now.plus(term));
        self.until
    }

    /// Until when the node is quarantined; `None` if it is not.
    #[must_use]
    pub fn until(&self, now: Tick) -> Option<Tick> {
        self.until.filter(|until| now < *until)
    }

    /// An operator vouches for the node: the record is clean.
    pub fn clear(&mut self) {
        *self = Self { alive_since: self.alive_since, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Tick {
        Tick(seconds * SECOND)
    }

    /// A node that has just been heard for the first time.
    fn heard() -> Quarantine {
        let mut record = Quarantine::new();
        record.on_alive(at(0));
        record
    }

    #[test]
    fn who_was_never_heard_cannot_die() {
        let mut record = Quarantine::new();
        assert_eq!(record.on_death(Death::Unplanned, at(3)), None);
        record.on_alive(at(4));
        assert_eq!([dies(&mut record, 10), dies(&mut record, 20), dies(&mut record, 30)], [None, None, Some(630)]);
        // Given up twice in a row without having been heard in between: one death.
        let mut record = heard();
        assert_eq!([1, 2, 3].map(|now| record.on_death(Death::Unplanned, at(now))), [None; 3]);
    }

    /// Dies at `now` and is back five seconds later.
    fn dies(record: &mut Quarantine, now: u64) -> Option<u64> {
        let until = record.on_death(Death::Unplanned, at(now));
        record.on_alive(at(now + 5));
        until.map(|until| until.0 / SECOND)
    }

    #[test]
    fn three_quick_deaths_are_too_many() {
        let mut record = heard();
        assert_eq!([dies(&mut record, 0), dies(&mut record, 20), dies(&mut record, 40)], [None, None, Some(640)]);
        assert_eq!(record.until(at(639)), Some(at(640)));
        assert_eq!(record.until(at(640)), None);
    }

    #[test]
    fn a_minute_of_health_forgives() {
        let mut record = heard();
        let deaths = [0, 64, 129, 193].map(|now| dies(&mut record, now));
        assert_eq!(deaths, [None; 4], "64 s apart is 59 s of health, but 65 s apart is a minute");
    }

    #[test]
    fn planned_deaths_do_not_count() {
        let mut record = heard();
        for round in 0..9 {
            assert_eq!(record.on_death(Death::Planned, at(round)), None);
            record.on_alive(at(round));
        }
        assert_eq!(dies(&mut record, 10), None);
    }

    #[test]
    fn deaths_far_apart_do_not_add_up() {
        let mut record = heard();
        let deaths = [0, 301, 602, 903].map(|now| {
            let until = record.on_death(Death::Unplanned, at(now));
            // Not for long enough to be forgiven.
            record.on_alive(at(now + 290));
            until
        });
        assert_eq!(deaths, [None; 4]);
    }

    #[test]
    fn it_grows_up_to_a_day_and_is_forgotten_in_a_week() {
        let mut record = heard();
        let mut now = 0;
        let mut terms = Vec::new();
        for _ in 0..10 {
            let until = [0, 10, 20].map(|later| dies(&mut record, now + later))[2].unwrap();
            terms.push((until - now - 20) / 60);
            now = until;
        }
        assert_eq!(terms, [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
        now += 8 * 24 * 3600;
        let again = [0, 10, 20].map(|later| dies(&mut record, now + later))[2];
        assert_eq!(again, Some(now + 20 + 600));
    }

    #[test]
    fn an_operator_can_clear_it() {
        let mut record = heard();
        assert!([0, 10, 20].map(|now| dies(&mut record, now))[2].is_some());
        record.clear();
        assert_eq!(record.until(at(21)), None);
        assert_eq!([30, 40].map(|now| dies(&mut record, now)), [None; 2]);
    }
}
