//! The threads that take requests from the kernel.
//!
//! A thread waits in read(2) and not in poll(2): the kernel wakes one reader for a request, but all pollers. So a server ends
//! when its connection does, or with its process; what it has not answered then is its successor's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use nix::fcntl::OFlag;

use super::backend::Backend;
use super::buffer::Pool;
use super::error::FuseError;
use super::file::TheFile;
use super::inbox::{self, Next, Shared, Taker};
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
    shared: Arc<Shared>,
    session: Session,
}

struct Worker<B> {
    taker: Taker,
    backend: Arc<B>,
}

impl Server {
    /// Starts to serve. The process must not use the file system itself, and should have its memory locked
    /// ([`realtime::lock_memory`]).
    ///
    /// # Errors
    /// No threads, or what is pending cannot be had again.
    pub fn start<B: Backend>(session: Session, spec: ServerSpec, backend: B) -> Result<Self, FuseError> {
        let failed = |action| move |source| FuseError::Thread { action, source };
        inbox::begin(&session, spec.standing, OFlag::empty())?;
        let request_max = session.terms().request_max as usize;
        // Each thread has one at hand beside those that are held.
        let pool = Pool::new(spec.large_writes_max + spec.threads, request_max);
        let shared = Shared::new(spec.file.size);
        let device = Arc::new(session.device().try_clone().map_err(failed("duplicate a descriptor"))?);
        let backend = Arc::new(backend);
        let mut threads = Vec::new();
        for number in 0..spec.threads.max(1) {
            let (device, pool, shared) = (Arc::clone(&device), Arc::clone(&pool), Arc::clone(&shared));
            let taker = Taker { device, file: spec.file.clone(), pool, shared, room: None };
            let worker = Worker { taker, backend: Arc::clone(&backend) };
            let thread = thread::Builder::new().name(format!("fuse-{number}"));
            threads.push(thread.spawn(move || worker.run()).map_err(failed("start a thread"))?);
        }
        Ok(Self { threads, shared, session })
    }

    /// Lets the file be larger (or smaller, which nobody expects). The kernel asks when it next looks; whoever has a loop
    /// device on it then has to enlarge that.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn set_size(&self, bytes: u64) -> Result<(), FuseError> {
        self.shared.size.store(bytes, Ordering::Release);
        self.session.size_changed()
    }

    /// What went through.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
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
        loop {
            let room = self.taker.room.take().unwrap_or_else(|| self.taker.pool.take());
            match self.taker.next(room)? {
                Next::Asked(operation, answer) => self.backend.perform(operation, answer),
                Next::Settled | Next::Nothing => {}
                Next::End => return Ok(()),
            }
        }
    }
}
