//! Calls to whichever member answers.
//!
//! There is one connection at a time. It is kept until a call on it fails, then the next member has its turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use rustls::ClientConfig;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Connection, Connector};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::grpc::{self, Outgoing};
use super::timing::Timing;
use super::wire::Method;

/// Pause after every member has failed once in a row: an election takes some hundred milliseconds.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// What a member gets on top of [`Timing::attempt`] for each KiB it is sent: 10 MB/s, over a slow network and
/// to its disk.
const PER_KIB: Duration = Duration::from_micros(100);

/// Which failures a call survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// All that may pass: the call changes nothing.
    Reading,
    /// Those after which it is certain that nothing was changed.
    Writing,
}

/// The members, and the connection to one of them.
#[derive(Debug)]
pub(super) struct Client {
    endpoints: Vec<Endpoint>,
    connector: Connector,
    timing: Timing,
    current: Mutex<Option<Connection>>,
    /// Counts the members given up; modulo their number, the one whose turn it is.
    turn: AtomicUsize,
}

impl Client {
    /// Knows the members, of which there must be at least one, and connects to none yet.
    pub(super) fn new(endpoints: Vec<Endpoint>, tls: &ClientConfig, timing: Timing) -> Self {
        assert!(!endpoints.is_empty(), "a client needs a member to talk to");
        let connector = Connector::new(tls, timing);
        Self { endpoints, connector, timing, current: Mutex::new(None), turn: AtomicUsize::new(0) }
    }

    pub(super) fn timing(&self) -> Timing {
        self.timing
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// A connection nobody else uses, to the member after `skipped` others.
    pub(super) async fn dedicated(&self, skipped: usize) -> Result<Connection, Failure> {
        self.connector.connect(self.endpoint(self.turn.load(Ordering::Relaxed).wrapping_add(skipped))).await
    }

    /// Calls `method` until a member answers, patience ends, or an answer is lost that matters.
    pub(super) async fn call<A>(&self, method: Method, request: &impl Message, repeat: Repeat) -> Result<A, Failure>
    where
        A: Message + Default,
    {
        let (request, started) = (grpc::frame(request), Instant::now());
        let mut failed = 0;
        loop {
            let failure = match self.attempt(method, request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            failed += 1;
            let again = failure.may_pass() && (repeat == Repeat::Reading || failure.changed_nothing());
            if !again || started.elapsed() >= self.timing.patience {
                return Err(failure);
            }
            if failed % self.endpoints.len() == 0 {
                sleep(PAUSE).await;
            }
        }
    }

    /// Calls `method` once.
    pub(super) async fn attempt<A: Message + Default>(&self, method: Method, request: Bytes) -> Result<A, Failure> {
        let mut connection = self.connection().await?;
        let answered = self.exchange(&mut connection, method, request).await;
        if answered.as_ref().is_err_and(Failure::may_pass) {
            self.give_up(&connection);
        }
        answered
    }

    /// Calls `method` once at `endpoint`, on `connection` if there is one that lasts, and leaves there what it was called on.
    pub(super) async fn at<A: Message + Default>(
        &self,
        endpoint: &Endpoint,
        connection: &mut Option<Connection>,
        method: Method,
        request: Bytes,
    ) -> Result<A, Failure> {
        let mut connected = match connection.take().filter(|kept| !kept.sender.is_closed()) {
            Some(kept) => kept,
            None => self.connector.connect(endpoint).await?,
        };
        let answer = self.exchange(&mut connected, method, request).await;
        *connection = Some(connected);
        answer
    }

    async fn exchange<A: Message + Default>(&self, connection: &mut Connection, method: Method, request: Bytes) -> Result<A, Failure> {
        let Connection { sender, endpoint, .. } = connection;
        let usual = if matches!(method, Method::Txn) { self.timing.commit } else { self.timing.attempt };
        let limit = usual + PER_KIB * u32::try_from(request.len() >> 10).expect("requests are bounded");
        let call = grpc::call(sender, endpoint, method, Outgoing::One(Some(request)));
        let lost = |source: String| Failure::Lost { endpoint: endpoint.clone(), source: source.into() };
        let waited = timeout(limit, call).await;
        let mut answers = waited.map_err(|_| lost(format!("no answer within {limit:?}")))??;
        answers.pause_max = Some(usual);
        let answer = answers.next().await?;
        // The status comes last; without it the answer is not worth anything.
        while answers.next::<A>().await?.is_some() {}
        answer.ok_or_else(|| lost("its answer is empty".to_owned()))
    }

    async fn connection(&self) -> Result<Connection, Failure> {
        let current = self.lock().clone();
        if let Some(current) = current.filter(|current| !current.sender.is_closed()) {
            return Ok(current);
        }
        let turn = self.turn.load(Ordering::Relaxed);
        match self.connector.connect(self.endpoint(turn)).await {
            Ok(connection) => {
                // Two callers may both connect; the later connection stays, the other ends with its call.
                *self.lock() = Some(connection.clone());
                Ok(connection)
            }
            Err(failure) => {
                self.pass_on(turn);
                Err(failure)
            }
        }
    }

    fn endpoint(&self, turn: usize) -> &Endpoint {
        &self.endpoints[turn % self.endpoints.len()]
    }

    /// Uses `connection` no more, and its member only after all others.
    fn give_up(&self, connection: &Connection) {
        let turn = self.turn.load(Ordering::Relaxed);
        let mut current = self.lock();
        if current.as_ref().is_some_and(|current| current.is_same(connection)) {
            *current = None;
            self.pass_on(turn);
        }
    }

    /// Gives the turn to the next, unless another caller did.
    fn pass_on(&self, turn: usize) {
        let next = turn.wrapping_add(1);
        let _ = self.turn.compare_exchange(turn, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
