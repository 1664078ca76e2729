//! A cluster's servers and who may go to them: the one place where its [`Chooser`] is asked. All threads of a proxy share
//! it, so that caps, queues and turns are the service's and not a thread's; it is held for microseconds.

use crate::choice::{Asker, Chooser, Decision};
use crate::tally::{Number, ServerCounts, ServerTally};
use pan_balance::guard::queue::Place;
use pan_balance::{Explanation, Outcome, Ticket};
use pan_model::proxy::{BackendSpec, ClusterSpec, Protocol};
use pan_model::service::BackendState;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// The time that all decisions of a proxy are made by.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time.
    pub fn now(self) -> Duration {
        self.0.elapsed()
    }
}

/// A server.
#[derive(Debug)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether it is told who the client is before each request.
    pub announce: bool,
    /// What it is thought to do.
    pub state: watch::Sender<BackendState>,
    /// How often it ceased to be up: connections from before lead to what may be gone.
    falls: AtomicU64,
    /// What is counted.
    pub tally: ServerTally,
}

impl Backend {
    /// See [`Backend::falls`]; a connection remembers the number that it was made under.
    pub fn falls(&self) -> u64 {
        self.falls.load(Ordering::Acquire)
    }

    fn becomes(&self, state: BackendState) {
        if *self.state.borrow() == state {
            return;
        }
        match state {
            BackendState::Down | BackendState::Suspect => drop(self.falls.fetch_add(1, Ordering::AcqRel)),
            BackendState::Up | BackendState::Draining => {}
        }
        self.state.send_replace(state);
    }
}

/// The gate of a cluster.
#[derive(Debug)]
pub struct Gate {
    /// Of the cluster.
    pub name: String,
    protocol: Protocol,
    announce: bool,
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    chooser: Chooser,
    waiting: BTreeMap<Place, oneshot::Sender<()>>,
    backends: BTreeMap<u32, Arc<Backend>>,
}

/// Why nobody has a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// All servers are full and so is the queue, or it took too long.
    Busy,
    /// There is no server that could have it.
    Nobody,
}

impl Gate {
    /// A gate that does not send anybody anywhere yet. The servers of a `former` one of the same cluster are its own: requests that it has let
    /// through are counted on, and are told what becomes of them.
    pub fn new(spec: &ClusterSpec, chooser: Chooser, clock: Clock, former: Option<&Self>) -> Self {
        let same = former.filter(|former| former.protocol == spec.protocol && former.announce == spec.announce);
        let backends = same.map(|former| former.lock().backends.clone()).unwrap_or_default();
        let inner = Inner { chooser, waiting: BTreeMap::new(), backends };
        Self { name: spec.name.clone(), protocol: spec.protocol, announce: spec.announce, clock, inner: Mutex::new(inner) }
    }

    /// The servers are these now.
    pub fn update(&self, servers: &[BackendSpec]) {
        let mut inner = self.lock();
        inner.chooser.update(servers, self.clock.now());
        let mut before = std::mem::take(&mut inner.backends);
        for spec in servers {
            let same = before.remove(&spec.index).filter(|known| known.address == spec.address && known.name == spec.name);
            let backend = same.unwrap_or_else(|| {
                Arc::new(Backend {
                    name: spec.name.clone(),
                    index: spec.index,
                    address: spec.address,
                    protocol: self.protocol,
                    announce: self.announce,
                    state: watch::Sender::new(spec.state),
                    falls: AtomicU64::new(0),
                    tally: ServerTally::default(),
                })
            });
            backend.becomes(spec.state);
            inner.backends.insert(spec.index, backend);
        }
        // Whoever is gone does not work any more, for requests that are there still.
        before.values().for_each(|gone| gone.becomes(BackendState::Down));
        // There may be room now; who finds none waits again.
        std::mem::take(&mut inner.waiting).into_iter().for_each(|(place, waiter)| {
            inner.chooser.leave(place);
            let _ = waiter.send(());
        });
    }

    /// A server for a request, waiting for one if all are full.
    ///
    /// # Errors
    /// See [`Turned`].
    pub async fn enter(self: &Arc<Self>, asker: &Asker<'_>) -> Result<Pass, Turned> {
        match self.ask(asker) {
            Asked::Pass(pass) => Ok(pass),
            Asked::Turned(turned) => Err(turned),
            // Apart in memory: most do not wait.
            Asked::Wait(place) => Box::pin(self.wait(asker, place)).await,
        }
    }

    async fn wait(self: &Arc<Self>, asker: &Asker<'_>, mut placed: Placed) -> Result<Pass, Turned> {
        // Who was called in vain does not begin to wait anew.
        let until = placed.deadline;
        loop {
            let mut waiter = Waiter { gate: self, place: Some(placed.place) };
            let left = until.saturating_sub(self.clock.now());
            if tokio::time::timeout(left, placed.called).await.is_err() {
                return Err(Turned::Busy);
            }
            waiter.place = None;
            placed = match self.ask(asker) {
                Asked::Pass(pass) => return Ok(pass),
                Asked::Turned(turned) => return Err(turned),
                Asked::Wait(placed) => placed,
            };
        }
    }

    fn ask(self: &Arc<Self>, asker: &Asker<'_>) -> Asked {
        let (mut inner, now) = (self.lock(), self.clock.now());
        match inner.chooser.choose(asker, now) {
            Decision::Server(ticket) => match inner.backends.get(&ticket.index).cloned() {
                Some(backend) => {
                    drop(inner);
                    backend.tally.attempts.add(1);
                    backend.tally.in_flight.add(1);
                    Asked::Pass(Pass { gate: Arc::clone(self), ticket: Some(ticket), backend, began: now })
                }
                None => Asked::Turned(Turned::Nobody),
            },
            Decision::Wait(place, deadline) => {
                let (call, called) = oneshot::channel();
                inner.waiting.insert(place, call);
                Asked::Wait(Placed { place, called, deadline })
            }
            Decision::Full => Asked::Turned(Turned::Busy),
            Decision::Nobody => Asked::Turned(Turned::Nobody),
        }
    }

    /// Whether the service can afford a retry; if so, it is spent.
    pub fn may_retry(&self) -> bool {
        self.lock().chooser.may_retry(self.clock.now())
    }

    /// What a choice would be now, with the servers' names.
    pub fn explain(&self, asker: &Asker<'_>) -> (Explanation, BTreeMap<u32, String>) {
        let inner = self.lock();
        let names = inner.backends.values().map(|backend| (backend.index, backend.name.clone())).collect();
        (inner.chooser.explain(asker, self.clock.now()), names)
    }

    /// Whether a server is up that is none of these.
    pub fn has_up_besides(&self, tried: &[u32]) -> bool {
        let inner = self.lock();
        inner.backends.values().any(|backend| *backend.state.borrow() == BackendState::Up && !tried.contains(&backend.index))
    }

    /// The cookie to be set; see [`Chooser::cookie`].
    pub fn cookie(&self, index: u32, headers: &hyper::HeaderMap) -> Option<String> {
        self.lock().chooser.cookie(index, headers)
    }

    /// Time goes on.
    pub fn tick(&self) {
        let mut inner = self.lock();
        inner.chooser.tick(self.clock.now());
    }

    /// What was counted of its servers, and how many requests wait.
    pub fn counts(&self) -> (Vec<ServerCounts>, u64) {
        let inner = self.lock();
        let servers = inner.backends.values().map(|backend| backend.tally.counts(&self.name, &backend.name)).collect();
        (servers, inner.waiting.len() as u64)
    }

    /// Calls one that waits; the next if it is gone.
    fn call(&self, inner: &mut Inner, mut first: Option<Place>) {
        while let Some(place) = first {
            if inner.waiting.remove(&place).is_some_and(|waiter| waiter.send(()).is_ok()) {
                return;
            }
            first = inner.chooser.next(self.clock.now());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics who holds it")
    }
}

enum Asked {
    Pass(Pass),
    Wait(Placed),
    Turned(Turned),
}

/// Where a request waits, what calls it, and until when.
struct Placed {
    place: Place,
    called: oneshot::Receiver<()>,
    deadline: Duration,
}

/// A place in the queue, given up when whoever has it goes.
struct Waiter<'a> {
    gate: &'a Gate,
    place: Option<Place>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut inner = self.gate.lock();
        inner.waiting.remove(&place);
        if !inner.chooser.leave(place) {
            // It was called: what it was called for is the next one's.
            let next = inner.chooser.next(self.gate.clock.now());
            self.gate.call(&mut inner, next);
        }
    }
}

/// A request at a server; given up unless it ends otherwise.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    ticket: Option<Ticket>,
    /// The server.
    pub backend: Arc<Backend>,
    began: Duration,
}

impl Pass {
    /// The answer begins.
    pub fn first_byte(&mut self) {
        let now = self.gate.clock.now();
        self.backend.tally.durations.observe(now.saturating_sub(self.began));
        if let Some(ticket) = &mut self.ticket {
            self.gate.lock().chooser.first_byte(ticket, now);
        }
    }

    /// It is over.
    pub fn end(mut self, outcome: Outcome) {
        self.close(outcome);
    }

    fn close(&mut self, outcome: Outcome) {
        let Some(ticket) = self.ticket.take() else { return };
        self.backend.tally.in_flight.less();
        let failed: &Number = &self.backend.tally.failures;
        match outcome {
            Outcome::Failed => failed.add(1),
            Outcome::Answered | Outcome::Abandoned => {}
        }
        let mut inner = self.gate.lock();
        let next = inner.chooser.ended(ticket, outcome, self.gate.clock.now());
        self.gate.call(&mut inner, next);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.close(Outcome::Abandoned);
    }
}
