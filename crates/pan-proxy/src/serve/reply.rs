//! An answer's body on its way to the client.

use super::alarm::Patience;
use super::gate::Pass;
use super::record::Record;
use super::send::Carrier;
use super::wire::Taking;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use pan_balance::Outcome;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Why an answer breaks off.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// The server's connection ended, or what it sent is no body.
    #[error("the server's answer broke off")]
    Broken(#[source] hyper::Error),
    /// No byte came for too long, or not all in time.
    #[error("the server's answer did not come in time")]
    Slow,
}

/// A body with what has to happen when it ends.
pub struct Reply {
    source: Source,
    /// How the client takes it.
    taking: Option<Taking>,
    record: Record,
    /// How it breaks off, once what came before is on its way: hyper throws away what it has when a body fails.
    cut: Option<Cut>,
}

enum Source {
    Fixed(Option<Bytes>),
    Stream(Box<Stream>),
}

/// A server's answer.
pub struct Stream {
    incoming: Incoming,
    patience: Patience,
    /// What the server did, if all of it comes.
    outcome: Outcome,
    /// Gone once it is over.
    rest: Option<(Pass, Carrier)>,
}

impl Stream {
    /// Of an answer whose head has come.
    pub fn new(incoming: Incoming, patience: Patience, outcome: Outcome, pass: Pass, carrier: Carrier) -> Self {
        let mut stream = Self { incoming, patience, outcome, rest: Some((pass, carrier)) };
        if stream.incoming.is_end_stream() {
            stream.complete();
        }
        stream
    }

    fn complete(&mut self) {
        if let Some((pass, carrier)) = self.rest.take() {
            carrier.keep(&pass.backend);
            pass.end(self.outcome);
        }
    }

    fn fail(&mut self, cut: Cut) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some((pass, _)) = self.rest.take() {
            pass.end(Outcome::Failed);
        }
        Poll::Ready(Some(Err(cut)))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Pending if self.patience.over(context) => self.fail(Cut::Slow),
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(_))) if self.patience.whole_over() => self.fail(Cut::Slow),
            Poll::Ready(Some(Ok(frame))) => {
                self.patience.progress();
                if self.incoming.is_end_stream() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.fail(Cut::Broken(error)),
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
        }
    }
}

impl Reply {
    /// An answer of the proxy's own.
    pub fn fixed(text: Bytes, record: Record) -> Self {
        Self::of(Source::Fixed(Some(text).filter(|text| !text.is_empty())), record)
    }

    /// A server's answer.
    pub fn stream(stream: Stream, record: Record) -> Self {
        Self::of(Source::Stream(Box::new(stream)), record)
    }

    fn of(source: Source, record: Record) -> Self {
        Self { source, taking: record.taking(), record, cut: None }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        if let Some(cut) = this.cut.take() {
            return Poll::Ready(Some(Err(cut)));
        }
        let polled = match &mut this.source {
            Source::Fixed(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Source::Stream(stream) => stream.poll(context),
        };
        if let Some(taking) = &this.taking {
            match &polled {
                Poll::Ready(Some(Ok(_))) => taking.gave(),
                Poll::Ready(None | Some(Err(_))) | Poll::Pending => taking.asked(),
            }
        }
        match polled {
            Poll::Ready(Some(Err(cut))) => {
                this.record.cut = true;
                this.record.note = Some("the answer broke off");
                this.cut = Some(cut);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.record.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Fixed(text) => text.is_none(),
            Source::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Fixed(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Source::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}
