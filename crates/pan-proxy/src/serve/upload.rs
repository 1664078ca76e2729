//! A request's body on its way to a server. What has gone by is kept as long as it is little, so that another
//! server can be given all of it from the beginning.

use super::alarm::Patience;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use tokio::time::Instant;

/// Why a body cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is longer than the service allows.
    #[error("the request's body is longer than this service allows")]
    TooLarge,
    /// No byte of it came for too long, or not all of it in time.
    #[error("the request's body did not come in time")]
    Slow,
    /// The client went away, or what it sent is no body.
    #[error("the request's body broke off")]
    Broken,
    /// It is being read by another attempt.
    #[error("the request is sent to another server")]
    Superseded,
}

/// A body, as all attempts share it.
#[derive(Debug)]
pub struct Feed(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    source: Incoming,
    total: Option<u64>,
    limit: Option<u64>,
    patience: Patience,
    kept: Kept,
    read: u64,
    ended: bool,
    trailers: Option<HeaderMap>,
    fault: Option<Fault>,
    /// The attempt that may read.
    reader: u32,
    last: Instant,
}

/// What has gone by, in one piece: a frame that is kept as it came keeps the buffer that it was read into, which may be a
/// thousand times as large.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    /// At most so much; nothing any more if none.
    most: Option<u64>,
}

impl Kept {
    fn keep(&mut self, data: &[u8]) {
        if self.most.is_some_and(|most| (self.bytes.len() + data.len()) as u64 <= most) {
            self.bytes.extend_from_slice(data);
        } else {
            *self = Self { bytes: Vec::new(), most: None };
        }
    }

    /// What follows the first `at` bytes.
    fn after(&self, at: usize) -> Option<Bytes> {
        self.bytes.get(at..).filter(|rest| !rest.is_empty()).map(Bytes::copy_from_slice)
    }
}

/// How much of a body is allowed, kept and waited for.
#[derive(Debug)]
pub struct Terms {
    /// At most so long.
    pub limit: Option<u64>,
    /// At most so much is kept.
    pub keep_max: u64,
    /// How long to wait for it.
    pub patience: Patience,
}

impl Feed {
    /// Of a request; nothing if it has no body.
    pub fn of(source: Incoming, terms: impl FnOnce() -> Terms) -> Option<Arc<Self>> {
        if source.is_end_stream() {
            return None;
        }
        let Terms { limit, keep_max, patience } = terms();
        Some(Arc::new(Self(Mutex::new(Inner {
            total: source.size_hint().exact(),
            source,
            limit,
            patience,
            kept: Kept { bytes: Vec::new(), most: Some(keep_max) },
            read: 0,
            ended: false,
            trailers: None,
            fault: None,
            reader: 0,
            last: Instant::now(),
        }))))
    }

    /// The body for another attempt; those of earlier ones end.
    pub fn attempt(self: &Arc<Self>) -> Upload {
        let mut inner = self.lock();
        inner.reader += 1;
        Upload { reader: inner.reader, total: inner.total, feed: Some(Arc::clone(self)), at: 0 }
    }

    /// Whether all that was read of it can be given again.
    pub fn replayable(&self) -> bool {
        let inner = self.lock();
        inner.fault.is_none() && (inner.kept.most.is_some() || inner.read == 0)
    }

    /// No other attempt will be made.
    pub fn keep_no_more(&self) {
        self.lock().kept.most = None;
    }

    /// What went wrong with it on the client's side.
    pub fn fault(&self) -> Option<Fault> {
        self.lock().fault
    }

    /// How much was read.
    pub fn read(&self) -> u64 {
        self.lock().read
    }

    /// When its last byte was given to a server; if more is to come, when that is late.
    pub fn last(&self) -> Instant {
        let inner = self.lock();
        if inner.ended { inner.last } else { inner.last + inner.patience.limit() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nobody panics who holds it")
    }
}

impl Inner {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(fault) = self.fault {
            return Poll::Ready(Some(Err(fault)));
        }
        let fault = match Pin::new(&mut self.source).poll_frame(context) {
            Poll::Pending if self.patience.over(context) => Fault::Slow,
            Poll::Pending => return Poll::Pending,
            Poll::Ready(_) if self.patience.whole_over() => Fault::Slow,
            Poll::Ready(Some(Ok(frame))) => return self.frame(frame),
            Poll::Ready(Some(Err(_))) => Fault::Broken,
            Poll::Ready(None) => {
                self.end();
                return Poll::Ready(None);
            }
        };
        self.fault = Some(fault);
        Poll::Ready(Some(Err(fault)))
    }

    fn frame(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.patience.progress();
        self.last = Instant::now();
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => {
                if let Ok(trailers) = other.into_trailers() {
                    self.trailers = Some(trailers.clone());
                    self.end();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
            }
        };
        self.read += data.len() as u64;
        if self.limit.is_some_and(|limit| self.read > limit) {
            self.fault = Some(Fault::TooLarge);
            return Poll::Ready(Some(Err(Fault::TooLarge)));
        }
        self.kept.keep(&data);
        if self.source.is_end_stream() {
            self.end();
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn end(&mut self) {
        self.ended = true;
        self.last = Instant::now();
    }
}

/// A body for one attempt.
#[derive(Debug, Default)]
pub struct Upload {
    feed: Option<Arc<Feed>>,
    reader: u32,
    total: Option<u64>,
    /// Bytes of those kept that it has had.
    at: usize,
}

impl Upload {
    /// No body.
    pub fn none() -> Self {
        Self::default()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        let Some(feed) = &this.feed else { return Poll::Ready(None) };
        let mut inner = feed.lock();
        if inner.reader != this.reader {
            return Poll::Ready(Some(Err(Fault::Superseded)));
        }
        if let Some(data) = inner.kept.after(this.at) {
            this.at += data.len();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if inner.ended {
            let trailers = inner.trailers.clone();
            drop(inner);
            this.feed = None;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let polled = inner.poll(context);
        // What was kept now is what is given now. Forgotten all at once: then nothing of it is looked for any more.
        this.at = inner.kept.bytes.len();
        if inner.ended && matches!(&polled, Poll::Ready(Some(Ok(frame))) if frame.is_trailers()) {
            drop(inner);
            this.feed = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.feed.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.feed, self.total) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(total)) => SizeHint::with_exact(total),
            (Some(_), None) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_takes_what_it_has_bytes_however_it_came() {
        let mut kept = Kept { bytes: Vec::new(), most: Some(1_000) };
        let read = Bytes::from(vec![b'x'; 100_000]);
        for at in 0..1_000 {
            kept.keep(&read.slice(at..=at));
        }
        assert!(read.is_unique(), "what was read into can be let go");
        assert_eq!(kept.after(0).map(|all| all.len()), Some(1_000), "and all of it is one frame");
        assert_eq!((kept.after(999), kept.after(1_000)), (Some(Bytes::from_static(b"x")), None));
        kept.keep(b"x");
        assert_eq!((kept.after(0), kept.most), (None, None), "one more is too many");
        kept.keep(b"x");
        assert_eq!(kept.after(0), None);
    }
}
