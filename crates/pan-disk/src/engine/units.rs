//! Which units of the data file are in use, how often, and when one that is not may be used again or given back.
//!
//! A unit that lost its last reference waits. Until the record that freed it is known to be durable *by a later record that is
//! durable as well*, a crash may bring the reference back, or may need the unit's content to tell how far the journal holds.

use std::collections::{BTreeMap, VecDeque};

use crate::{Place, Seq};

/// Free units that keep their space, because writing to them is faster than to new ones: 64 MiB.
const WARM_MAX: u64 = 1024;
/// Runs that are looked at for one that is long enough, before a shorter one is taken.
const LOOKED_AT_MAX: usize = 64;

/// Until when a unit waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// This record is known to be durable, and a record that says so is.
    Marked(Seq),
    /// The checkpoint of this generation is complete.
    Committed(u64),
}

/// What becomes of a unit once it has waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It was overwritten: another write will need it.
    Reuse,
    /// It was given back: so is its space.
    Punch,
}

/// Whether the space of free units was given back before a pool is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenBack {
    /// It was closed.
    Yes,
    /// It was not.
    Perhaps,
}

/// Consecutive units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub first: Place,
    pub count: u64,
}

#[derive(Debug, Default)]
struct Runs {
    by_first: BTreeMap<u64, u64>,
    total: u64,
}

impl Runs {
    fn insert(&mut self, run: Run) {
        let (mut first, mut count) = (run.first.0, run.count);
        self.total += count;
        if let Some((before, length)) = self.by_first.range(..first).next_back().map(|(before, length)| (*before, *length))
            && before + length == first
        {
            self.by_first.remove(&before);
            (first, count) = (before, length + count);
        }
        if let Some(length) = self.by_first.remove(&(first + count)) {
            count += length;
        }
        self.by_first.insert(first, count);
    }

    /// Takes a run of at most `count`, of all `count` where one is found soon.
    fn take(&mut self, count: u64) -> Option<Run> {
        let long = self.by_first.iter().take(LOOKED_AT_MAX).find(|(_, length)| **length >= count);
        let (first, length) = long.or_else(|| self.by_first.iter().next()).map(|(first, length)| (*first, *length))?;
        let count = count.min(length);
        self.by_first.remove(&first);
        if length > count {
            self.by_first.insert(first + count, length - count);
        }
        self.total -= count;
        Some(Run { first: Place(first), count })
    }
}

#[derive(Debug)]
struct Waiting {
    place: Place,
    ticket: u64,
    until: Until,
    then: Then,
}

/// All units of the data file.
#[derive(Debug, Default)]
pub struct Units {
    /// How many pages name the place, from place 1 on.
    references: Vec<u32>,
    warm: Runs,
    cold: Runs,
    waiting: VecDeque<Waiting>,
    /// Which of those still do: a place that is used again while it waits does not.
    tickets: BTreeMap<Place, u64>,
    ticket_last: u64,
    to_punch: Runs,
}

impl Units {
    /// Counts a reference, while a pool is being opened.
    pub fn count(&mut self, place: Place) {
        let index = place.0 as usize - 1;
        if self.references.len() <= index {
            self.references.resize(index + 1, 0);
        }
        self.references[index] += 1;
        self.tickets.remove(&place);
    }

    /// After all references were counted: what has none, and does not wait, is free. Its space was given back, or is to be.
    pub fn counted(&mut self, given_back: GivenBack) {
        let free = |(index, references): (usize, &u32)| (*references == 0).then_some(index as u64 + 1);
        let places: Vec<u64> =
            self.references.iter().enumerate().filter_map(free).filter(|place| !self.tickets.contains_key(&Place(*place))).collect();
        for place in places {
            let run = Run { first: Place(place), count: 1 };
            match given_back {
                GivenBack::Yes => self.cold.insert(run),
                GivenBack::Perhaps => self.to_punch.insert(run),
            }
        }
    }

    /// One more page names this place.
    pub fn share(&mut self, place: Place) {
        self.references[place.0 as usize - 1] += 1;
    }

    /// Whether more than one page names this place.
    pub fn is_shared(&self, place: Place) -> bool {
        self.references[place.0 as usize - 1] > 1
    }

    /// One page fewer names this place.
    pub fn release(&mut self, place: Place, until: Until, then: Then) {
        let references = &mut self.references[place.0 as usize - 1];
        assert!(*references > 0, "a place that no page names cannot lose a reference");
        *references -= 1;
        if *references == 0 {
            self.ticket_last += 1;
            self.tickets.insert(place, self.ticket_last);
            self.waiting.push_back(Waiting { place, ticket: self.ticket_last, until, then });
        }
    }

    /// Takes `count` units into use, in as few runs as are found.
    pub fn allocate(&mut self, count: u64) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut left = count;
        while left > 0 {
            let run = self.warm.take(left).or_else(|| self.cold.take(left)).unwrap_or_else(|| {
                let first = Place(self.references.len() as u64 + 1);
                self.references.resize(self.references.len() + left as usize, 0);
                Run { first, count: left }
            });
            let first = run.first.0 as usize - 1;
            self.references[first..first + run.count as usize].fill(1);
            left -= run.count;
            runs.push(run);
        }
        runs
    }

    /// Gives back what was allocated and came into no page.
    pub fn abandon(&mut self, run: Run) {
        let first = run.first.0 as usize - 1;
        self.references[first..first + run.count as usize].fill(0);
        self.to_punch.insert(run);
    }

    /// Ends the waiting of whatever has waited long enough.
    pub fn settle(&mut self, marked: Seq, generation: u64) {
        while let Some(Waiting { place, ticket, until, then }) = self.waiting.front() {
            let over = match *until {
                Until::Marked(seq) => seq <= marked,
                Until::Committed(wanted) => wanted <= generation,
            };
            if !over {
                return;
            }
            let (run, ticket, then) = (Run { first: *place, count: 1 }, *ticket, *then);
            self.waiting.pop_front();
            if self.tickets.get(&run.first) != Some(&ticket) {
                continue;
            }
            self.tickets.remove(&run.first);
            match then {
                Then::Reuse if self.warm.total < WARM_MAX => self.warm.insert(run),
                Then::Reuse | Then::Punch => self.to_punch.insert(run),
            }
        }
    }

    /// Whether something waits.
    pub fn waits(&self) -> bool {
        !self.tickets.is_empty()
    }

    /// How many units are to be given back.
    pub const fn to_punch(&self) -> u64 {
        self.to_punch.total
    }

    /// Takes some units whose space is to be given back; [`punched`](Self::punched) must follow.
    pub fn take_to_punch(&mut self) -> Option<Run> {
        self.to_punch.take(u64::MAX)
    }

    /// Their space was given back.
    pub fn punched(&mut self, run: Run) {
        self.cold.insert(run);
    }

    /// Space that was kept for the next writes is to be given back as well.
    pub fn cool(&mut self) {
        while let Some(run) = self.warm.take(u64::MAX) {
            self.to_punch.insert(run);
        }
    }

    /// Units that the data file has room for.
    pub const fn total(&self) -> u64 {
        self.references.len() as u64
    }

    /// Units that hold something.
    pub fn used(&self) -> u64 {
        self.total() - self.warm.total - self.cold.total - self.to_punch.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn no_unit_is_given_twice_and_none_gets_lost(steps in proptest::collection::vec((0u8..4, 1u64..20), 1..200)) {
            let mut units = Units::default();
            let mut held: BTreeSet<u64> = BTreeSet::new();
            let mut seq = 0;
            for (step, count) in steps {
                match step {
                    0 | 1 => {
                        for run in units.allocate(count) {
                            for place in run.first.0..run.first.0 + run.count {
                                prop_assert!(held.insert(place), "{} is held", place);
                            }
                        }
                    }
                    2 => {
                        seq += 1;
                        for place in held.iter().copied().take(count as usize).collect::<Vec<_>>() {
                            held.remove(&place);
                            units.release(Place(place), Until::Marked(Seq(seq)), if count % 2 == 0 { Then::Reuse } else { Then::Punch });
                        }
                    }
                    _ => {
                        units.settle(Seq(seq), 0);
                        while let Some(run) = units.take_to_punch() {
                            units.punched(run);
                        }
                        prop_assert!(!units.waits());
                        prop_assert_eq!(units.used(), held.len() as u64);
                    }
                }
            }
        }
    }
}
