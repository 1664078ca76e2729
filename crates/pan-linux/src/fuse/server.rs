//! The threads that take requests from the kernel.
//!
//! A thread waits in read(2) and not in poll(2): the kernel wakes one reader for a request, but all pollers. So a server ends
//! when its connection does, or with its process; what it has not answered then is its successor's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::answer::{Answer, Wanted};
use super::backend::{Backend, Operation};
use super::buffer::{Pool, Room};
use super::error::FuseError;
use super::file::{Step, TheFile};
use super::reply::Reply;
use super::request::Request;
use super::session::Session;
use crate::realtime;

/// Whether somebody served this session before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody.
    First,
    /// Somebody who is gone, and whose operations have ended or can have no effect any more: what is pending is asked for again.
    Successor,
}

/// How a server works.
#[derive(Debug, Clone)]
pub struct ServerSpec {
    /// What it shows.
    pub file: TheFile,
    /// Threads that take requests. Two are enough for a backend that answers later; one that works in
    /// [`Backend::perform`] wants one for each operation it does at a time.
    pub threads: usize,
    /// Writes of more than 16 KiB whose data is held at a time; each costs 1 MiB. While all are held, no request is taken.
    pub large_writes_max: usize,
    /// Whether it has a predecessor.
    pub standing: Standing,
}

/// What went through, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Of these, requests that a predecessor had and did not answer.
    pub resent: u64,
    /// What the kernel sent and was not understood.
    pub malformed: u64,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    threads: Vec<JoinHandle<io::Result<()>>>,
    state: Arc<State>,
    session: Session,
}

#[derive(Debug)]
struct State {
    requests: AtomicU64,
    resent: AtomicU64,
    malformed: AtomicU64,
    size: AtomicU64,
}

struct Worker<B> {
    device: Arc<File>,
    file: TheFile,
    backend: Arc<B>,
    pool: Arc<Pool>,
    state: Arc<State>,
}

impl Server {
    /// Starts to serve. The process must not use the file system itself, and should have its memory locked
    /// ([`realtime::lock_memory`]).
    ///
    /// # Errors
    /// No threads, or what is pending cannot be had again.
    pub fn start<B: Backend>(session: Session, spec: ServerSpec, backend: B) -> Result<Self, FuseError> {
        let failed = |action| move |source| FuseError::Thread { action, source };
        // Before the first request is taken: one of ours would be sent a second time, and the copy that is not waited for could
        // be done after a later write to the same place.
        if spec.standing == Standing::Successor {
            session.resend()?;
        }
        let request_max = session.terms().request_max as usize;
        // Each thread has one at hand beside those that are held.
        let pool = Pool::new(spec.large_writes_max + spec.threads, request_max);
        let zero = || AtomicU64::new(0);
        let state = Arc::new(State { requests: zero(), resent: zero(), malformed: zero(), size: AtomicU64::new(spec.file.size) });
        let device = Arc::new(session.device().try_clone().map_err(failed("duplicate a descriptor"))?);
        let backend = Arc::new(backend);
        let mut threads = Vec::new();
        for number in 0..spec.threads.max(1) {
            let worker = Worker {
                device: Arc::clone(&device),
                file: spec.file.clone(),
                backend: Arc::clone(&backend),
                pool: Arc::clone(&pool),
                state: Arc::clone(&state),
            };
            let thread = thread::Builder::new().name(format!("fuse-{number}"));
            threads.push(thread.spawn(move || worker.run()).map_err(failed("start a thread"))?);
        }
        Ok(Self { threads, state, session })
    }

    /// Lets the file be larger (or smaller, which nobody expects). The kernel asks when it next looks; whoever has a loop
    /// device on it then has to enlarge that.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn set_size(&self, bytes: u64) -> Result<(), FuseError> {
        self.state.size.store(bytes, Ordering::Release);
        self.session.size_changed()
    }

    /// What went through.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { requests: read(&self.state.requests), resent: read(&self.state.resent), malformed: read(&self.state.malformed) }
    }

    /// Waits until the connection has ended: unmounted, or aborted.
    ///
    /// # Errors
    /// What a thread could not read on for.
    pub fn wait(self) -> Result<(), FuseError> {
        for thread in self.threads {
            let ended = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            ended.map_err(|source| FuseError::Thread { action: "read the kernel's requests", source })?;
        }
        Ok(())
    }
}

impl<B: Backend> Worker<B> {
    fn run(mut self) -> io::Result<()> {
        // What is written back to free memory comes through here and must not wait for memory. Without the right to say
        // so it works as well as most FUSE servers do.
        let _ = realtime::set_io_flusher();
        let mut room = None;
        loop {
            let mut at_hand = room.take().unwrap_or_else(|| self.pool.take());
            let mut device: &File = &self.device;
            match device.read(at_hand.target()) {
                Ok(0) => return Ok(()),
                Ok(bytes) => room = self.handle(at_hand, bytes),
                Err(error) => match error.raw_os_error() {
                    // ENOENT: whoever asked was killed while it was read.
                    Some(libc::EINTR | libc::EAGAIN | libc::ENOENT) => room = Some(at_hand),
                    Some(libc::ENODEV | libc::ECONNABORTED) => return Ok(()),
                    _ => return Err(error),
                },
            }
        }
    }

    /// Handles the request in a room, and gives the room back if it is not needed for longer.
    fn handle(&mut self, room: Room, bytes: usize) -> Option<Room> {
        self.state.requests.fetch_add(1, Ordering::Relaxed);
        self.file.size = self.state.size.load(Ordering::Acquire);
        let request = match Request::decode(room.request(bytes)) {
            Ok(request) => request,
            Err(bad) => {
                self.state.malformed.fetch_add(1, Ordering::Relaxed);
                if let Some(unique) = bad.unique() {
                    self.say(&Reply::refusal(unique, libc::EIO));
                }
                return Some(room);
            }
        };
        if request.resent() {
            self.state.resent.fetch_add(1, Ordering::Relaxed);
        }
        let unique = request.unique;
        let answer = |wanted| Answer::new(Arc::clone(&self.device), unique, wanted);
        let (operation, wanted) = match self.file.step(&request) {
            Step::Answer(reply) => {
                self.say(&reply);
                return Some(room);
            }
            Step::Nothing | Step::End => return Some(room),
            Step::Write(extent) => {
                let length = u32::try_from(extent.bytes).unwrap_or(u32::MAX);
                let (payload, room) = room.into_payload(length as usize);
                self.backend.perform(Operation::Write(extent.offset, payload), answer(Wanted::Written(length)));
                return room;
            }
            Step::Read(extent) => (Operation::Read(extent), Wanted::Data(u32::try_from(extent.bytes).unwrap_or(u32::MAX))),
            Step::Flush => (Operation::Flush, Wanted::Done),
            Step::Discard(extent) => (Operation::Discard(extent), Wanted::Done),
            Step::Zero(extent) => (Operation::Zero(extent), Wanted::Done),
        };
        self.backend.perform(operation, answer(wanted));
        Some(room)
    }

    /// As with answers, the kernel refuses what nobody waits for any more.
    fn say(&self, reply: &Reply) {
        let mut device: &File = &self.device;
        let _ = device.write(reply.bytes());
    }
}
