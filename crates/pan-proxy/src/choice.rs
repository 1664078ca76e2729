//! Which server has a request: what a document says of balancing, as `pan-balance` takes it, and the queue before it.

mod policy;

pub use policy::preset;

use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderName};
use pan_balance::guard::queue::Place;
use pan_balance::guard::sticky::By;
use pan_balance::guard::{Budget, Queue, SlowStart, Sticky, sticky};
use pan_balance::{Balancer, Choice, Draws, Explanation, Guards, LaneSpec, Outcome, Request, ServerSpec, Ticket, stable_hash};
use pan_model::proxy::{BackendSpec, BalanceSpec, ClusterSpec, Misfit, RetrySpec, StickySpec};
use std::net::IpAddr;
use std::time::Duration;

/// Sessions that are remembered by header or address; 2 MiB.
const SESSIONS: usize = 65_536;

/// What of a request decides affinity.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Client,
    Path,
    Header(HeaderName),
    Cookie(String),
}

/// How a client is known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Session {
    /// By a cookie that names the server, so that it means the same to every director.
    Cookie {
        name: String,
        lasts: Duration,
    },
    Header(HeaderName),
    Address,
}

/// What a choice is made for.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The client.
    pub client: IpAddr,
    /// The path, canonical.
    pub path: &'a str,
    /// The headers as the client sent them.
    pub headers: &'a HeaderMap,
    /// Servers it was tried on.
    pub tried: &'a [u32],
}

/// What was decided.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// A server has it.
    Server(Ticket),
    /// All are full: it may wait here until then.
    Wait(Place, Duration),
    /// All are full, and as many wait as may.
    Full,
    /// There is no server that could have it.
    Nobody,
}

/// The choices of one cluster.
#[derive(Debug)]
pub struct Chooser {
    balancer: Balancer,
    queue: Queue,
    queue_wait: Duration,
    draws: Draws,
    key: Option<Key>,
    session: Option<Session>,
    /// Mixed into keys, so that clients cannot choose whom they share a server with.
    secret: u64,
    in_flight_max: Option<u32>,
    /// Each server's number with what its cookie says.
    marks: Vec<(u32, String)>,
}

impl Chooser {
    /// Of a cluster, without servers yet. `secret` is any number; equal ones choose alike.
    ///
    /// # Errors
    /// A policy that there is not, or a key or session that is not one.
    pub fn new(service: &str, cluster: &ClusterSpec, retry: RetrySpec, secret: u64) -> Result<Self, Misfit> {
        let BalanceSpec { key, sticky, slow_start, limits, .. } = &cluster.balance;
        let remembers = sticky.as_ref().filter(|sticky| sticky.cookie.is_none());
        let guards = Guards {
            slow_start: slow_start.map(|window| SlowStart::linear(window.0)),
            sticky: remembers.map(|sticky| Sticky::new(SESSIONS, sticky.lasts.0)),
            retries: Budget::new(retry.budget_percent, 10),
            ..Guards::default()
        };
        let lane = LaneSpec::all(preset(&cluster.balance)?);
        let name = format!("{service}/{}", cluster.name);
        Ok(Self {
            balancer: Balancer::new(&name, vec![lane], guards).map_err(|length| Misfit::new("chain", length.to_string()))?,
            queue: Queue::new(limits.as_ref().map_or(0, |limits| limits.queue)),
            queue_wait: limits.as_ref().map_or(Duration::ZERO, |limits| limits.queue_wait.0),
            draws: Draws::seeded(secret),
            key: key.as_deref().map(affinity).transpose()?,
            session: sticky.as_ref().map(session).transpose()?,
            secret,
            in_flight_max: limits.as_ref().map(|limits| limits.connections),
            marks: Vec::new(),
        })
    }

    /// The servers are these now.
    pub fn update(&mut self, servers: &[BackendSpec], now: Duration) {
        let spec = |server: &BackendSpec| ServerSpec {
            index: server.index,
            state: server.state,
            weight: server.weight,
            capability: server.capability,
            tier: server.tier,
            in_flight_max: self.in_flight_max,
        };
        self.balancer.update(servers.iter().map(spec).collect(), now);
        self.marks = servers.iter().map(|server| (server.index, mark(&server.name))).collect();
    }

    /// Chooses, or says what else.
    pub fn choose(&mut self, asker: &Asker<'_>, now: Duration) -> Decision {
        let request = self.request(asker);
        match self.balancer.choose(&request, now, &mut self.draws) {
            Choice::Server(ticket) => Decision::Server(ticket),
            Choice::Nobody => Decision::Nobody,
            Choice::Full => {
                let deadline = now + self.queue_wait;
                self.queue.enter(deadline).map_or(Decision::Full, |place| Decision::Wait(place, deadline))
            }
        }
    }

    /// The answer begins.
    pub fn first_byte(&mut self, ticket: &mut Ticket, now: Duration) {
        self.balancer.first_byte(ticket, now);
    }

    /// A request is over. Says who waits for its place.
    #[must_use]
    pub fn ended(&mut self, ticket: Ticket, outcome: Outcome, now: Duration) -> Option<Place> {
        self.balancer.ended(ticket, outcome, now);
        self.queue.next(now)
    }

    /// One that waited does so no longer. Says whether it was still waiting; if it was not, it was called, and whoever leaves
    /// then has to call the next with [`Chooser::next`].
    pub fn leave(&mut self, place: Place) -> bool {
        self.queue.leave(place)
    }

    /// Who waits first.
    #[must_use]
    pub fn next(&mut self, now: Duration) -> Option<Place> {
        self.queue.next(now)
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether the service can afford a retry; if so, it is spent.
    pub fn may_retry(&mut self, now: Duration) -> bool {
        self.balancer.may_retry(now)
    }

    /// Time goes on; several times a second is enough.
    pub fn tick(&mut self, now: Duration) {
        self.balancer.tick(now);
    }

    /// Any number, for whatever else has to be drawn.
    pub fn draw(&mut self) -> u64 {
        self.draws.draw()
    }

    /// The cookie to be set for a client that was sent to a server: name, value and age (RFC 6265). Nothing if the service
    /// has none or the client shows it already.
    #[must_use]
    pub fn cookie(&self, index: u32, headers: &HeaderMap) -> Option<String> {
        let Some(Session::Cookie { name, lasts }) = &self.session else { return None };
        let (_, mark) = self.marks.iter().find(|(server, _)| *server == index)?;
        (cookie(headers, name) != Some(mark.as_str())).then(|| format!("{name}={mark}; Max-Age={}", lasts.as_secs()))
    }

    fn request<'a>(&self, asker: &Asker<'a>) -> Request<'a> {
        Request {
            lane: 0,
            key: self.key.as_ref().and_then(|key| self.key_of(key, asker)),
            session: self.session.as_ref().and_then(|session| self.session_of(session, asker)),
            home: self.session.as_ref().and_then(|session| self.home_of(session, asker)),
            tried: asker.tried,
        }
    }

    /// What a choice would be now, and what leads to it. For people, not for every request.
    #[must_use]
    pub fn explain(&self, asker: &Asker<'_>, now: Duration) -> Explanation {
        self.balancer.explain(&self.request(asker), now, &self.draws)
    }

    fn key_of(&self, key: &Key, asker: &Asker<'_>) -> Option<u64> {
        let hash = |bytes: &[u8]| stable_hash(&[&self.secret.to_be_bytes(), bytes]);
        match key {
            Key::Client => Some(hash(asker.client.to_string().as_bytes())),
            Key::Path => Some(hash(asker.path.as_bytes())),
            Key::Header(name) => asker.headers.get(name).map(|value| hash(value.as_bytes())),
            Key::Cookie(name) => cookie(asker.headers, name).map(|value| hash(value.as_bytes())),
        }
    }

    fn session_of(&self, session: &Session, asker: &Asker<'_>) -> Option<u64> {
        match session {
            Session::Cookie { .. } => None,
            Session::Header(name) => asker.headers.get(name).map(|value| sticky::key(self.secret, By::Header, value.as_bytes())),
            Session::Address => Some(sticky::key(self.secret, By::Address, asker.client.to_string().as_bytes())),
        }
    }

    fn home_of(&self, session: &Session, asker: &Asker<'_>) -> Option<u32> {
        match session {
            Session::Cookie { name, .. } => {
                let shown = cookie(asker.headers, name)?;
                self.marks.iter().find(|(_, mark)| mark == shown).map(|(index, _)| *index)
            }
            Session::Header(_) | Session::Address => None,
        }
    }
}

/// What a cookie says for a server: the same on every director, and no name that is nobody's business. It is no secret:
/// who wants to choose its server can.
fn mark(server: &str) -> String {
    format!("{:016x}", stable_hash(&[b"server of a session", server.as_bytes()]))
}

fn affinity(text: &str) -> Result<Key, Misfit> {
    let header = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
    let bad = || Misfit::new("key", format!("{text:?}: expected client, path, header:NAME or cookie:NAME"));
    match text.split_once(':') {
        None if text == "client" => Ok(Key::Client),
        None if text == "path" => Ok(Key::Path),
        Some(("header", name)) => header(name).map(Key::Header).ok_or_else(bad),
        Some(("cookie", name)) if header(name).is_some() => Ok(Key::Cookie(name.to_owned())),
        _ => Err(bad()),
    }
}

fn session(spec: &StickySpec) -> Result<Session, Misfit> {
    let name = |text: &str, place: &str| {
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| Misfit::new(format!("sticky.{place}"), format!("{text:?} is not a name")))
    };
    match (&spec.cookie, &spec.header) {
        (Some(_), Some(_)) => Err(Misfit::new("sticky.header", "sticky by a cookie or a header, not both")),
        (Some(cookie), None) => name(cookie, "cookie").map(|_| Session::Cookie { name: cookie.clone(), lasts: spec.lasts.0 }),
        (None, Some(header)) => name(header, "header").map(Session::Header),
        (None, None) => Ok(Session::Address),
    }
}

/// The value of a cookie that a request has.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests;
