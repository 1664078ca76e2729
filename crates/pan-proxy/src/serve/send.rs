//! One attempt: a connection, the request on it, the wait for the answer's head.

use super::alarm::Alarm;
use super::gate::Backend;
use super::link::{Link, Lost};
use super::outgoing::Outgoing;
use super::proxy::Worker;
use super::upload::{Feed, Upload};
use crate::attempt::{Failure, Outcome, Repeat};
use crate::proxied::Ends;
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use pan_model::proxy::Protocol;
use pan_model::proxy::Timeouts;
use pan_model::service::BackendState;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use tokio::time::Instant;

/// What is sent, as often as it may be.
pub struct Job {
    /// The body, if there is one.
    pub feed: Option<Arc<Feed>>,
    /// What the request allows.
    pub repeat: Repeat,
    /// The connection that it came by.
    pub ends: Ends,
    /// Whether it asks to change the protocol.
    pub upgrade: bool,
    /// When all of it has to be over.
    pub whole: Option<Instant>,
}

impl Job {
    fn body(&self) -> Upload {
        self.feed.as_ref().map_or_else(Upload::none, Feed::attempt)
    }

    /// Whether all of the body that was read can be sent again.
    pub fn replayable(&self) -> bool {
        self.feed.as_ref().is_none_or(|feed| feed.replayable())
    }

    /// When the answer is late.
    fn due(&self, began: Instant, timeouts: &Timeouts) -> Instant {
        let sent = self.feed.as_ref().map_or(began, |feed| feed.last().max(began));
        let due = sent + timeouts.request.0;
        self.whole.map_or(due, |whole| whole.min(due))
    }
}

/// An attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// How.
    pub failure: Failure,
    /// What is known of what the server had of it.
    pub outcome: Outcome,
}

/// What an answer's body comes by.
pub enum Carrier {
    /// A connection of its own.
    Link(Link, Arc<Worker>),
    /// One of many requests.
    Trunk,
}

impl Carrier {
    /// The answer has come: the connection can have another.
    pub fn keep(self, backend: &Arc<Backend>) {
        match self {
            Self::Link(link, worker) if !backend.announce => worker.pool.keep(backend, link),
            Self::Link(..) | Self::Trunk => {}
        }
    }
}

/// One attempt. `elsewhere` says whether another server could have the request.
pub struct Sending<'a, E> {
    /// The thread.
    pub worker: &'a Arc<Worker>,
    /// What is sent.
    pub job: &'a Job,
    /// Its head.
    pub outgoing: Outgoing<'a>,
    /// To whom.
    pub backend: &'a Arc<Backend>,
    /// How long to wait.
    pub timeouts: &'a Timeouts,
    /// Whether a server is up that has not been tried.
    pub elsewhere: E,
}

/// An answer whose head has come.
type Answered = (Response<Incoming>, Carrier);

impl<E: Fn() -> bool> Sending<'_, E> {
    /// Sends. What most requests do not come to is apart in memory: each of them has room for all the rest, and is moved with it.
    ///
    /// # Errors
    /// No answer's head came.
    pub async fn run(&self) -> Result<Answered, Failed> {
        let answer = match self.backend.protocol {
            Protocol::Http1 => self.by_link().await,
            Protocol::Http2 => Box::pin(self.by_trunk()).await,
        }?;
        if answer.0.status() == StatusCode::SWITCHING_PROTOCOLS && !self.job.upgrade {
            return Err(Failed { failure: Failure::NotHttp, outcome: Outcome::Unknown });
        }
        Ok(answer)
    }

    async fn by_link(&self) -> Result<Answered, Failed> {
        let Self { worker, job, backend, timeouts, .. } = self;
        let mut kept = if backend.announce { None } else { worker.pool.kept(backend) };
        loop {
            let was_kept = kept.is_some();
            let mut link = match kept.take() {
                Some(link) => link,
                None => Box::pin(self.connected(Link::open(backend, &job.ends, timeouts.connect.0))).await?,
            };
            let mark = link.mark();
            let mut alarm = std::mem::take(&mut link.alarm);
            let answered = self.answer(pin!(link.send(self.outgoing.one(backend.address, job.body()))), &mut alarm).await;
            link.alarm = alarm;
            let failure = match answered {
                Ok(Ok(response)) => return Ok((response, Carrier::Link(link, Arc::clone(worker)))),
                Ok(Err(error)) if error.is_parse() => Failure::NotHttp,
                Ok(Err(_)) => Failure::Broken,
                Err(failure) => failure,
            };
            let outcome = Box::pin(link.kill(mark)).await;
            // A connection that ended while nobody used it says nothing of its server.
            let stale = was_kept && failure == Failure::Broken && outcome == Outcome::NotSent && job.replayable();
            if !stale {
                return Err(Failed { failure, outcome });
            }
        }
    }

    async fn by_trunk(&self) -> Result<Answered, Failed> {
        let Self { worker, job, backend, timeouts, .. } = self;
        let mut kept = worker.pool.trunk(backend);
        loop {
            let was_kept = kept.is_some();
            let mut trunk = match kept.take() {
                Some(trunk) => trunk,
                None => self.connected(worker.pool.open_trunk(backend, timeouts.connect.0)).await?,
            };
            let lost = match self.answer(pin!(trunk.send(self.outgoing.two(backend.address, job.body()))), &mut Alarm::default()).await {
                Ok(Ok(response)) => return Ok((response, Carrier::Trunk)),
                Ok(Err(lost)) => lost,
                Err(failure) => return Err(Failed { failure, outcome: Outcome::Unknown }),
            };
            // As with one of HTTP/1 that ended while nobody used it.
            let stale = was_kept && lost == Lost::Unwritten && job.replayable();
            if !stale {
                return Err(Failed { failure: Failure::Broken, outcome: lost.outcome() });
            }
        }
    }

    /// A connection, unless its server is found to be gone meanwhile. Nothing was sent by then, so any request can go elsewhere.
    async fn connected<T>(&self, opening: impl Future<Output = Result<T, Failure>>) -> Result<T, Failed> {
        let opened = tokio::select! {
            biased;
            opened = opening => opened,
            () = self.gone(Repeat::Harmless) => Err(Failure::Unreachable),
        };
        opened.map_err(|failure| Failed { failure, outcome: Outcome::NotSent })
    }

    /// Waits for an answer, until it is late or its server is gone.
    async fn answer<T>(&self, mut sending: Pin<&mut impl Future<Output = T>>, alarm: &mut Alarm) -> Result<T, Failure> {
        let (job, timeouts, began) = (self.job, self.timeouts, Instant::now());
        let mut gone = pin!(self.gone(job.repeat));
        std::future::poll_fn(|context| {
            if let Poll::Ready(answer) = sending.as_mut().poll(context) {
                return Poll::Ready(Ok(answer));
            }
            if gone.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Failure::Broken));
            }
            if alarm.over(job.due(began, timeouts), context) { Poll::Ready(Err(Failure::AnswerTimeout)) } else { Poll::Pending }
        })
        .await
    }

    /// Until the server is down; a request that may be sent twice does not wait until that is certain, if there is somebody
    /// else for it.
    async fn gone(&self, repeat: Repeat) {
        let mut state = self.backend.state.subscribe();
        // Nobody chooses a server that is down: it has become so since.
        if *state.borrow_and_update() == BackendState::Down {
            return;
        }
        while state.changed().await.is_ok() {
            let gone = match (*state.borrow_and_update(), repeat) {
                (BackendState::Down, _) => true,
                (BackendState::Suspect, Repeat::Harmless) => (self.elsewhere)(),
                (BackendState::Suspect, Repeat::Never) | (BackendState::Up | BackendState::Draining, _) => false,
            };
            if gone {
                return;
            }
        }
    }
}
