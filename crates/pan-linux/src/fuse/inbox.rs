//! Taking the kernel's requests: one at a time, each to what storage has to do about it. With and without waiting for the next.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::answer::{Answer, Wanted};
use super::backend::Operation;
use super::buffer::{Pool, Room};
use super::error::FuseError;
use super::file::{Step, TheFile};
use super::reply::Reply;
use super::request::Request;
use super::server::{Counts, Standing};
use super::session::Session;

/// What all takers of one session share.
#[derive(Debug)]
pub(super) struct Shared {
    requests: AtomicU64,
    resent: AtomicU64,
    malformed: AtomicU64,
    pub size: AtomicU64,
}

impl Shared {
    pub fn new(size: u64) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self { requests: zero(), resent: zero(), malformed: zero(), size: AtomicU64::new(size) })
    }

    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { requests: read(&self.requests), resent: read(&self.resent), malformed: read(&self.malformed) }
    }
}

/// What was taken.
#[derive(Debug)]
pub enum Next {
    /// Storage is to do this.
    Asked(Operation, Answer),
    /// Something that is dealt with; there may be more.
    Settled,
    /// There is nothing now.
    Nothing,
    /// The kernel has ended the file system.
    End,
}

/// Takes requests into buffers.
pub(super) struct Taker {
    pub device: Arc<File>,
    pub file: TheFile,
    pub pool: Arc<Pool>,
    pub shared: Arc<Shared>,
    /// A buffer that is free.
    pub room: Option<Room>,
}

impl Taker {
    /// Reads one request into a buffer; waits for it if the descriptor does.
    pub fn next(&mut self, mut room: Room) -> io::Result<Next> {
        let mut device: &File = &self.device;
        match device.read(room.target()) {
            Ok(0) => Ok(Next::End),
            Ok(bytes) => Ok(self.handle(room, bytes)),
            Err(error) => {
                self.room = Some(room);
                match error.raw_os_error() {
                    // ENOENT: whoever asked was killed while it was read.
                    Some(libc::EINTR | libc::ENOENT) => Ok(Next::Settled),
                    Some(libc::EAGAIN) => Ok(Next::Nothing),
                    Some(libc::ENODEV | libc::ECONNABORTED) => Ok(Next::End),
                    _ => Err(error),
                }
            }
        }
    }

    /// Handles the request in a buffer, which is free afterwards unless its data is needed for longer.
    fn handle(&mut self, room: Room, bytes: usize) -> Next {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        self.file.size = self.shared.size.load(Ordering::Acquire);
        let request = match Request::decode(room.request(bytes)) {
            Ok(request) => request,
            Err(bad) => {
                self.shared.malformed.fetch_add(1, Ordering::Relaxed);
                if let Some(unique) = bad.unique() {
                    self.say(&Reply::refusal(unique, libc::EIO));
                }
                self.room = Some(room);
                return Next::Settled;
            }
        };
        if request.resent() {
            self.shared.resent.fetch_add(1, Ordering::Relaxed);
        }
        let unique = request.unique;
        let step = self.file.step(&request);
        let length = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        let (operation, wanted) = match step {
            Step::Write(extent) => {
                let length = length(extent.bytes);
                let (payload, room) = room.into_payload(length as usize);
                self.room = room;
                let answer = Answer::new(Arc::clone(&self.device), unique, Wanted::Written(length));
                return Next::Asked(Operation::Write(extent.offset, payload), answer);
            }
            Step::Answer(reply) => {
                self.say(&reply);
                self.room = Some(room);
                return Next::Settled;
            }
            Step::Nothing | Step::End => {
                self.room = Some(room);
                return Next::Settled;
            }
            Step::Read(extent) => (Operation::Read(extent), Wanted::Data(length(extent.bytes))),
            Step::Flush => (Operation::Flush, Wanted::Done),
            Step::Discard(extent) => (Operation::Discard(extent), Wanted::Done),
            Step::Zero(extent) => (Operation::Zero(extent), Wanted::Done),
        };
        self.room = Some(room);
        Next::Asked(operation, Answer::new(Arc::clone(&self.device), unique, wanted))
    }

    /// As with answers, the kernel refuses what nobody waits for any more.
    fn say(&self, reply: &Reply) {
        let mut device: &File = &self.device;
        let _ = device.write(reply.bytes());
    }
}

/// How requests are taken without waiting.
#[derive(Debug, Clone)]
pub struct InboxSpec {
    /// What is shown.
    pub file: TheFile,
    /// Writes of more than 16 KiB whose data is held at a time; each costs 1 MiB. While all are held, no request is taken.
    pub large_writes_max: usize,
    /// Whether it has a predecessor.
    pub standing: Standing,
}

/// The kernel's requests for a process that does everything in one thread: none is waited for. Whoever polls the descriptor
/// asks for more until there is [`Nothing`](Next::Nothing). There must be no other taker: all of them would be woken for each request.
///
/// The same holds as for a [`Server`](super::Server): the process must not use the file system itself, and what is not answered when
/// it ends is its successor's.
pub struct Inbox {
    taker: Taker,
    session: Session,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Inbox({:?})", self.session)
    }
}

impl Inbox {
    /// Begins to take requests.
    ///
    /// # Errors
    /// What is pending cannot be had again, or the descriptor not be set.
    pub fn start(session: Session, spec: InboxSpec) -> Result<Self, FuseError> {
        begin(&session, spec.standing, OFlag::O_NONBLOCK)?;
        let failed = |action| move |source| FuseError::Thread { action, source };
        let device = Arc::new(session.device().try_clone().map_err(failed("duplicate a descriptor"))?);
        // One more for what is taken beside those that are held.
        let pool = Pool::new(spec.large_writes_max + 1, session.terms().request_max as usize);
        let shared = Shared::new(spec.file.size);
        Ok(Self { taker: Taker { device, file: spec.file, pool, shared, room: None }, session })
    }

    /// Whether there is memory for another request. Without it [`take`](Self::take) takes none.
    pub fn has_room(&self) -> bool {
        self.taker.room.is_some() || self.taker.pool.has_room()
    }

    /// Takes a request, if there is one and room for it.
    ///
    /// # Errors
    /// What the kernel says; nothing can be taken any more.
    pub fn take(&mut self) -> io::Result<Next> {
        match self.taker.room.take().or_else(|| self.taker.pool.try_take()) {
            Some(room) => self.taker.next(room),
            None => Ok(Next::Nothing),
        }
    }

    /// As [`Server::set_size`](super::Server::set_size).
    ///
    /// # Errors
    /// The connection has ended.
    pub fn set_size(&self, bytes: u64) -> Result<(), FuseError> {
        self.taker.shared.size.store(bytes, Ordering::Release);
        self.session.size_changed()
    }

    /// What went through.
    pub fn counts(&self) -> Counts {
        self.taker.shared.counts()
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.taker.device.as_fd()
    }
}

impl std::os::fd::AsRawFd for Inbox {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.taker.device.as_fd().as_raw_fd()
    }
}

/// Has what is pending sent again, before the first request is taken: one of ours would be sent a second time, and the copy that is not
/// waited for could be done after a later write to the same place. And sets whether reads wait, which a predecessor may have set otherwise:
/// it is a property of what is open, and not of a descriptor.
pub(super) fn begin(session: &Session, standing: Standing, waits: OFlag) -> Result<(), FuseError> {
    if standing == Standing::Successor {
        session.resend()?;
    }
    let device = session.device();
    let failed = |source: nix::Error| FuseError::Thread { action: "set how to wait for", source: source.into() };
    let flags = OFlag::from_bits_retain(fcntl(device, FcntlArg::F_GETFL).map_err(failed)?);
    let wanted = flags.difference(OFlag::O_NONBLOCK) | waits;
    fcntl(device, FcntlArg::F_SETFL(wanted)).map(drop).map_err(failed)
}
