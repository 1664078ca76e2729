//! How a proxy that is a process of its own is told what to do: one JSON object a line on a unix socket, an answer to each in
//! its turn. Whoever may open the socket may do everything; its folder is who that is.

pub use super::socket::{BindError, Socket};

use super::explain::{Explained, Question};
use super::proxy::{ACCEPT_PAUSE, Proxy};
use crate::tally::ServiceCounts;
use pan_model::Span;
use pan_model::proxy::ProxySpec;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::SocketAddr;
use tokio::sync::{mpsc, oneshot};

/// A document of ten thousand routes and their certificates is a tenth of this.
const LINE_MAX: u64 = 64 << 20;

/// Asked at once; more wait.
const ASKED_MAX: usize = 16;

/// What a proxy can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Ask {
    /// To put a document in force.
    Apply(ProxySpec),
    /// What it has counted.
    Counts,
    /// Why a request would go where it would go.
    Explain(Question),
    /// To let requests end, for so long at most, and to end.
    Drain(Span),
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// The document is in force.
    Applied,
    /// It is not, or the line is no question; why.
    Refused(String),
    /// What it has counted, by service.
    Counts(Vec<ServiceCounts>),
    /// Where it would go, and why.
    Explained(Box<Explained>),
    /// It has ended, and cut so many connections.
    Drained(usize),
}

type Asked = (Ask, oneshot::Sender<Answer>);

/// Does what it is asked until it is asked or `told` to end, and then lets requests end for `limit` at most.
///
/// # Errors
/// The socket cannot be waited on.
pub async fn run(proxy: Proxy, socket: Socket, told: impl Future<Output = ()>, limit: Duration) -> io::Result<()> {
    let listener = socket.listener()?;
    let (asked, mut asking) = mpsc::channel::<Asked>(ASKED_MAX);
    let mut told = std::pin::pin!(told);
    let (limit, answer) = loop {
        tokio::select! {
            () = &mut told => break (limit, None),
            stream = accepted(|| listener.accept()) => drop(tokio::spawn(converse(stream, asked.clone()))),
            Some((ask, answer)) = asking.recv() => match ask {
                Ask::Apply(spec) => drop(answer.send(match proxy.apply(&spec) {
                    Ok(()) => Answer::Applied,
                    Err(error) => Answer::Refused(with_causes(&error)),
                })),
                Ask::Explain(question) => drop(answer.send(match proxy.explain(&question) {
                    Ok(explained) => Answer::Explained(Box::new(explained)),
                    Err(misfit) => Answer::Refused(misfit.to_string()),
                })),
                Ask::Counts => drop(answer.send(Answer::Counts(proxy.counts()))),
                Ask::Drain(limit) => break (limit.0, Some(answer)),
            },
        }
    };
    drop(asked);
    // The name is the next process's from here on.
    drop(socket);
    drop(listener);
    // Whoever has been connected before may go on to ask what is there still.
    let cut = drained(&proxy, limit, &mut asking).await;
    drop(proxy);
    tracing::info!(cut, "the proxy ends");
    if let Some(answer) = answer {
        let _ = answer.send(Answer::Drained(cut));
        // Whoever asked has read it when it closes its end, and closes it in any case when it ends.
        let _ = tokio::time::timeout(Duration::from_secs(1), async { while asking.recv().await.is_some() {} }).await;
    }
    Ok(())
}

/// Has requests end, and answers meanwhile what it still has. Returns how many connections are left.
async fn drained(proxy: &Proxy, limit: Duration, asking: &mut mpsc::Receiver<Asked>) -> usize {
    let mut draining = std::pin::pin!(proxy.drain(limit));
    loop {
        tokio::select! {
            cut = &mut draining => return cut,
            Some((ask, answer)) = asking.recv() => drop(answer.send(match ask {
                Ask::Counts => Answer::Counts(proxy.counts()),
                Ask::Apply(_) | Ask::Explain(_) | Ask::Drain(_) => Answer::Refused("it ends".to_owned()),
            })),
        }
    }
}

/// The next connection. Errors, which are most often that there are no descriptors, pass.
async fn accepted<F, S, A>(accept: F) -> S
where
    F: Fn() -> A,
    A: Future<Output = io::Result<(S, SocketAddr)>>,
{
    loop {
        match accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the control socket");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    text
}

async fn converse(stream: UnixStream, asked: mpsc::Sender<Asked>) {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    loop {
        let mut line = Vec::new();
        match (&mut reading).take(LINE_MAX).read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        let answer = match serde_json::from_slice(&line) {
            Ok(ask) => {
                let (answer, answered) = oneshot::channel();
                if asked.send((ask, answer)).await.is_err() {
                    return;
                }
                let Ok(answer) = answered.await else { return };
                answer
            }
            Err(error) => Answer::Refused(format!("the line is no question of a proxy's: {error}")),
        };
        let mut text = serde_json::to_vec(&answer).expect("answers are JSON");
        text.push(b'\n');
        if writing.write_all(&text).await.is_err() {
            return;
        }
    }
}

/// Asks a proxy.
///
/// # Errors
/// It is not there, or what it says is no answer.
pub async fn ask(socket: &Path, ask: &Ask) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut text = serde_json::to_vec(ask)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    let mut answer = Vec::new();
    BufReader::new(stream).take(LINE_MAX).read_until(b'\n', &mut answer).await?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the proxy ended without an answer"));
    }
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn errors_of_accept_pass() {
        let (client, server) = UnixStream::pair().unwrap();
        let (calls, peer) = (Cell::new(0), server.peer_addr().unwrap());
        let accept = || {
            calls.set(calls.get() + 1);
            let (call, peer) = (calls.get(), peer.clone());
            async move { if call < 3 { Err(io::ErrorKind::Other.into()) } else { Ok((call, peer)) } }
        };
        assert_eq!(accepted(accept).await, 3);
        drop(client);
    }
}
