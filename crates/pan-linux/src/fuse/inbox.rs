//! Taking the kernel's requests: one at a time, each to what storage has to do about it, and none of them waited for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::answer::{Answer, Wanted};
use super::buffer::{Pool, Room};
use super::error::FuseError;
use super::file::{Step, TheFile};
use super::operation::Operation;
use super::reply::Reply;
use super::request::Request;
use super::session::Session;

/// Whether somebody served this session before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody.
    First,
    /// Somebody who is gone, and whose operations have ended or can have no effect any more: what is pending is asked for again.
    Successor,
}

/// What went through, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Of these, requests that a predecessor had and did not answer.
    pub resent: u64,
    /// What the kernel sent and was not understood.
    pub malformed: u64,
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

/// How requests are taken.
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
/// Operations may be answered in any order, from any thread. After a crash its successor gets what was not answered a second time, also
/// what has been done already: all operations can be repeated. What the crashed one still has on its way must be kept from taking
/// effect later, for it might come after a newer write to the same place. The process must not use the file system itself, and should
/// have its memory locked ([`lock_memory`](crate::realtime::lock_memory)).
pub struct Inbox {
    session: Session,
    device: Arc<File>,
    file: TheFile,
    pool: Arc<Pool>,
    /// A buffer that is free.
    room: Option<Room>,
    counts: Counts,
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
        begin(&session, spec.standing)?;
        let failed = |action| move |source| FuseError::Thread { action, source };
        let device = Arc::new(session.device().try_clone().map_err(failed("duplicate a descriptor"))?);
        // One more for what is taken beside those that are held.
        let pool = Pool::new(spec.large_writes_max + 1, session.terms().request_max as usize);
        Ok(Self { session, device, file: spec.file, pool, room: None, counts: Counts::default() })
    }

    /// Whether there is memory for another request. Without it [`take`](Self::take) takes none.
    pub fn has_room(&self) -> bool {
        self.room.is_some() || self.pool.has_room()
    }

    /// Takes a request, if there is one and room for it.
    ///
    /// # Errors
    /// What the kernel says; nothing can be taken any more.
    pub fn take(&mut self) -> io::Result<Next> {
        match self.room.take().or_else(|| self.pool.take()) {
            Some(room) => self.next(room),
            None => Ok(Next::Nothing),
        }
    }

    /// Lets the file be larger (or smaller, which nobody expects). The kernel asks when it next looks; whoever has a loop
    /// device on it then has to enlarge that.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn set_size(&mut self, bytes: u64) -> Result<(), FuseError> {
        self.file.size = bytes;
        self.session.size_changed()
    }

    /// What went through.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Reads one request into a buffer.
    fn next(&mut self, mut room: Room) -> io::Result<Next> {
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
        self.counts.requests += 1;
        let request = match Request::decode(room.request(bytes)) {
            Ok(request) => request,
            Err(bad) => {
                self.counts.malformed += 1;
                if let Some(unique) = bad.unique() {
                    self.say(&Reply::refusal(unique, libc::EIO));
                }
                self.room = Some(room);
                return Next::Settled;
            }
        };
        if request.resent() {
            self.counts.resent += 1;
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

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl std::os::fd::AsRawFd for Inbox {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.device.as_fd().as_raw_fd()
    }
}

/// Has what is pending sent again, before the first request is taken: one of ours would be sent a second time, and the copy that is not
/// waited for could be done after a later write to the same place. And sees to it that reads do not wait.
fn begin(session: &Session, standing: Standing) -> Result<(), FuseError> {
    if standing == Standing::Successor {
        session.resend()?;
    }
    let device = session.device();
    let failed = |source: nix::Error| FuseError::Thread { action: "set how to wait for", source: source.into() };
    let flags = OFlag::from_bits_retain(fcntl(device, FcntlArg::F_GETFL).map_err(failed)?);
    fcntl(device, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop).map_err(failed)
}
