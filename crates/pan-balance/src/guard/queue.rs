//! A queue for requests that find all servers full: bounded, in order, and none waits beyond its deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

/// Nobody else may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull {
    /// How many wait.
    pub waiting: usize,
}

impl fmt::Display for QueueFull {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} requests wait already, which is as many as may", self.waiting)
    }
}

impl std::error::Error for QueueFull {}

/// First come, first served, by deadline out. All is O(log waiting).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    most: usize,
    next: u64,
    waiting: BTreeMap<Place, Duration>,
    deadlines: BTreeSet<(Duration, Place)>,
}

impl Queue {
    /// A queue for so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, next: 0, waiting: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    /// Puts a request at the end.
    ///
    /// # Errors
    /// As many wait as may. Those whose deadline is over count until [`Queue::expired`] has taken them out.
    pub fn enter(&mut self, deadline: Duration) -> Result<Place, QueueFull> {
        if self.waiting.len() >= self.most {
            return Err(QueueFull { waiting: self.waiting.len() });
        }
        let place = Place(self.next);
        self.next += 1;
        self.waiting.insert(place, deadline);
        self.deadlines.insert((deadline, place));
        Ok(place)
    }

    /// Takes out one whose deadline is over at `now`, the earliest first. Call until it says nothing.
    pub fn expired(&mut self, now: Duration) -> Option<Place> {
        let (_, place) = *self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.leave(place);
        Some(place)
    }

    /// Takes out the first whose deadline is not over. Those before it whose deadline is over stay for
    /// [`Queue::expired`].
    pub fn next(&mut self, now: Duration) -> Option<Place> {
        let place = *self.waiting.iter().find(|(_, deadline)| **deadline > now)?.0;
        self.leave(place);
        Some(place)
    }

    /// The client went away. Says whether it was still waiting.
    pub fn leave(&mut self, place: Place) -> bool {
        let Some(deadline) = self.waiting.remove(&place) else { return false };
        self.deadlines.remove(&(deadline, place))
    }

    /// When the next deadline is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
