//! Answers that do not end: chunks of bytes, and newline-delimited JSON (one value a line; blank lines are keep-alives).

use crate::ApiError;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use pan_model::Code;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::time::Duration;

/// Longest line that is taken: the desired state of a very large host.
const LINE_MAX: usize = 64 << 20;

/// A stream of bytes. The connection closes when it is dropped.
pub struct Chunks {
    body: Incoming,
    /// The connection's task ends when the last sender is gone.
    _sender: SendRequest<Full<Bytes>>,
    label: String,
    broken: Code,
    silence_max: Option<Duration>,
}

impl Chunks {
    pub(crate) const fn new(body: Incoming, sender: SendRequest<Full<Bytes>>, label: String, broken: Code) -> Self {
        Self { body, _sender: sender, label, broken, silence_max: None }
    }

    /// Fail when nothing arrives, not even a keep-alive, for this long.
    #[must_use]
    pub const fn silence_max(mut self, limit: Duration) -> Self {
        self.silence_max = Some(limit);
        self
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks or is silent for too long.
    pub async fn next(&mut self) -> Option<Result<Bytes, ApiError>> {
        loop {
            let frame = match self.silence_max {
                None => self.body.frame().await,
                Some(limit) => match tokio::time::timeout(limit, self.body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => {
                        let text = format!("{} was silent for {} ms", self.label, limit.as_millis());
                        return Some(Err(ApiError::new(self.broken, text)));
                    }
                },
            };
            match frame? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(ApiError::new(self.broken, format!("{} broke off the stream: {error}", self.label)))),
            }
        }
    }

    /// The same as a [`Stream`].
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ApiError>> + Send {
        stream::unfold(self, |mut chunks| async move { chunks.next().await.map(|item| (item, chunks)) })
    }
}

/// A stream of JSON values, one a line.
pub struct Lines<T> {
    chunks: Chunks,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no newline.
    scanned: usize,
    _value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    pub(crate) fn new(chunks: Chunks) -> Self {
        Self { chunks, buffer: BytesMut::new(), scanned: 0, _value: PhantomData }
    }

    /// Fail when nothing arrives, not even a keep-alive, for this long.
    #[must_use]
    pub fn silence_max(mut self, limit: Duration) -> Self {
        self.chunks = self.chunks.silence_max(limit);
        self
    }

    /// The next value; `None` at the end. Safe to use in `select!`: nothing is lost when it is dropped.
    ///
    /// # Errors
    /// When the connection breaks, is silent for too long, or a line is not a `T`.
    pub async fn next(&mut self) -> Option<Result<T, ApiError>> {
        loop {
            if let Some(line) = self.buffered_line() {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Some(self.read(&line));
            }
            if self.buffer.len() > LINE_MAX {
                return Some(Err(ApiError::new(Code::Internal, format!("{} sent a line over {LINE_MAX} bytes", self.chunks.label))));
            }
            match self.chunks.next().await {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    let rest = self.buffer.split();
                    self.scanned = 0;
                    return if rest.trim_ascii().is_empty() { None } else { Some(self.read(&rest)) };
                }
            }
        }
    }

    fn buffered_line(&mut self) -> Option<BytesMut> {
        match self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let line = self.buffer.split_to(self.scanned + at + 1);
                self.scanned = 0;
                Some(line)
            }
            None => {
                self.scanned = self.buffer.len();
                None
            }
        }
    }

    fn read(&self, line: &[u8]) -> Result<T, ApiError> {
        // A stream that cannot go on ends with an error in place of a value.
        serde_json::from_slice(line).map_err(|error| {
            serde_json::from_slice::<ApiError>(line).unwrap_or_else(|_| {
                ApiError::new(Code::Internal, format!("{} sent a line that is not what was asked for: {error}", self.chunks.label))
            })
        })
    }

    /// The same as a [`Stream`].
    pub fn into_stream(self) -> impl Stream<Item = Result<T, ApiError>> + Send {
        stream::unfold(self, |mut lines| async move { lines.next().await.map(|item| (item, lines)) })
    }
}
