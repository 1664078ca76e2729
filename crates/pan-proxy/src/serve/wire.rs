//! A client's connection as hyper reads and writes it: bytes of HTTP/1 pass only when [`crate::screen`] finds them good, heads
//! only when they are complete, and neither a client that sends nor one that reads too slowly holds it for ever.
//!
//! In place of what is refused, hyper gets a request of ours with which the connection ends. So the refusal is
//! an answer like any other, in its turn after those to requests before it.

use super::alarm::Alarm;
use super::gather;
use crate::limits::{Overdue, Phase};
use crate::screen::{Refusal, Screen, Upgrade};
use pan_model::proxy::{Limits, Timeouts};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A connection that ends with bytes unread is reset, and what was answered may be lost on its way. So they are read, for so
/// long ...
const LINGER: Duration = Duration::from_millis(500);

/// ... and at most so many.
const LINGER_BYTES: usize = 1 << 20;

/// Stands for whatever was refused.
const INSTEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// The number of no request: what is refused is a part of one that is being answered.
const NO_REQUEST: u64 = u64::MAX;

/// What the wire and those who answer its requests know together.
#[derive(Debug)]
pub struct WireState {
    began: Instant,
    /// Told when there is a first request.
    begun: tokio::sync::Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// None for HTTP/2.
    screen: Option<Screen>,
    /// The number of the request that stands for a refusal.
    refused: Option<(u64, Refusal)>,
    /// Requests that were asked to be answered.
    calls: u64,
    /// Requests that are being answered.
    active: usize,
    /// When the last of them ended, since the connection began.
    idle_since: Duration,
    /// Of HTTP/2: answers of which hyper has had something and not asked for more yet, because the client gives it no room.
    untaken: Untaken,
    reader: Option<Waker>,
}

/// How a wire reads what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.
    One,
    /// HTTP/2.
    Two,
}

impl WireState {
    /// Of a connection that begins.
    pub fn new(speaks: Speaks, limits: &Limits, began: Instant) -> Self {
        let screen = match speaks {
            Speaks::One => Some(Screen::new(limits)),
            Speaks::Two => None,
        };
        let (idle_since, untaken) = (Duration::ZERO, Untaken::default());
        let inner = Inner { screen, refused: None, calls: 0, active: 0, idle_since, untaken, reader: None };
        Self { began, begun: tokio::sync::Notify::new(), inner: Mutex::new(inner) }
    }

    /// A request is to be answered; why it is refused, if it stands for a refusal.
    pub fn call(&self) -> Option<Refusal> {
        let mut inner = self.lock();
        inner.calls += 1;
        if inner.calls == 1 {
            self.begun.notify_one();
        }
        inner.active += 1;
        inner.refused.filter(|(number, _)| *number == inner.calls).map(|(_, why)| why)
    }

    /// Until there is a first request; to be waited for once.
    pub async fn begun(&self) {
        self.begun.notified().await;
    }

    /// What was refused within a body, whose request is being answered.
    pub fn broken(&self) -> Option<Refusal> {
        self.lock().refused.map(|(_, why)| why)
    }

    /// A request was answered, or given up.
    pub fn ended(&self) {
        let mut inner = self.lock();
        inner.active = inner.active.saturating_sub(1);
        inner.idle_since = self.began.elapsed();
    }

    /// A request to upgrade is about to be answered.
    pub fn settle(&self, agreed: Upgrade) {
        let mut inner = self.lock();
        if let Some(screen) = &mut inner.screen {
            screen.settle(agreed);
        }
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }

    /// An answer begins. Nothing for HTTP/1, where writing stands still when the client takes nothing.
    pub fn answer(self: &Arc<Self>) -> Option<Taking> {
        let mut inner = self.lock();
        if inner.screen.is_some() {
            return None;
        }
        let number = inner.untaken.begin(self.began.elapsed());
        Some(Taking { wire: Arc::clone(self), number })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics who holds it")
    }
}

/// How an answer of HTTP/2 is taken. Over when dropped.
pub struct Taking {
    wire: Arc<WireState>,
    number: u64,
}

impl Taking {
    /// More was given.
    pub fn gave(&self) {
        let now = self.wire.began.elapsed();
        self.wire.lock().untaken.gave(self.number, now);
    }

    /// More is asked for than there is: it is the server that is waited for.
    pub fn asked(&self) {
        self.wire.lock().untaken.over(self.number);
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.wire.lock().untaken.over(self.number);
    }
}

/// Answers that wait to be taken on, with when each last was. Times are since the connection began.
#[derive(Debug, Default)]
struct Untaken {
    begun: u64,
    since: BTreeMap<u64, Duration>,
}

impl Untaken {
    fn begin(&mut self, now: Duration) -> u64 {
        self.begun += 1;
        self.gave(self.begun, now);
        self.begun
    }

    fn gave(&mut self, number: u64, now: Duration) {
        self.since.insert(number, now);
    }

    fn over(&mut self, number: u64) {
        self.since.remove(&number);
    }

    /// Since when the one waits that has waited longest. O(answers), of which there are as many as `limits.streams`.
    fn oldest(&self) -> Option<Duration> {
        self.since.values().min().copied()
    }
}

/// The connection.
pub struct Wire<S> {
    io: S,
    state: Arc<WireState>,
    timeouts: Timeouts,
    /// Came before anybody asked: what told HTTP/1 from HTTP/2.
    early: Vec<u8>,
    /// Good, and not yet asked for.
    out: Vec<u8>,
    taken: usize,
    /// A head so far, with when it began.
    held: Vec<u8>,
    head_since: Duration,
    reading: Alarm,
    writing: Alarm,
    stalled: Option<Instant>,
    finished: bool,
    /// What is wrong with the body, once what came before it was asked for.
    broken: Option<Refusal>,
    /// Until when what comes is read and thrown away, and how much was.
    lingering: Option<(Instant, usize)>,
}

impl<S> Wire<S> {
    /// Of a connection of which `early` was read already.
    pub fn new(io: S, state: Arc<WireState>, timeouts: Timeouts, early: Vec<u8>) -> Self {
        Self {
            io,
            state,
            timeouts,
            early,
            out: Vec::new(),
            taken: 0,
            held: Vec::new(),
            head_since: Duration::ZERO,
            reading: Alarm::default(),
            writing: Alarm::default(),
            stalled: None,
            finished: false,
            broken: None,
            lingering: None,
        }
    }

    /// Gives what is good and was not asked for. Says whether there was any.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let rest = &self.out[self.taken..];
        if rest.is_empty() {
            return false;
        }
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.out.len() {
            self.out.clear();
            self.taken = 0;
        }
        true
    }

    /// Looks at what came, which was read into `buffer` after `before`, and leaves there what is good of it.
    fn look(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let state = Arc::clone(&self.state);
        let mut inner = state.lock();
        let Some(screen) = &mut inner.screen else { return };
        let (heads, within) = (screen.heads(), screen.within_head());
        let new = &buffer.filled()[before..];
        let fed = screen.feed(new);
        if screen.within_head() && (!within || screen.heads() > heads) {
            self.head_since = if screen.heads() == 0 { Duration::ZERO } else { state.began.elapsed() };
        }
        if self.held.is_empty() {
            self.held.extend_from_slice(&new[fed.good..]);
            buffer.set_filled(before + fed.good);
        } else if fed.good > 0 {
            self.out.append(&mut self.held);
            self.out.extend_from_slice(&new[..fed.good]);
            self.held.extend_from_slice(&new[fed.good..]);
            buffer.set_filled(before);
        } else {
            self.held.extend_from_slice(new);
            buffer.set_filled(before);
        }
        let Some(why) = fed.refused else { return };
        let (heads, within_body) = (screen.heads(), screen.body_refused());
        self.finished = true;
        if within_body {
            inner.refused = Some((NO_REQUEST, why));
            self.broken = Some(why);
        } else if why == Refusal::EarlyBytes {
            // The request to upgrade itself, which nobody has seen yet, is what cannot be answered.
            inner.refused = Some((heads, why));
        } else {
            inner.refused = Some((heads + 1, why));
            self.instead();
        }
    }

    fn instead(&mut self) {
        self.held.clear();
        self.out.extend_from_slice(INSTEAD);
        self.finished = true;
    }

    /// Nothing came: whether that has lasted too long.
    fn overdue(&mut self, context: &mut Context<'_>) -> Option<Overdue> {
        let (phase, began) = {
            let inner = self.state.lock();
            let within = inner.screen.as_ref().is_some_and(Screen::within_head);
            let before = inner.screen.as_ref().is_none_or(Screen::before_or_within_head);
            let first = inner.calls == 0;
            let phase = match () {
                () if inner.active > 0 || !before => Phase::Busy { untaken: inner.untaken.oldest() },
                () if within => Phase::Head { since: self.head_since },
                () => Phase::Waiting { since: inner.idle_since, first },
            };
            (phase, self.state.began)
        };
        let Some((due, overdue)) = phase.due(&self.timeouts) else {
            // Whoever answers may be done, or begin to wait for the client, before anything is read again.
            let again = Instant::now() + self.timeouts.head.0.min(self.timeouts.body.0);
            let _ = self.reading.over(again, context);
            return None;
        };
        self.reading.over(began + due, context).then_some(overdue)
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    fn fill(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early[..count]);
            self.early.drain(..count);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.give(buffer) {
                return Poll::Ready(Ok(()));
            }
            if let Some(why) = this.broken.take() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why.sentence())));
            }
            if this.finished {
                // An end would make hyper drop the answer that says why.
                return Poll::Pending;
            }
            {
                let mut inner = this.state.lock();
                if inner.screen.as_ref().is_some_and(Screen::held) {
                    inner.reader = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
            let before = buffer.filled().len();
            match this.fill(context, buffer) {
                Poll::Ready(Ok(())) if buffer.filled().len() == before => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {
                    this.look(buffer, before);
                    if buffer.filled().len() > before {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => match this.overdue(context) {
                    None => return Poll::Pending,
                    Some(Overdue::Head) => {
                        let mut inner = this.state.lock();
                        let screen = inner.screen.as_mut().expect("only HTTP/1 has heads here");
                        screen.refuse(Refusal::Slow);
                        inner.refused = Some((screen.heads() + 1, Refusal::Slow));
                        drop(inner);
                        this.instead();
                    }
                    Some(Overdue::Idle | Overdue::Stalled) => return Poll::Ready(Ok(())),
                },
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    fn wrote<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        if self.writing.over(since + self.timeouts.body.0, context) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take what it is sent")));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads what is left of a connection whose last message was not read to its end.
    fn linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let unread = self.finished || self.state.lock().screen.as_ref().is_some_and(Screen::unread);
        if !unread {
            return Poll::Ready(());
        }
        let (until, read) = self.lingering.get_or_insert_with(|| (Instant::now() + LINGER, 0));
        let mut space = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && *read < LINGER_BYTES => *read += buffer.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if self.reading.over(*until, context) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(context, bytes);
        self.wrote(context, result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = gather::poll_write(Pin::new(&mut self.io), context, bytes);
        self.wrote(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(context);
        self.wrote(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let result = Pin::new(&mut self.io).poll_shutdown(context);
            match self.wrote(context, result) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        }
        self.linger(context).map(Ok)
    }
}
