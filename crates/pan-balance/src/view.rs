//! What a picker sees: servers with what they are doing, who takes part with which weight, and what is asked.

use crate::ewma::PeakEwma;
use crate::pipeline::Refusal;
use std::time::Duration;

/// A server as picks see and change it: what it is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Server {
    /// Its fixed number. Servers are kept sorted by it; their places in that order are *positions*.
    pub index: u32,
    /// Requests (layer 7) or connections (layer 4) that it has now.
    pub in_flight: u32,
    /// Connections that are open and carry nothing; IPVS calls them inactive. 0 where nobody counts them.
    pub idle: u32,
    /// The most requests that it may have.
    pub in_flight_max: Option<u32>,
    /// How fast its node is in relation to others; what `tandem` compares by `capability`.
    pub capability: u32,
    /// How long it takes to answer.
    pub latency: PeakEwma,
}

impl Server {
    /// Whether it has as many requests as it may.
    #[must_use]
    pub fn full(&self) -> bool {
        self.in_flight_max.is_some_and(|most| self.in_flight >= most)
    }
}

/// Who takes part in one way of spreading, by position. Changes when servers, rules, health or weights do,
/// not with requests, but for `busy`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    /// Weights as configured, whatever the servers' state; hash tables are made of these, so that a server
    /// that fails for a while does not move other servers' keys.
    pub base: Vec<u32>,
    /// Weights now; 0 of a server that takes no part now.
    pub weights: Vec<u32>,
    /// Positions of those with a weight now, ascending.
    pub live: Vec<u32>,
    /// For each of `live`, the sum of the weights up to and with it.
    pub below: Vec<u64>,
    /// Requests that the live ones have together.
    pub busy: u64,
}

impl Roster {
    /// A roster in which everybody takes part with its configured weight.
    #[must_use]
    pub fn of(base: &[u32], servers: &[Server]) -> Self {
        let mut roster = Self { base: base.to_vec(), ..Self::default() };
        roster.set(base.iter().copied(), servers);
        roster
    }

    /// Sets the weights of now. O(servers), and without allocation when there are no more than before.
    pub fn set(&mut self, weights: impl Iterator<Item = u32>, servers: &[Server]) {
        self.weights.clear();
        self.live.clear();
        self.below.clear();
        self.busy = 0;
        let mut sum = 0_u64;
        for ((position, weight), server) in (0_u32..).zip(weights).zip(servers) {
            self.weights.push(weight);
            if weight > 0 {
                sum += u64::from(weight);
                self.live.push(position);
                self.below.push(sum);
                self.busy += u64::from(server.in_flight);
            }
        }
    }

    /// The sum of all weights now.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.below.last().copied().unwrap_or(0)
    }

    /// Whose turn a number below [`Roster::total`] is: each has as many as its weight. O(log servers).
    pub(crate) fn drawn(&self, number: u64) -> Option<usize> {
        self.live.get(self.below.partition_point(|sum| *sum <= number)).map(|position| *position as usize)
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ask<'a> {
    /// The hash of what decides affinity (client, header, path ...), if anything does. Whoever makes it out of
    /// what clients choose mixes a secret in, or they can choose the server.
    pub key: Option<u64>,
    /// Numbers of servers on which this request was tried already; few.
    pub tried: &'a [u32],
    /// The time, on the caller's clock.
    pub now: Duration,
}

/// All that a pick depends on, besides the picker's own memory and the numbers drawn.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// All servers, sorted by index.
    pub servers: &'a [Server],
    /// Who takes part.
    pub roster: &'a Roster,
    /// What is asked.
    pub ask: &'a Ask<'a>,
}

impl<'a> View<'a> {
    /// A weight as a number to calculate with.
    #[must_use]
    pub fn weight(&self, at: usize) -> u64 {
        u64::from(self.roster.weights[at])
    }

    /// Why the server at a position may not have this request; nothing if it may. Those that take no part are
    /// [`Refusal::NoWeight`] here; why they take none is known where the roster is made.
    #[must_use]
    pub fn shut(&self, at: usize) -> Option<Refusal> {
        let server = &self.servers[at];
        if self.roster.weights[at] == 0 {
            Some(Refusal::NoWeight)
        } else if server.full() {
            Some(Refusal::Full)
        } else if self.ask.tried.contains(&server.index) {
            Some(Refusal::Tried)
        } else {
            None
        }
    }

    /// Whether the server at a position may have this request.
    #[must_use]
    pub fn open(&self, at: usize) -> bool {
        self.shut(at).is_none()
    }

    /// All positions that may have this request.
    pub fn candidates(&self) -> impl Iterator<Item = usize> + use<'a> {
        let view = *self;
        self.roster.live.iter().map(|position| *position as usize).filter(move |at| view.open(*at))
    }

    /// The same, beginning at a position and going round.
    pub fn candidates_from(&self, start: usize) -> impl Iterator<Item = usize> + use<'a> {
        let view = *self;
        let split = self.roster.live.partition_point(|position| (*position as usize) < start);
        let (before, after) = self.roster.live.split_at(split);
        after.iter().chain(before).map(|position| *position as usize).filter(move |at| view.open(*at))
    }

    /// The position after the server of that number, whether it still exists or not.
    #[must_use]
    pub fn after(&self, index: Option<u32>) -> usize {
        index.map_or(0, |index| self.servers.partition_point(|server| server.index <= index))
    }
}

/// The server that was picked, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// Its position.
    pub at: usize,
    /// Why.
    pub why: Why,
}

/// Why a server was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was its turn.
    Turn,
    /// It was drawn.
    Chance,
    /// It was drawn together with the server of that number and was no worse.
    NoWorseThan(u32),
    /// Nobody was better: the load, and the weight that it was divided by.
    Least {
        /// The load.
        load: u64,
        /// The weight.
        weight: u64,
    },
    /// It had nothing to do.
    Idle,
    /// It is the first that has room.
    First,
    /// It has the greatest weight of those that have room.
    Heaviest,
    /// The key is its; so many before it in the key's order could not or should not have the request.
    Key {
        /// How many were passed over.
        passed: u32,
    },
    /// The key is its, and all that might have it are above their bound.
    KeyBeyondBound,
    /// The client was there before.
    Sticky,
    /// The fastest of those that a probe found with few requests.
    Cold,
    /// Probes found all with many requests; it had the fewest.
    Hot,
    /// The step of a chain, counted from 0, after which it alone was left.
    Step(u32),
}
