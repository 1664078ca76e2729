//! Frames and keep-alives on a stream, and silence.

use pan_replica::wire::line::{ALIVE, ALIVE_EVERY, Together, is_alive};
use pan_replica::wire::{Payload, REPLY_HEAD, REQUEST_HEAD, WireError};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Gone {
    #[error("nothing was heard of it")]
    Silent,
    #[error("it was closed")]
    Closed,
    #[error("it broke: {0}")]
    Broken(#[from] io::Error),
    #[error("it does not speak the protocol: {0}")]
    Wire(#[from] WireError),
    #[error("it asked for what its capability does not allow")]
    Beyond,
    #[error("another head is obeyed")]
    Fenced,
    #[error("the pool is not served any more")]
    Unserved,
}

/// What comes in.
pub(super) struct Incoming<R> {
    pub read: R,
    pub silence: Duration,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// The head of the next frame.
    pub(super) async fn head(&mut self) -> Result<[u8; REQUEST_HEAD], Gone> {
        let mut head = [0; REQUEST_HEAD];
        loop {
            self.fill(&mut head[..ALIVE.len()]).await?;
            if !is_alive(&head[..ALIVE.len()]) {
                break;
            }
        }
        self.fill(&mut head[ALIVE.len()..]).await?;
        Ok(head)
    }

    /// Fills all of it; whoever sends a long payload must not be silent within it either.
    pub(super) async fn fill(&mut self, into: &mut [u8]) -> Result<(), Gone> {
        let mut at = 0;
        while at < into.len() {
            match timeout(self.silence, self.read.read(&mut into[at..])).await {
                Err(_) => return Err(Gone::Silent),
                Ok(Ok(0)) => return Err(Gone::Closed),
                Ok(read) => at += read?,
            }
        }
        Ok(())
    }
}

/// A reply, and its part of what may be in flight.
pub(super) struct Outgoing {
    pub head: [u8; REPLY_HEAD],
    pub payload: Payload<Vec<u8>>,
    pub weight: Vec<OwnedSemaphorePermit>,
}

/// Replies of the task that sends them too.
#[derive(Clone, Default)]
pub(super) struct AtOnce(Arc<Mutex<VecDeque<Outgoing>>>);

impl AtOnce {
    /// Wakes nobody.
    pub(super) fn put(&self, reply: Outgoing) {
        self.lock().push_back(reply);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Outgoing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All replies of a connection.
pub(super) struct Replies {
    pub at_once: AtOnce,
    pub others: UnboundedReceiver<Outgoing>,
}

impl Replies {
    /// The next one. `None`: there will be none any more.
    async fn next(&mut self) -> Option<Outgoing> {
        poll_fn(|context| {
            let first = self.at_once.lock().pop_front();
            first.map_or_else(|| self.others.poll_recv(context), |reply| Poll::Ready(Some(reply)))
        })
        .await
    }

    /// The next one, if it is there.
    fn try_next(&mut self) -> Option<Outgoing> {
        let first = self.at_once.lock().pop_front();
        first.or_else(|| self.others.try_recv().ok())
    }
}

/// Sends replies as they come, and a keep-alive whenever there is none for a while. Ends when nobody is left to send any.
pub(super) async fn send(mut write: impl AsyncWrite + Unpin, replies: &mut Replies, silence: Duration) -> Result<(), Gone> {
    let mut together = Together::default();
    let mut sent = Vec::new();
    loop {
        match timeout(ALIVE_EVERY, replies.next()).await {
            Err(_) => put(&mut write, &ALIVE, silence).await?,
            Ok(None) => return Ok(()),
            Ok(Some(mut reply)) => {
                loop {
                    let Outgoing { head, payload, weight } = reply;
                    sent.push(weight);
                    let rest = together.add(&head, payload.bytes());
                    if together.is_full() {
                        put(&mut write, together.bytes(), silence).await?;
                        together.sent();
                        put(&mut write, rest, silence).await?;
                        sent.clear();
                    }
                    match replies.try_next() {
                        Some(more) => reply = more,
                        None => break,
                    }
                }
                put(&mut write, together.bytes(), silence).await?;
                together.sent();
                sent.clear();
            }
        }
        timeout(silence, write.flush()).await.map_err(|_| Gone::Silent)??;
    }
}

/// Writes all of it; a peer that takes nothing is as good as silent.
async fn put(write: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], silence: Duration) -> Result<(), Gone> {
    while !bytes.is_empty() {
        let written = timeout(silence, write.write(bytes)).await.map_err(|_| Gone::Silent)??;
        if written == 0 {
            return Err(Gone::Closed);
        }
        bytes = &bytes[written..];
    }
    Ok(())
}
