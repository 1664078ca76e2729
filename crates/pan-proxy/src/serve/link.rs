//! A connection to a server, and what is known of whether anything was written to it.

use super::alarm::Alarm;
use super::gate::Backend;
use super::gather;
use super::upload::Upload;
use crate::attempt::{Failure, Outcome};
use crate::proxied::{self, Ends};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Heads of answers are at most so long.
const HEAD_MAX: usize = 256 << 10;

/// How long a connection of HTTP/2 that has failed is waited for. One that the server ends in good order lasts as long as its
/// other requests, which this one does not wait for.
const ENDING_MAX: Duration = Duration::from_millis(100);

/// Counts what the kernel took.
#[derive(Debug)]
struct Counted {
    io: TcpStream,
    written: Arc<AtomicU64>,
    /// Gone when nothing more can be written.
    _open: watch::Sender<()>,
}

impl Counted {
    fn count(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &result {
            self.written.fetch_add(*count as u64, Ordering::Release);
        }
        result
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(context, bytes);
        self.count(result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = gather::poll_write(Pin::new(&mut self.io), context, bytes);
        self.count(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Connects to a server.
async fn dial(backend: &Backend, limit: Duration) -> Result<TcpStream, Failure> {
    let stream = match tokio::time::timeout(limit, TcpStream::connect(backend.address)).await {
        Ok(connected) => connected.map_err(|_| Failure::Unreachable)?,
        Err(_) => return Err(Failure::ConnectTimeout),
    };
    // A small write that waits for an acknowledgement costs up to 40 ms.
    stream.set_nodelay(true).map_err(|_| Failure::Unreachable)?;
    Ok(stream)
}

/// A connection by HTTP/1.1. It ends when this is dropped.
#[derive(Debug)]
pub struct Link {
    sender: http1::SendRequest<Upload>,
    driver: Option<JoinHandle<()>>,
    written: Arc<AtomicU64>,
    falls: u64,
    /// How often those that are at rest were looked through since it was given back.
    pub rounds: u128,
    /// For answers that are late; most are not, and it need not be set for each.
    pub alarm: Alarm,
}

impl Link {
    /// Connects, and says for whom (`ends`) if the server wants to know.
    ///
    /// # Errors
    /// The server cannot be reached, or not in time.
    pub async fn open(backend: &Backend, ends: &Ends, limit: Duration) -> Result<Self, Failure> {
        let falls = backend.falls();
        let written = Arc::new(AtomicU64::new(0));
        let mut stream = dial(backend, limit).await?;
        if backend.announce {
            // It fits into the buffer of a connection that is new.
            stream.write_all(&proxied::header(ends)).await.map_err(|_| Failure::Unreachable)?;
        }
        let io = Counted { io: stream, written: Arc::clone(&written), _open: watch::Sender::default() };
        let handshake = http1::Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(io)).await;
        let (sender, connection) = handshake.map_err(|_| Failure::Unreachable)?;
        let driver = tokio::spawn(async move {
            // Whoever sent the request is told by hyper.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, driver: Some(driver), written, falls, rounds: 0, alarm: Alarm::default() })
    }

    /// Whether a request can be sent at once.
    pub fn usable(&self, backend: &Backend) -> bool {
        self.sender.is_ready() && self.falls == backend.falls()
    }

    /// Whether it is over.
    pub fn closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// How much was written so far.
    pub fn mark(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Sends a request. If this fails or is given up, [`Link::kill`] says what became of it.
    ///
    /// # Errors
    /// Whatever hyper says.
    pub async fn send(&mut self, request: Request<Upload>) -> hyper::Result<Response<Incoming>> {
        self.sender.send_request(request).await
    }

    /// Ends it. What was written since `mark` is known only then: until then more could be.
    pub async fn kill(mut self, mark: u64) -> Outcome {
        if let Some(driver) = self.driver.take() {
            driver.abort();
            let _ = driver.await;
        }
        if self.written.load(Ordering::Acquire) == mark { Outcome::NotSent } else { Outcome::Unknown }
    }

    /// Lets it live without this: it has become a tunnel.
    pub fn release(mut self) {
        self.driver = None;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.abort();
        }
    }
}

/// A connection by HTTP/2, for many requests at once. It ends when the last of its handles is dropped.
#[derive(Debug, Clone)]
pub struct Trunk {
    sender: http2::SendRequest<Upload>,
    written: Arc<AtomicU64>,
    open: watch::Receiver<()>,
    falls: u64,
}

/// What is known of a request by HTTP/2 that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The connection is over, and nothing of it was written.
    Unwritten,
    /// The server says that it did not act on it: REFUSED_STREAM (RFC 9113, 8.7).
    Refused,
    /// Nothing.
    Unknown,
}

impl Lost {
    /// What that means.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Unwritten | Self::Refused => Outcome::NotSent,
            Self::Unknown => Outcome::Unknown,
        }
    }
}

impl Trunk {
    /// Connects.
    ///
    /// # Errors
    /// The server cannot be reached, not in time, or does not speak HTTP/2.
    pub async fn open(backend: &Backend, limit: Duration) -> Result<Self, Failure> {
        let falls = backend.falls();
        let (written, open) = (Arc::new(AtomicU64::new(0)), watch::Sender::default());
        let (counted, receiver) = (Arc::clone(&written), open.subscribe());
        let io = TokioIo::new(Counted { io: dial(backend, limit).await?, written: counted, _open: open });
        let handshake = http2::Builder::new(TokioExecutor::new()).handshake(io).await;
        let (sender, connection) = handshake.map_err(|_| Failure::Unreachable)?;
        tokio::spawn(async move {
            // Whoever sent a request is told by hyper.
            let _ = connection.await;
        });
        Ok(Self { sender, written, open: receiver, falls })
    }

    /// Whether requests can be sent.
    pub fn usable(&self, backend: &Backend) -> bool {
        self.sender.is_ready() && self.falls == backend.falls()
    }

    /// Whether it is over.
    pub fn closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request.
    ///
    /// # Errors
    /// With what is known of whether the server acted on it. That nothing was written is known when the connection has ended:
    /// until then more could be.
    pub async fn send(&mut self, request: Request<Upload>) -> Result<Response<Incoming>, Lost> {
        let mark = self.written.load(Ordering::Acquire);
        let mut failed = match self.sender.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        if failed.take_message().is_some() {
            return Err(Lost::Unwritten);
        }
        let error = std::error::Error::source(failed.error()).and_then(|source| source.downcast_ref::<h2::Error>());
        if let Some(error) = error.filter(|error| error.is_reset()) {
            let refused = error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return Err(if refused { Lost::Refused } else { Lost::Unknown });
        }
        let ended = tokio::time::timeout(ENDING_MAX, self.open.changed()).await.is_ok();
        Err(if ended && self.written.load(Ordering::Acquire) == mark { Lost::Unwritten } else { Lost::Unknown })
    }
}
