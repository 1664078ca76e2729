//! Why a request goes where it goes: the stages of the pipeline, one server at a time. Made from the same view that
//! the pick has, and only when somebody asks.

use super::{Balancer, Choice, Request};
use crate::draws::Draws;
use crate::pipeline::{Excluded, Stage};
use crate::view::{Ask, Why};
use std::fmt;
use std::time::Duration;

/// A server that may have the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scored {
    /// Its number.
    pub index: u32,
    /// Its weight now.
    pub weight: u32,
    /// Requests that it has.
    pub in_flight: u32,
    /// Peak-EWMA of how long it takes to answer, in microseconds; 0 if it never did.
    pub latency: u64,
    /// What the picker compares, if it compares servers: a load and what divides it; for a hash with a bound the
    /// requests and the bound.
    pub score: Option<(u64, u64)>,
}

/// A decision and what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The lane.
    pub lane: usize,
    /// Whether suspicion and ejection were ignored because they say it of too many.
    pub panics: bool,
    /// Who was struck out, at which stage ([`crate::pipeline::Refusal::stage`]) and why.
    pub excluded: Vec<Excluded>,
    /// Who was left, by number.
    pub scores: Vec<Scored>,
    /// The server's number and why it was picked; nothing if nobody was.
    pub pick: Option<(u32, Why)>,
}

impl Balancer {
    /// What would become of a request now, with these draws. Decides on a copy, sessions' table and all: for people, not
    /// for every request.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>, now: Duration, draws: &Draws) -> Explanation {
        self.clone().choose_explained(request, now, &mut draws.clone()).1
    }

    /// The same as [`Balancer::choose`], and what led to it.
    pub fn choose_explained(&mut self, request: &Request<'_>, now: Duration, draws: &mut Draws) -> (Choice, Explanation) {
        let mut explanation = self.stages(request, now);
        let choice = self.choose(request, now, draws);
        explanation.pick = match &choice {
            Choice::Server(ticket) => Some((ticket.index, ticket.why)),
            Choice::Full | Choice::Nobody => None,
        };
        (choice, explanation)
    }

    fn stages(&self, request: &Request<'_>, now: Duration) -> Explanation {
        let mut explanation = Explanation { lane: request.lane, panics: false, excluded: Vec::new(), scores: Vec::new(), pick: None };
        let Some(lane) = self.lanes.get(request.lane) else { return explanation };
        explanation.panics = lane.panics;
        let ask = Ask { key: request.key, tried: request.tried, now };
        let view = lane.view(&self.fleet, &ask);
        for (at, server) in self.fleet.servers.iter().enumerate() {
            match lane.refusal(&self.fleet, at).or_else(|| view.shut(at)) {
                Some(refusal) => explanation.excluded.push(Excluded { index: server.index, refusal }),
                None => explanation.scores.push(Scored {
                    index: server.index,
                    weight: lane.roster.weights[at],
                    in_flight: server.in_flight,
                    latency: server.latency.micros(now, crate::ewma::TAU),
                    score: lane.picker.score(&view, at),
                }),
            }
        }
        explanation
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "lane {}", self.lane)?;
        for stage in [Stage::Eligible, Stage::Guard] {
            for out in self.excluded.iter().filter(|out| out.refusal.stage() == stage) {
                writeln!(to, "{stage:?}: server {} is out: {:?}", out.index, out.refusal)?;
            }
        }
        if self.panics {
            writeln!(to, "Guard: too many servers look ill, so none is left out for that")?;
        }
        for Scored { index, weight, in_flight, latency, score } in &self.scores {
            write!(to, "Score: server {index}: weight {weight}, {in_flight} in flight, {latency} us")?;
            match score {
                Some((load, by)) => writeln!(to, ", {load}/{by}")?,
                None => writeln!(to)?,
            }
        }
        match self.pick {
            Some((index, why)) => write!(to, "Pick: server {index}: {why:?}"),
            None => write!(to, "Pick: nobody"),
        }
    }
}
