//! The transmission's I/O. One task turns: understand what arrived, gather what is done, send, read, wait.
//!
//! Requests are futures of this task, so no lock and no channel lies between a request and its answer. Storage that wants
//! another thread goes there by itself.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use pan_nbd::{Ended, Request, Step, Transmission};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::input::Input;
use super::output::{Answer, Output};
use super::serve_one::{Outcome, SessionError};
use super::work::{Work, perform};
use crate::buffer::{Buffer, Pool};
use crate::limits::Limits;
use crate::server::Wish;
use crate::storage::Storage;

/// Why nothing more is read.
#[derive(Debug)]
enum Closing {
    Said(Ended),
    HungUp,
    Torn,
}

/// A write whose payload is arriving.
#[derive(Debug)]
struct Filling {
    work: Work,
    filled: usize,
}

impl Filling {
    fn rest(&mut self) -> &mut [u8] {
        let buffer: &mut Buffer = self.work.buffer.as_mut().expect("a write has a buffer");
        &mut buffer[self.filled..]
    }
}

/// Whether a turn of the loop got anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Some,
    None,
}

pub(super) struct Pump<S> {
    stream: UnixStream,
    input: Input,
    transmission: Transmission,
    storage: Arc<S>,
    limits: Limits,
    pool: Pool,
    /// A request that has to wait until others have been answered.
    held_back: Option<Request>,
    filling: Option<Filling>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    output: Output,
    /// The data of everything under way.
    charged: usize,
    closing: Option<Closing>,
    ending: bool,
}

impl<S: Storage> Pump<S> {
    pub fn new(stream: UnixStream, input: Input, transmission: Transmission, storage: Arc<S>, limits: Limits) -> Self {
        let bytes_max = usize::try_from(limits.bytes_max.0).unwrap_or(usize::MAX);
        Self {
            stream,
            input,
            transmission,
            storage,
            limits,
            pool: Pool::new(bytes_max),
            held_back: None,
            filling: None,
            running: FuturesUnordered::new(),
            output: Output::default(),
            charged: 0,
            closing: None,
            ending: false,
        }
    }

    pub async fn run(mut self, mut wish: watch::Receiver<Wish>) -> Result<Outcome, SessionError> {
        loop {
            // Busy clients may keep this from ever waiting; others have a right to the thread.
            tokio::task::coop::consume_budget().await;
            if *wish.borrow_and_update() == Wish::End && !self.ending {
                self.end();
            }
            self.understand();
            self.gather();
            let sent = self.send()?;
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            if sent == Progress::None && self.receive()? == Progress::None {
                self.wait(&mut wish).await?;
            }
        }
    }

    fn end(&mut self) {
        self.ending = true;
        self.transmission.shut_down();
    }

    /// Takes requests from what arrived until it is used up or a bound is reached.
    fn understand(&mut self) {
        if let Some(request) = self.held_back.take() {
            self.admit(request);
        }
        while self.closing.is_none() && (self.filling.is_some() || self.has_room()) {
            let mut unread = self.input.unread();
            let step = self.transmission.advance(&mut unread);
            let left = unread.len();
            match step {
                Step::Need => {
                    self.input.consume_to(left);
                    return;
                }
                Step::Payload(bytes) => {
                    let filling = self.filling.as_mut().expect("payload follows its write");
                    filling.rest()[..bytes.len()].copy_from_slice(bytes);
                    let count = bytes.len();
                    self.input.consume_to(left);
                    self.filled(count);
                }
                Step::Request(request) => {
                    self.input.consume_to(left);
                    self.admit(request);
                }
                Step::Refused(reply) => {
                    self.input.consume_to(left);
                    self.output.push(Answer { reply, data: None, charge: 0 });
                }
                Step::End(ended) => {
                    self.input.consume_to(left);
                    self.closing = Some(Closing::Said(ended));
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.held_back.is_none() && self.running.len() + self.output.count() < self.limits.requests_max
    }

    /// Begins a request if its data may be held, else holds it back.
    fn admit(&mut self, request: Request) {
        let length = match &request {
            Request::Read { span, .. } | Request::Write { span, .. } => Some(span.bytes()),
            Request::Flush { .. } | Request::Trim { .. } | Request::Zero { .. } | Request::Status { .. } | Request::Cache { .. } => None,
        };
        let charge = length.map_or(0, Pool::taken_by);
        let bytes_max = usize::try_from(self.limits.bytes_max.0).unwrap_or(usize::MAX);
        if self.charged > 0 && self.charged + charge > bytes_max {
            self.held_back = Some(request);
            return;
        }
        self.charged += charge;
        let is_write = matches!(request, Request::Write { .. });
        let work = Work { request, buffer: length.map(|length| self.pool.lend(length)), charge };
        if is_write {
            self.filling = Some(Filling { work, filled: 0 });
        } else {
            self.start(work);
        }
    }

    /// So many more bytes of the payload are where they belong.
    fn filled(&mut self, bytes: usize) {
        let filling = self.filling.as_mut().expect("payload follows its write");
        filling.filled += bytes;
        if filling.rest().is_empty() {
            let whole = self.filling.take().expect("just seen");
            self.start(whole.work);
        }
    }

    fn start(&mut self, work: Work) {
        self.running.push(Box::pin(perform(Arc::clone(&self.storage), work)));
    }

    /// Takes what is done already, without waiting, so that it leaves in one system call.
    fn gather(&mut self) {
        while let Some(Some(answer)) = self.running.next().now_or_never() {
            self.output.push(answer);
        }
    }

    fn send(&mut self) -> Result<Progress, SessionError> {
        let freed = self.output.send(&self.stream).map_err(SessionError::Write)?;
        self.charged -= freed.unwrap_or(0);
        Ok(if freed.is_some() { Progress::Some } else { Progress::None })
    }

    /// How it ended, once everything under way is answered.
    fn outcome(&mut self) -> Option<Result<Outcome, SessionError>> {
        if !self.running.is_empty() || !self.output.is_empty() {
            return None;
        }
        match self.closing.take() {
            Some(Closing::Said(Ended::Left)) => Some(Ok(Outcome::Left)),
            Some(Closing::Said(ended)) => Some(Err(SessionError::Protocol(ended))),
            Some(Closing::HungUp) => Some(Ok(Outcome::HungUp)),
            Some(Closing::Torn) => Some(Err(SessionError::Torn)),
            None if self.ending && self.filling.is_none() && self.held_back.is_none() => Some(Ok(Outcome::Finished)),
            None => None,
        }
    }

    fn wants_input(&self) -> bool {
        self.closing.is_none() && (self.filling.is_some() || self.has_room())
    }

    /// Reads what has arrived: the rest of a payload straight to where it belongs, and what follows it in the same call.
    fn receive(&mut self) -> Result<Progress, SessionError> {
        if !self.wants_input() {
            return Ok(Progress::None);
        }
        let space = self.input.space();
        let (read, payload) = match &mut self.filling {
            // Nothing of the input is unread then: it would have been payload.
            Some(filling) => {
                let rest = filling.rest();
                let length = rest.len();
                (self.stream.try_read_vectored(&mut [IoSliceMut::new(rest), IoSliceMut::new(space)]), length)
            }
            None => (self.stream.try_read(space), 0),
        };
        match read {
            Ok(0) => {
                let torn = self.filling.is_some() || !self.input.is_empty();
                self.closing = Some(if torn { Closing::Torn } else { Closing::HungUp });
            }
            Ok(bytes) => {
                let payload = payload.min(bytes);
                self.input.grew(bytes - payload);
                if payload > 0 {
                    self.transmission.payload_taken(u32::try_from(payload).expect("no longer than a request"));
                    self.filled(payload);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::None),
            Err(error) => return Err(SessionError::Read(error)),
        }
        Ok(Progress::Some)
    }

    async fn wait(&mut self, wish: &mut watch::Receiver<Wish>) -> Result<(), SessionError> {
        let unsent = !self.output.is_empty();
        let interest = match (self.wants_input(), unsent) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        tokio::select! {
            Some(answer) = self.running.next() => self.output.push(answer),
            ready = self.stream.ready(interest.unwrap_or(Interest::READABLE)), if interest.is_some() => {
                ready.map_err(SessionError::Read)?;
            }
            changed = wish.changed(), if !self.ending => {
                if changed.is_err() {
                    self.end();
                }
            }
            // Begins anew with every answer that becomes ready, of which there can be only so many.
            () = tokio::time::sleep(self.limits.unread), if unsent => return Err(SessionError::Unread(self.limits.unread)),
        }
        Ok(())
    }
}
