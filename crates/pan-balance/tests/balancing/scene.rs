//! Servers in all states, for tests.

use pan_balance::view::{Ask, Roster, Server, View};
use proptest::prelude::*;
use std::time::Duration;

/// All that a pick sees.
#[derive(Debug, Clone)]
pub struct Scene {
    pub servers: Vec<Server>,
    pub roster: Roster,
    pub key: Option<u64>,
    pub tried: Vec<u32>,
    pub now: Duration,
}

impl Scene {
    pub fn of(weights: &[u32]) -> Self {
        let servers: Vec<Server> = (1..).zip(weights).map(|(index, _)| Server { index, ..Server::default() }).collect();
        let roster = Roster::of(weights, &servers);
        Self { servers, roster, key: None, tried: Vec::new(), now: Duration::ZERO }
    }

    /// Runs something on the view of it.
    pub fn see<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> T {
        let ask = Ask { key: self.key, tried: &self.tried, now: self.now };
        look(&View { servers: &self.servers, roster: &self.roster, ask: &ask })
    }

    /// What is said of a request that may be had, written out once more.
    pub fn may(&self, at: usize) -> bool {
        let server = &self.servers[at];
        let room = match server.in_flight_max {
            Some(most) => server.in_flight < most,
            None => true,
        };
        self.roster.weights[at] != 0 && room && !self.tried.contains(&server.index)
    }

    /// The positions that may have it.
    pub fn open(&self) -> Vec<usize> {
        (0..self.servers.len()).filter(|at| self.may(*at)).collect()
    }

    pub fn index(&self, at: usize) -> u32 {
        self.servers[at].index
    }

    pub fn weight(&self, at: usize) -> u128 {
        u128::from(self.roster.weights[at])
    }

    /// Gives the request to a server.
    pub fn give(&mut self, at: usize) {
        self.servers[at].in_flight += 1;
        self.roster.busy += 1;
    }
}

/// Up to eleven servers: some without weight, some full, some tried.
pub fn scene() -> impl Strategy<Value = Scene> {
    let server = (0_u32..=6, 0_u32..=12, 0_u32..=3, prop::option::weighted(0.4, 0_u32..=12), any::<bool>());
    let servers = prop::collection::btree_map(1_u32..60, server, 1..12);
    (servers, prop::option::of(any::<u64>())).prop_map(|(servers, key)| {
        let tried = servers.iter().filter(|(index, one)| one.4 && *index % 5 == 0).map(|(index, _)| *index).collect();
        let weights: Vec<u32> = servers.values().map(|one| one.0).collect();
        let servers: Vec<Server> = servers
            .into_iter()
            .map(|(index, (_, in_flight, idle, in_flight_max, _))| Server {
                index,
                in_flight,
                idle,
                in_flight_max,
                capability: index % 4 * 50,
                ..Server::default()
            })
            .collect();
        Scene { roster: Roster::of(&weights, &servers), servers, key, tried, now: Duration::ZERO }
    })
}
