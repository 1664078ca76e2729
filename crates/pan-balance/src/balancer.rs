//! What a layer 7 worker holds of one service: its servers with what they are doing, the lanes, and the guards. One
//! worker, one `Balancer`: nothing is shared and nothing locks; a worker sees the requests it has itself.
//!
//! A request is [`Balancer::choose`]n a server for and gets a [`Ticket`]; [`Balancer::first_byte`] when the answer
//! begins; [`Balancer::ended`] with the ticket when it is over, however. [`Balancer::tick`] several times a second. Whoever
//! wants to know why asks [`Balancer::explain`], and nobody else pays for it.

mod explain;

pub use explain::{Explanation, Scored};

use crate::draws::Draws;
use crate::ewma::TAU;
use crate::fleet::{Fleet, ServerSpec};
use crate::guard::{Budget, Outliers, SlowStart, Sticky, outlier, panic};
use crate::lane::{Lane, LaneSpec};
use crate::pick::Picker;
use crate::tandem::ChainLength;
use crate::view::{Ask, Pick, Server, View, Why};
use std::time::Duration;

/// The guards of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guards {
    /// Slow start; none if absent.
    pub slow_start: Option<SlowStart>,
    /// When servers are ejected.
    pub outlier: outlier::Settings,
    /// See [`panic::panics`].
    pub panic_threshold: u32,
    /// Sticky sessions; none if absent.
    pub sticky: Option<Sticky>,
    /// The budget of retries.
    pub retries: Budget,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            slow_start: None,
            outlier: outlier::Settings::default(),
            panic_threshold: panic::THRESHOLD,
            sticky: None,
            retries: Budget::default(),
        }
    }
}

/// A request, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request<'a> {
    /// The lane that rules lead it to; 0 is the service's own.
    pub lane: usize,
    /// See [`Ask::key`].
    pub key: Option<u64>,
    /// The key of its session ([`crate::guard::sticky::key`]), if it has one.
    pub session: Option<u64>,
    /// The number of the server that the client itself says it was at (a cookie that names it); it has the request if it may.
    /// No table is needed for that, and every worker and director finds the same.
    pub home: Option<u32>,
    /// The numbers of the servers it was tried on.
    pub tried: &'a [u32],
}

/// What was chosen.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// A server.
    Server(Ticket),
    /// Nobody now, but servers that are only full: it may wait in a [`crate::guard::Queue`].
    Full,
    /// Nobody.
    Nobody,
}

/// A request at a server. It has to be given back to [`Balancer::ended`], once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a request that is never ended counts for ever"]
pub struct Ticket {
    /// The server's number.
    pub index: u32,
    /// Why it was picked.
    pub why: Why,
    life: u64,
    began: Duration,
    answered: bool,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server did its work, whatever the answer said.
    Answered,
    /// It did not: no connection, no answer in time, or one that blames itself (5xx of the kinds the service counts).
    Failed,
    /// The client went away; if nothing had come by then, the server is at least that slow.
    Abandoned,
}

/// A service's servers, lanes and guards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balancer {
    fleet: Fleet,
    lanes: Vec<Lane>,
    sticky: Option<Sticky>,
    retries: Budget,
}

impl Balancer {
    /// A balancer of a service without servers yet. The first lane is the service's own; without any it has none to
    /// choose by.
    ///
    /// # Errors
    /// A lane's chain has no steps, or too many.
    pub fn new(service: &str, lanes: Vec<LaneSpec>, guards: Guards) -> Result<Self, ChainLength> {
        Ok(Self {
            fleet: Fleet::new(service, Outliers::new(guards.outlier), guards.slow_start, guards.panic_threshold),
            lanes: lanes.into_iter().map(Lane::new).collect::<Result<_, _>>()?,
            sticky: guards.sticky,
            retries: guards.retries,
        })
    }

    /// The servers are these now. Who stays keeps what is known of it; who comes up later than the first begins
    /// slowly. The last of several with one number counts. O(servers × lanes), and what tables take.
    pub fn update(&mut self, mut specs: Vec<ServerSpec>, now: Duration) {
        specs.reverse();
        specs.sort_by_key(|spec| spec.index);
        specs.dedup_by_key(|spec| spec.index);
        self.fleet.update(specs, now);
        self.lanes.iter_mut().for_each(|lane| lane.rebuild(&self.fleet, now));
    }

    /// Chooses a server and counts the request there. A session's server is chosen if it may have the request; if
    /// not, whoever is picked has the session from now on. Allocates nothing.
    pub fn choose(&mut self, request: &Request<'_>, now: Duration, draws: &mut Draws) -> Choice {
        let ask = Ask { key: request.key, tried: request.tried, now };
        let Some(lane) = self.lanes.get_mut(request.lane) else { return Choice::Nobody };
        let session = request.session.zip(self.sticky.as_mut());
        let known = session.and_then(|(session, sticky)| sticky.get(session, now)).or(request.home);
        let known = known.and_then(|index| self.fleet.position(index));
        let known = known.filter(|at| lane.view(&self.fleet, &ask).open(*at)).map(|at| Pick { at, why: Why::Sticky });
        let view = View { servers: &self.fleet.servers, roster: &lane.roster, ask: &ask };
        let Some(Pick { at, why }) = known.or_else(|| lane.picker.pick(&view, draws)) else {
            let full = lane.roster.live.iter().any(|at| self.fleet.servers[*at as usize].full());
            return if full { Choice::Full } else { Choice::Nobody };
        };
        let index = self.fleet.servers[at].index;
        if let Some((session, sticky)) = request.session.zip(self.sticky.as_mut()) {
            sticky.put(session, index, now);
        }
        if request.tried.is_empty() {
            self.retries.request(now);
        }
        self.fleet.servers[at].in_flight += 1;
        self.count(at, |busy| busy + 1);
        Choice::Server(Ticket { index, why, life: self.fleet.life(at), began: now, answered: false })
    }

    /// The answer begins: how long that took is what the server's latency is. Not of an answer that will be counted as a
    /// failure. O(log servers).
    pub fn first_byte(&mut self, ticket: &mut Ticket, now: Duration) {
        if std::mem::replace(&mut ticket.answered, true) {
            return;
        }
        if let Some(at) = self.at(ticket) {
            self.fleet.servers[at].latency.observe(now.saturating_sub(ticket.began), now, TAU);
        }
    }

    /// The request is over. A failure may eject its server. O(log servers), O(servers × lanes) when it does.
    pub fn ended(&mut self, ticket: Ticket, outcome: Outcome, now: Duration) {
        let Some(at) = self.at(&ticket) else { return };
        self.fleet.servers[at].in_flight = self.fleet.servers[at].in_flight.saturating_sub(1);
        self.count(at, |busy| busy.saturating_sub(1));
        let took = now.saturating_sub(ticket.began);
        match outcome {
            Outcome::Answered => self.fleet.outliers.answered(at),
            Outcome::Abandoned if ticket.answered => {}
            Outcome::Abandoned => self.fleet.servers[at].latency.unanswered(took, now, TAU),
            Outcome::Failed => {
                self.fleet.servers[at].latency.failed(took, now, TAU);
                if self.fleet.outliers.failed(at, now) {
                    self.refresh(now);
                }
            }
        }
    }

    /// Whether a failed request may be tried again; if so, that is spent.
    pub fn may_retry(&mut self, now: Duration) -> bool {
        self.retries.retry(now)
    }

    /// Time goes on: ejections end, weights grow. O(servers × lanes); several times a second is enough.
    pub fn tick(&mut self, now: Duration) {
        self.fleet.outliers.tick(now);
        self.refresh(now);
        for lane in &mut self.lanes {
            if let Picker::Ipvs(scheduler) = &mut lane.picker {
                scheduler.tick(now);
            }
        }
    }

    /// The number of a server to be asked how it is now, for a lane of `prequal`. Call until it says nothing.
    pub fn probe_due(&mut self, lane: usize, now: Duration, draws: &mut Draws) -> Option<u32> {
        let Lane { picker, roster, .. } = self.lanes.get_mut(lane)?;
        let Picker::Prequal(prequal) = picker else { return None };
        let ask = Ask { now, ..Ask::default() };
        prequal.due(&View { servers: &self.fleet.servers, roster, ask: &ask }, draws)
    }

    /// A server answered such a question: so many requests, and how long they take.
    pub fn probed(&mut self, index: u32, in_flight: u32, latency: Duration, now: Duration, draws: &mut Draws) {
        for lane in &mut self.lanes {
            let live = lane.roster.live.len();
            if let Picker::Prequal(prequal) = &mut lane.picker {
                prequal.answered(index, in_flight, latency, now, live, draws);
            }
        }
    }

    /// Connections of a server that are open and carry nothing; IPVS's schedulers look at them.
    pub fn idle(&mut self, index: u32, connections: u32) {
        if let Some(at) = self.fleet.position(index) {
            self.fleet.servers[at].idle = connections;
        }
    }

    /// The servers, with what they are doing.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.fleet.servers
    }

    fn refresh(&mut self, now: Duration) {
        self.lanes.iter_mut().for_each(|lane| lane.refresh(&self.fleet, now));
    }

    /// How many requests the servers that take part have, by lane.
    fn count(&mut self, at: usize, change: impl Fn(u64) -> u64) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.roster.weights[at] > 0) {
            lane.roster.busy = change(lane.roster.busy);
        }
    }

    fn at(&self, ticket: &Ticket) -> Option<usize> {
        self.fleet.position(ticket.index).filter(|at| self.fleet.life(*at) == ticket.life)
    }
}
