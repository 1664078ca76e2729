//! The servers of a service: what is configured, what they are doing, what is thought of them.

use crate::guard::{Outliers, SlowStart};
use crate::pipeline::Refusal;
use crate::view::Server;
use pan_model::service::BackendState::{self, Down, Draining, Suspect, Up};
use std::time::Duration;

/// A server as it is configured and judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerSpec {
    /// Its fixed number.
    pub index: u32,
    /// Whether it takes requests.
    pub state: BackendState,
    /// Its share; 0 is none.
    pub weight: u32,
    /// How fast its node is in relation to others, measured; in a unit of the caller's, for example 100 for the
    /// usual one.
    pub capability: u32,
    /// Servers of a tier get requests only while none of those before it can.
    pub tier: u32,
    /// The most requests that it may have.
    pub in_flight_max: Option<u32>,
}

/// Servers by position, sorted by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fleet {
    pub service: String,
    pub specs: Vec<ServerSpec>,
    pub servers: Vec<Server>,
    /// When each came up, if that was seen.
    since: Vec<Option<Duration>>,
    /// Which life each is in: requests of a former server of the same number do not count for this one.
    lives: Vec<u64>,
    next_life: u64,
    pub outliers: Outliers,
    pub slow_start: Option<SlowStart>,
    pub panic_threshold: u32,
}

impl Fleet {
    pub fn new(service: &str, outliers: Outliers, slow_start: Option<SlowStart>, panic_threshold: u32) -> Self {
        Self {
            service: service.to_owned(),
            specs: Vec::new(),
            servers: Vec::new(),
            since: Vec::new(),
            lives: Vec::new(),
            next_life: 0,
            outliers,
            slow_start,
            panic_threshold,
        }
    }

    /// Who stays keeps what is known of it; who comes up later than the first begins slowly.
    pub fn update(&mut self, specs: Vec<ServerSpec>, now: Duration) {
        let first = self.specs.is_empty();
        let (mut servers, mut since, mut lives) = (Vec::new(), Vec::new(), Vec::new());
        for spec in &specs {
            let known = self.specs.binary_search_by_key(&spec.index, |spec| spec.index).ok();
            let comes_up = match (spec.state, known) {
                (Down | Draining, _) => false,
                (Up | Suspect, Some(at)) => self.specs[at].state == Down,
                (Up | Suspect, None) => !first,
            };
            let before = known.map_or(Server { index: spec.index, ..Server::default() }, |at| self.servers[at]);
            servers.push(Server { in_flight_max: spec.in_flight_max, capability: spec.capability, ..before });
            since.push(if comes_up { Some(now) } else { known.and_then(|at| self.since[at]) });
            lives.push(known.map_or(self.next_life, |at| self.lives[at]));
        }
        self.next_life += 1;
        (self.specs, self.servers, self.since, self.lives) = (specs, servers, since, lives);
        self.outliers.rebuild(self.specs.iter().map(|spec| spec.index));
    }

    pub fn position(&self, index: u32) -> Option<usize> {
        self.servers.binary_search_by_key(&index, |server| server.index).ok()
    }

    pub fn life(&self, at: usize) -> u64 {
        self.lives[at]
    }

    /// How long it has been up; for ever if that was not seen.
    pub fn age(&self, at: usize, now: Duration) -> Duration {
        self.since[at].map_or(Duration::MAX, |since| now.saturating_sub(since))
    }

    /// What is known against a server.
    pub fn fact(&self, at: usize) -> Option<Refusal> {
        match self.specs[at].state {
            Down => Some(Refusal::Down),
            Draining => Some(Refusal::Draining),
            Up | Suspect => None,
        }
    }

    /// What is thought against it.
    pub fn opinion(&self, at: usize) -> Option<Refusal> {
        match self.specs[at].state {
            Suspect => Some(Refusal::Suspect),
            Up | Down | Draining => self.outliers.ejected(at).map(|_| Refusal::Ejected),
        }
    }
}
