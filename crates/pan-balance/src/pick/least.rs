//! Least connections and its kin: look at all servers and take the one with the least to do.

use crate::view::{Pick, Server, View, Why};

/// What "to do" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Requests in flight.
    InFlight,
    /// What IPVS compares for `lc` and `wlc`: 256 times those in flight plus idle connections
    /// (`ip_vs_dest_conn_overhead`, include/net/ip_vs.h).
    Overhead,
    /// Those in flight and the one to come: by weight, the delay that it can expect.
    Expected,
}

impl Load {
    fn of(self, server: &Server) -> u64 {
        let in_flight = u64::from(server.in_flight);
        match self {
            Self::InFlight => in_flight,
            Self::Overhead => (in_flight << 8) + u64::from(server.idle),
            Self::Expected => in_flight + 1,
        }
    }
}

/// Whether the load is divided by the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weighed {
    /// It is.
    ByWeight,
    /// All count alike, as long as their weight is not 0.
    Alike,
}

/// Who gets it of several that are as good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ties {
    /// The first by number, as in IPVS.
    First,
    /// Each in turn, as in HAProxy's `leastconn`: with few requests the first would get them all.
    Rotate,
}

/// Whether a server with nothing to do is taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// It is, even a slow one (never queue).
    First,
    /// It is not.
    Alike,
}

/// The server with the least to do. O(servers).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Least {
    load: Load,
    weighed: Weighed,
    ties: Ties,
    idle: Idle,
    last: Option<u32>,
}

impl Least {
    /// Least connections, whatever the weights.
    #[must_use]
    pub fn connections(load: Load, ties: Ties) -> Self {
        Self { load, weighed: Weighed::Alike, ties, idle: Idle::Alike, last: None }
    }

    /// Weighted least connections (Zhang, "Linux Virtual Server for Scalable Network Services", OLS 2000).
    #[must_use]
    pub fn weighted(load: Load, ties: Ties) -> Self {
        Self { weighed: Weighed::ByWeight, ..Self::connections(load, ties) }
    }

    /// Shortest expected delay: (requests + 1) / weight (net/netfilter/ipvs/ip_vs_sed.c).
    #[must_use]
    pub fn expected_delay(ties: Ties) -> Self {
        Self::weighted(Load::Expected, ties)
    }

    /// Never queue: an idle server if there is one, else the shortest expected delay (Weinrib and Shenker, "Greed is
    /// not enough", INFOCOM 1988; net/netfilter/ipvs/ip_vs_nq.c).
    #[must_use]
    pub fn never_queue(ties: Ties) -> Self {
        Self { idle: Idle::First, ..Self::expected_delay(ties) }
    }

    /// The one with the least.
    pub fn pick(&mut self, view: &View<'_>) -> Option<Pick> {
        let start = match self.ties {
            Ties::First => 0,
            Ties::Rotate => view.after(self.last),
        };
        let mut best: Option<(usize, u64, u64)> = None;
        for at in view.candidates_from(start) {
            if self.idle == Idle::First && view.servers[at].in_flight == 0 {
                self.last = Some(view.servers[at].index);
                return Some(Pick { at, why: Why::Idle });
            }
            let (load, weight) = self.score(view, at);
            let better = best.is_none_or(|(_, least, of)| u128::from(load) * u128::from(of) < u128::from(least) * u128::from(weight));
            if better {
                best = Some((at, load, weight));
            }
        }
        let (at, load, weight) = best?;
        self.last = Some(view.servers[at].index);
        Some(Pick { at, why: Why::Least { load, weight } })
    }

    /// A server's load and what it is divided by.
    #[must_use]
    pub fn score(&self, view: &View<'_>, at: usize) -> (u64, u64) {
        let weight = match self.weighed {
            Weighed::ByWeight => view.weight(at),
            Weighed::Alike => 1,
        };
        (self.load.of(&view.servers[at]), weight)
    }
}
