//! The true time of a run, which nobody in it can read, and the clocks of its hosts, which drift.

use crate::dice::Dice;
use pan_member::Tick;
use std::collections::BinaryHeap;

/// A millisecond in nanoseconds of true time.
pub const MS: u64 = 1_000_000;
/// A second in nanoseconds of true time.
pub const SECOND: u64 = 1000 * MS;
/// What wall clocks show when a run begins, in microseconds since 1970.
pub const WALL: i64 = 1_700_000_000_000_000;

/// A host's boot clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    offset: u64,
    /// Its speed; a thousand is that of true time.
    permille: u64,
}

impl Clock {
    /// Off by up to `drift` thousandths.
    #[must_use]
    pub fn draw(dice: &mut Dice, drift: u64) -> Self {
        Self { offset: dice.below(1000) * SECOND, permille: 1000 - drift + dice.below(2 * drift + 1) }
    }

    /// What it shows at a point of true time.
    #[must_use]
    pub const fn read(self, now: u64) -> Tick {
        Tick(self.offset + now / 1000 * self.permille + now % 1000 * self.permille / 1000)
    }

    /// The first point of true time at which it shows `tick` or later.
    #[must_use]
    pub const fn reaches(self, tick: Tick) -> u64 {
        let shown = tick.0.saturating_sub(self.offset);
        let guess = (shown / self.permille) * 1000 + (shown % self.permille) * 1000 / self.permille;
        guess + 1000
    }
}

struct Due<T> {
    at: u64,
    number: u64,
    what: T,
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<T> Eq for Due<T> {}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Due<T> {
    /// The earliest is the greatest: the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// What is to happen, earliest first, and in the order of arrival where that is the same.
pub struct Queue<T> {
    heap: BinaryHeap<Due<T>>,
    number: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), number: 0 }
    }
}

impl<T> Queue<T> {
    /// Puts something in.
    pub fn push(&mut self, at: u64, what: T) {
        self.number += 1;
        self.heap.push(Due { at, number: self.number, what });
    }

    /// Takes what is due until `until`, if anything is: when, and what.
    pub fn pop(&mut self, until: u64) -> Option<(u64, T)> {
        if self.first()? > until {
            return None;
        }
        self.heap.pop().map(|due| (due.at, due.what))
    }

    /// When the first is due.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.heap.peek().map(|due| due.at)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.heap.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_what_it_was_said_to_reach() {
        let mut dice = Dice::new(1);
        for _ in 0..1000 {
            let clock = Clock::draw(&mut dice, 10);
            let tick = clock.read(dice.below(100 * SECOND));
            let at = clock.reaches(tick);
            assert!(clock.read(at) >= tick, "{clock:?} {tick:?}");
            assert!(clock.read(at.saturating_sub(5000)) <= tick, "{clock:?} {tick:?}");
        }
    }

    #[test]
    fn a_queue_is_in_order_of_time_then_of_arrival() {
        let mut queue = Queue::default();
        for (at, what) in [(5, 'c'), (3, 'a'), (3, 'b'), (9, 'd')] {
            queue.push(at, what);
        }
        let mut out = String::new();
        while let Some((_, what)) = queue.pop(5) {
            out.push(what);
        }
        assert_eq!((out.as_str(), queue.first()), ("abc", Some(9)));
    }
}
