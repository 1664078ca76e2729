//! gRPC over one HTTP/2 connection: as much of it as two kinds of calls need.
//!
//! Source: the gRPC specification `PROTOCOL-HTTP2.md`. A message is a byte that says whether it is
//! compressed (never asked for), its length as four bytes, and itself; the status is in the trailers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2::SendRequest;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};

use super::endpoint::Endpoint;
use super::failure::{Failure, code};
use super::wire::Method;

/// Bytes before each message.
const HEAD_BYTES: usize = 5;

/// The largest message taken: several times what a member started with the right flags sends as one.
pub(super) const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Messages of a stream that may wait for the connection: commands of a watch, of which there are few.
const OUTGOING_MAX: usize = 4;

/// A message as it goes over the wire.
pub(super) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(HEAD_BYTES + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("transactions are bounded far below 4 GiB"));
    message.encode(&mut out).expect("the buffer grows");
    out.freeze()
}

/// What a call sends: one message, or some now and then.
#[derive(Debug)]
pub(super) enum Outgoing {
    One(Option<Bytes>),
    Some(mpsc::Receiver<Bytes>),
}

impl Outgoing {
    /// A body that stays open until the sender is dropped.
    pub(super) fn open() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, receiver) = mpsc::channel(OUTGOING_MAX);
        (sender, Self::Some(receiver))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::One(message) => Poll::Ready(message.take()),
            Self::Some(receiver) => receiver.poll_recv(context),
        };
        next.map(|message| message.map(|message| Ok(Frame::data(message))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::One(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::One(message) => SizeHint::with_exact(message.as_ref().map_or(0, Bytes::len) as u64),
            Self::Some(_) => SizeHint::default(),
        }
    }
}

/// Sends a request; returns once the member began to answer.
pub(super) async fn call(
    sender: &mut SendRequest<Outgoing>,
    endpoint: &Endpoint,
    method: Method,
    body: Outgoing,
) -> Result<Answers, Failure> {
    let request = Request::post(format!("{endpoint}{}", method.path()))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        // Without a leader, a member is to say so at once rather than to wait.
        .header("hasleader", "true");
    let request = request.body(body).expect("an endpoint, a path and these headers make a request");
    let response = sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
        Some(_) => Failure::NotSent { endpoint: endpoint.clone(), source: error.into_error().into() },
        None => Failure::Lost { endpoint: endpoint.clone(), source: error.into_error().into() },
    })?;
    let (head, body) = response.into_parts();
    if head.status != hyper::StatusCode::OK {
        let source = format!("it answers with HTTP status {}", head.status).into();
        return Err(Failure::Lost { endpoint: endpoint.clone(), source });
    }
    let trailers = head.headers.contains_key(STATUS).then_some(head.headers);
    Ok(Answers { endpoint: endpoint.clone(), body, buffer: BytesMut::new(), pause_max: None, trailers })
}

const STATUS: &str = "grpc-status";

/// The messages a member sends on one stream.
#[derive(Debug)]
pub(super) struct Answers {
    endpoint: Endpoint,
    body: Incoming,
    buffer: BytesMut,
    /// The longest time between two parts of what it sends, if there is a limit.
    pub(super) pause_max: Option<Duration>,
    /// Known at once when a call fails before its first message, else last.
    trailers: Option<HeaderMap>,
}

impl Answers {
    /// The next message; none when the member ended the stream in good order. Safe to drop and call again.
    pub(super) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Failure> {
        loop {
            if let Some(message) = self.take()? {
                let decoded = M::decode(message);
                return decoded.map(Some).map_err(|error| self.lost(error));
            }
            let part = match self.pause_max {
                None => self.body.frame().await,
                Some(pause) => match timeout(pause, self.body.frame()).await {
                    Ok(part) => part,
                    Err(_) => return Err(self.lost(format!("its answer stopped for {pause:?}"))),
                },
            };
            match part {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok().or(self.trailers.take()),
                },
                Some(Err(error)) => return Err(self.lost(error)),
                None => return self.end().map(|()| None),
            }
        }
    }

    /// A whole message from the buffer.
    fn take(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some((&[compressed, ref length @ ..], _)) = self.buffer.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if compressed != 0 {
            return Err(self.lost("its answer is compressed, which was not asked for"));
        }
        if length > MESSAGE_BYTES_MAX {
            return Err(Failure::AnswerTooLarge { endpoint: self.endpoint.clone(), max: MESSAGE_BYTES_MAX });
        }
        if self.buffer.len() < HEAD_BYTES + length {
            self.buffer.reserve(HEAD_BYTES + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEAD_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn end(&mut self) -> Result<(), Failure> {
        let Some(trailers) = &self.trailers else { return Err(self.lost("its answer has no status")) };
        let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
        match text(STATUS).and_then(|status| status.parse().ok()) {
            Some(code::OK) if self.buffer.is_empty() => Ok(()),
            Some(code::OK) => Err(self.lost("its answer ends within a message")),
            Some(status) => {
                let message = percent_decoded(text("grpc-message").unwrap_or("no reason given"));
                Err(Failure::status(self.endpoint.clone(), status, message))
            }
            None => Err(self.lost("its answer has no status")),
        }
    }

    fn lost(&self, source: impl Into<crate::error::BoxError>) -> Failure {
        Failure::Lost { endpoint: self.endpoint.clone(), source: source.into() }
    }
}

/// A status message, in which all but printable ASCII is `%XX`.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) => (out.push(decoded), at += 3).1,
            None => (out.push(byte), at += 1).1,
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_messages_are_decoded() {
        for (text, wanted) in [("a%20b", "a b"), ("100%", "100%"), ("%C3%BC%zz", "ü%zz"), ("", "")] {
            assert_eq!(percent_decoded(text), wanted);
        }
    }

    #[test]
    fn a_frame_is_a_head_and_the_message() {
        let message = super::super::wire::ResponseHeader { revision: 5 };
        assert_eq!(frame(&message).as_ref(), [0, 0, 0, 0, 2, 0x18, 5]);
    }
}
