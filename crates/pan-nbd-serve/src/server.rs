//! Takes connections, each with a task of its own, and ends them all.

use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::limits::Limits;
use crate::session::{Outcome, SessionError, serve_one};
use crate::storage::{Exports, Storage};

/// The next attempt after the system had no room for another connection; until then some may end.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What the server's owner wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Serve,
    End,
}

/// How it went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Connections that ended as they should.
    pub ended: u64,
    /// Connections that were broken, or broke the protocol.
    pub failed: u64,
    /// Connections turned away, for there were too many.
    pub refused: u64,
    /// Connections that did not end within [`Limits::ending`] and were cut.
    pub cut: u64,
}

impl Served {
    fn count(&mut self, result: Result<Result<Outcome, SessionError>, JoinError>) {
        match result {
            Ok(Ok(outcome)) => {
                tracing::debug!(%outcome, "an NBD connection ended");
                self.ended += 1;
            }
            Ok(Err(error)) => {
                tracing::info!(%error, "an NBD connection was given up");
                self.failed += 1;
            }
            Err(error) if error.is_cancelled() => self.cut += 1,
            Err(error) => {
                tracing::error!(%error, "serving an NBD connection panicked");
                self.failed += 1;
            }
        }
    }
}

/// Serves until the wish is [`Wish::End`] or nobody is left who could wish: then no more connections are taken, what is
/// under way is finished, and what is asked for meanwhile is answered with `ESHUTDOWN`.
pub async fn serve<S: Storage>(listener: UnixListener, exports: Exports<S>, limits: Limits, mut wish: watch::Receiver<Wish>) -> Served {
    let (mut sessions, mut served) = (JoinSet::new(), Served::default());
    let wishes = wish.clone();
    loop {
        tokio::select! {
            () = end_is_wished(&mut wish) => break,
            Some(result) = sessions.join_next() => served.count(result),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if sessions.len() < limits.sessions_max => {
                    sessions.spawn(serve_one(stream, exports.clone(), limits, wishes.clone()));
                }
                Ok((stream, _)) => served.refused += refuse(stream, limits),
                Err(error) => {
                    tracing::warn!(%error, "cannot take an NBD connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
    drop(listener);
    let rest = async {
        while let Some(result) = sessions.join_next().await {
            served.count(result);
        }
    };
    if tokio::time::timeout(limits.ending, rest).await.is_err() {
        sessions.abort_all();
        while let Some(result) = sessions.join_next().await {
            served.count(result);
        }
    }
    served
}

async fn end_is_wished(wish: &mut watch::Receiver<Wish>) {
    // An error is that nobody is left who could wish.
    let _ = wish.wait_for(|wish| *wish == Wish::End).await;
}

/// A client that is turned away finds out at once.
fn refuse(stream: UnixStream, limits: Limits) -> u64 {
    tracing::warn!(max = limits.sessions_max, "an NBD connection was turned away: there are too many");
    drop(stream);
    1
}
