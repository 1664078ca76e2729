//! A watch in etcd: a task that follows one member at a time, and the next from where the last one stopped.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::client::{Client, PAUSE};
use super::convert;
use super::failure::Failure;
use super::grpc::{self, Answers, Outgoing};
use super::keys::Namespace;
use super::wire::{EVENT_DELETE, Event, Method, WatchCommand, WatchCreate, WatchProgress, WatchRequest, WatchResponse};
use crate::error::{BoxError, WatchError};
use crate::txn::Revision;
use crate::watch::{Batch, Change, Watch};

/// Transactions read ahead of whoever follows. Beyond it, etcd keeps them.
const AHEAD_MAX: usize = 64;

/// Questions whether the member is still there, for each time it may be quiet.
const QUESTIONS: u32 = 4;

type Out = mpsc::Sender<Result<Batch, WatchError>>;

/// Starts following `prefix`.
pub(super) fn start(client: Arc<Client>, namespace: Namespace, prefix: &str, after: Revision) -> Watch {
    let (out, batches) = mpsc::channel(AHEAD_MAX);
    let follower = Follower { client, range: namespace.range(prefix), namespace, reached: after, pending: None };
    let task = tokio::spawn(follower.run(out));
    Watch::remote(prefix, after, batches, task)
}

struct Follower {
    client: Arc<Client>,
    namespace: Namespace,
    range: (Vec<u8>, Vec<u8>),
    /// The last revision told, or what the watch began after.
    reached: Revision,
    /// The changes of a transaction of which more may come.
    pending: Option<Batch>,
}

/// Why a member is followed no more.
enum End {
    /// Nobody wants to know.
    Unwanted,
    /// Another may go on.
    Member,
    /// No other can help.
    Watch(WatchError),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        if failure.may_pass() { Self::Member } else { Self::Watch(WatchError::Failed { source: failure.into() }) }
    }
}

impl Follower {
    async fn run(mut self, out: Out) {
        let (mut skipped, all) = (0_usize, self.client.endpoints().len());
        loop {
            let before = self.reached;
            self.pending = None;
            match self.follow(skipped, &out).await {
                End::Unwanted => return,
                End::Watch(error) => {
                    // Without anybody to tell, there is nothing to do either.
                    let _ = out.send(Err(error)).await;
                    return;
                }
                End::Member => skipped = skipped.wrapping_add(1),
            }
            if self.reached == before && skipped % all == 0 {
                sleep(PAUSE).await;
            }
        }
    }

    async fn follow(&mut self, skipped: usize, out: &Out) -> End {
        match self.open(skipped).await {
            Ok((commands, answers)) => self.read(commands, answers, out).await,
            Err(failure) => failure.into(),
        }
    }

    /// Begins at the last revision told and not after it: etcd says so when it compacted what comes next,
    /// but in 3.4 loses a deletion made at the very revision it compacted at.
    async fn open(&self, skipped: usize) -> Result<(mpsc::Sender<bytes::Bytes>, Open), Failure> {
        let mut connection = self.client.dedicated(skipped).await?;
        let (key, range_end) = self.range.clone();
        let start_revision = convert::to_wire(self.reached).max(1);
        let create = WatchCommand::Create(WatchCreate { key, range_end, start_revision, fragment: true });
        let (commands, body) = Outgoing::open();
        let sent = commands.try_send(grpc::frame(&WatchRequest { command: Some(create) }));
        sent.expect("a new stream has room for its first message");
        let endpoint = connection.endpoint.clone();
        let call = grpc::call(&mut connection.sender, &endpoint, Method::Watch, body);
        let waited = timeout(self.client.timing().quiet, call).await;
        let slow = |_| Failure::Lost { endpoint: endpoint.clone(), source: "no answer to a watch".into() };
        let answers = waited.map_err(slow)??;
        Ok((commands, Open { answers, _connection: connection }))
    }

    async fn read(&mut self, commands: mpsc::Sender<bytes::Bytes>, mut open: Open, out: &Out) -> End {
        let quiet = self.client.timing().quiet;
        let question = grpc::frame(&WatchRequest { command: Some(WatchCommand::Progress(WatchProgress {})) });
        let mut questions = interval(quiet / QUESTIONS);
        questions.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let answer = tokio::select! {
                biased;
                () = out.closed() => return End::Unwanted,
                answer = open.answers.next::<WatchResponse>() => answer,
                _ = questions.tick() => {
                    if heard.elapsed() >= quiet {
                        return End::Member;
                    }
                    // With earlier questions still waiting to be sent, one more says nothing new.
                    let _ = commands.try_send(question.clone());
                    continue;
                }
            };
            let answer = match answer {
                Ok(Some(answer)) => answer,
                Ok(None) => return End::Member,
                Err(failure) => return failure.into(),
            };
            if let ControlFlow::Break(end) = self.take(answer, out).await {
                return end;
            }
            // Only now: whoever follows may have been slow to take it.
            heard = Instant::now();
        }
    }

    async fn take(&mut self, answer: WatchResponse, out: &Out) -> ControlFlow<End> {
        if answer.compact_revision > 0 {
            let oldest = convert::from_wire(answer.compact_revision);
            return ControlFlow::Break(End::Watch(WatchError::Compacted { after: self.reached, oldest }));
        }
        if answer.canceled {
            return ControlFlow::Break(End::Member);
        }
        for event in answer.events {
            let (revision, change) = match self.change(event) {
                Ok(change) => change,
                Err(source) => return ControlFlow::Break(End::Watch(WatchError::Failed { source })),
            };
            if self.pending.as_ref().is_some_and(|pending| pending.revision != revision) {
                self.tell(out).await?;
            }
            if revision > self.reached {
                self.pending.get_or_insert(Batch { revision, changes: Vec::new() }).changes.push(change);
            }
        }
        if answer.fragment { ControlFlow::Continue(()) } else { self.tell(out).await }
    }

    /// Passes on a whole transaction.
    async fn tell(&mut self, out: &Out) -> ControlFlow<End> {
        let Some(batch) = self.pending.take() else { return ControlFlow::Continue(()) };
        let revision = batch.revision;
        match out.send(Ok(batch)).await {
            Ok(()) => {
                self.reached = revision;
                ControlFlow::Continue(())
            }
            Err(_) => ControlFlow::Break(End::Unwanted),
        }
    }

    fn change(&self, event: Event) -> Result<(Revision, Change), BoxError> {
        let entry = convert::entry(event.kv.ok_or("etcd tells of a change without a key")?, &self.namespace)?;
        let deleted = event.kind == EVENT_DELETE;
        Ok((entry.revision, if deleted { Change::Deleted { key: entry.key } } else { Change::Put(entry) }))
    }
}

/// A stream and the connection that only it uses: what it does not read holds up nobody else.
struct Open {
    answers: Answers,
    _connection: super::connection::Connection,
}
