//! What remains of two connections after an upgrade: bytes to and fro, until both sides have ended or neither says
//! anything for too long.

use super::connection::Conversation;
use super::gate::Pass;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use pan_balance::Outcome;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The two sides.
pub struct Ends {
    /// The client's.
    pub client: OnUpgrade,
    /// The server's.
    pub server: OnUpgrade,
    /// Holds the server's place as long as it lasts.
    pub pass: Pass,
    /// How long nobody may say anything.
    pub idle: Duration,
}

/// Begins as soon as hyper has handed both over. It ends with the proxy's drain at the latest.
pub fn spawn(talk: &Arc<Conversation>, ends: Ends) {
    let guard = talk.clone();
    tokio::spawn(async move {
        let Ends { client, server, pass, idle } = ends;
        let limit = guard.service.timeouts.head.0;
        let both = async { tokio::try_join!(client, server) };
        if let Ok(Ok((client, server))) = tokio::time::timeout(limit, both).await {
            relay(client, server, idle).await;
        }
        pass.end(Outcome::Answered);
        drop(guard);
    });
}

async fn relay(client: Upgraded, server: Upgraded, idle: Duration) {
    let last = Arc::new(Mutex::new(Instant::now()));
    let mut client = Watched { io: TokioIo::new(client), last: Arc::clone(&last) };
    let mut server = Watched { io: TokioIo::new(server), last: Arc::clone(&last) };
    let mut copying = std::pin::pin!(tokio::io::copy_bidirectional(&mut client, &mut server));
    let mut alarm = super::alarm::Alarm::default();
    std::future::poll_fn(|context| {
        if let Poll::Ready(ended) = copying.as_mut().poll(context) {
            // Whichever way it ended, both connections end with it.
            drop(ended);
            return Poll::Ready(());
        }
        let deadline = *last.lock().expect("nobody panics who holds it") + idle;
        if alarm.over(deadline, context) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Remembers when something last came.
struct Watched {
    io: TokioIo<Upgraded>,
    last: Arc<Mutex<Instant>>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_read(context, buffer);
        if result.is_ready() {
            *self.last.lock().expect("nobody panics who holds it") = Instant::now();
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
