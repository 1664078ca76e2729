//! The way into the office: it is free, or whoever has it is asked to hand it over.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pan_linux::realtime::since_boot;
use pan_linux::seqpacket::{Connection, Listener, Received, read_memory_file};

use super::build::Build;
use super::message::{Answer, Descriptor, Identity, MEMORY_BYTES_MAX, MESSAGE_BYTES_MAX, Memory, Request, decode, encode};
use super::office::Office;
use super::standing::Candidate;
use super::steps::{Step, reached};
use crate::error::{Error, FileError, chain};
use crate::paths::{beat_lock, beat_socket};

/// Longer than one in office keeps anybody waiting.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Somebody has the office and does not listen yet, or no more: after that it is waited for without asking.
const LISTENS_WITHIN: Duration = Duration::from_secs(2);
/// Between two tries meanwhile.
const AGAIN: Duration = Duration::from_millis(10);

/// How a beat process comes to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Started by whoever keeps the host's roles running: takes over from another, or waits for its end.
    Supervised,
    /// Started to succeed the one in office: takes over, or ends.
    Successor,
}

/// In office.
pub(in super::super) enum Entered {
    /// Nobody was before.
    First(Box<Office>),
    /// The former one has stopped and waits: [`Taking::confirm`] it or drop it.
    Next(Box<Taking>),
}

/// Everything of the former one, which goes on if this is dropped.
pub(in super::super) struct Taking {
    pub memory: Memory,
    pub descriptors: Vec<(Descriptor, OwnedFd)>,
    connection: Connection,
    candidate: Candidate,
    entry: Entry,
}

struct Entry {
    identity: Identity,
    build: Build,
    config: PathBuf,
    patience: Duration,
}

/// Blocks until this process is in office. Everything slow must be done before. `patience`: how long a
/// successor of this one may take.
///
/// # Errors
/// A successor was refused, or the office's files cannot be used.
pub(in super::super) fn enter(way: &Way, run_dir: &Path, identity: Identity, config: &Path, patience: Duration) -> Result<Entered, Error> {
    let (lock_path, socket) = (beat_lock(run_dir), beat_socket(run_dir));
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
    let lock = lock.map_err(FileError::of("open", &lock_path))?;
    let build = Build::own().map_err(|source| Error::Program { source })?;
    let entry = Entry { identity, build, config: config.to_owned(), patience };
    let give_up = since_boot() + LISTENS_WITHIN;
    loop {
        match lock.try_lock() {
            Ok(()) => return first(lock, &socket, entry),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(FileError::of("lock", &lock_path)(error).into()),
        }
        let why = match Connection::to(&socket) {
            Ok(connection) => match apply(&connection, &entry) {
                Ok(Some((memory, descriptors))) => {
                    let candidate = Candidate::Applied.received();
                    reached(Step::Received);
                    return Ok(Entered::Next(Box::new(Taking { memory, descriptors, connection, candidate, entry })));
                }
                // It ended meanwhile.
                Ok(None) => continue,
                Err(why) => why,
            },
            Err(_) if since_boot() < give_up => {
                std::thread::sleep(AGAIN);
                continue;
            }
            Err(error) => error.to_string(),
        };
        if *way == Way::Successor {
            return Err(Error::NotSucceeded { why });
        }
        tracing::warn!(why, "another beat process is in office and stays; this one waits for its end");
        lock.lock().map_err(FileError::of("lock", &lock_path))?;
        return first(lock, &socket, entry);
    }
}

fn first(lock: File, socket: &Path, entry: Entry) -> Result<Entered, Error> {
    let listener = Listener::bind(socket).map_err(FileError::of("listen at", socket))?;
    Ok(Entered::First(Box::new(entry.office(lock, listener))))
}

type Everything = (Memory, Vec<(Descriptor, OwnedFd)>);

/// `None`: the other end is gone. An error is a refusal, for people.
fn apply(connection: &Connection, entry: &Entry) -> Result<Option<Everything>, String> {
    let request = Request::Apply { identity: entry.identity.clone(), build: entry.build.clone() };
    if connection.send(&encode(&request), &[]).is_err() {
        return Ok(None);
    }
    let Some((answer, sent)) = answer(connection, ANSWER_MAX).map_err(|error| error.to_string())? else { return Ok(None) };
    match decode::<Answer>(&answer).map_err(|error| chain(&error))? {
        Answer::Office { descriptors } => {
            if descriptors.len() != sent.len() {
                return Err(format!("{} descriptors came where {} were announced", sent.len(), descriptors.len()));
            }
            let mut all: Vec<(Descriptor, OwnedFd)> = descriptors.into_iter().zip(sent).collect();
            let memory = take(&mut all, Descriptor::Memory).ok_or("no memory came along")?;
            let memory = read_memory_file(memory, MEMORY_BYTES_MAX).map_err(|error| error.to_string())?;
            Ok(Some((decode(&memory).map_err(|error| chain(&error))?, all)))
        }
        Answer::Refused { why } => Err(why),
        other @ (Answer::InOffice { .. } | Answer::Starting) => Err(format!("an unexpected answer: {other:?}")),
    }
}

/// The next message; `None` if the other end is gone.
pub(super) fn answer(connection: &Connection, at_most: Duration) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let until = since_boot() + at_most;
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        match connection.receive(&mut buffer)? {
            Received::Message(length, descriptors) => {
                buffer.truncate(length);
                return Ok(Some((buffer, descriptors)));
            }
            Received::End => return Ok(None),
            Received::Nothing if since_boot() >= until => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer from the beat process in office"));
            }
            Received::Nothing => connection.wait(until.saturating_sub(since_boot()))?,
        }
    }
}

/// Takes one descriptor out.
pub(super) fn take(all: &mut Vec<(Descriptor, OwnedFd)>, wanted: Descriptor) -> Option<OwnedFd> {
    let at = all.iter().position(|(name, _)| *name == wanted)?;
    Some(all.swap_remove(at).1)
}

impl Taking {
    /// A descriptor, once.
    pub(in super::super) fn take(&mut self, wanted: Descriptor) -> Option<OwnedFd> {
        take(&mut self.descriptors, wanted)
    }

    /// Everything is in its place: from now on this process sends, and the former one never again.
    ///
    /// # Errors
    /// The office itself did not come along; the former one goes on.
    pub(in super::super) fn confirm(mut self) -> Result<Office, Error> {
        let missing = || Error::NotSucceeded { why: "the office itself did not come along".to_owned() };
        let lock = self.take(Descriptor::Lock).ok_or_else(missing)?;
        let listener = self.take(Descriptor::Listener).ok_or_else(missing)?;
        // That it cannot be said means that the former one has ended: nobody else can have the office.
        if let Err(error) = self.connection.send(&encode(&Request::Taken), &[]) {
            tracing::warn!(%error, "the former beat process ended before it was relieved");
        }
        self.candidate = self.candidate.said();
        assert!(self.candidate.may_send(), "whoever has received and said so is in office");
        reached(Step::Said);
        Ok(self.entry.office(lock.into(), listener.into()))
    }
}

impl Entry {
    fn office(self, lock: File, listener: Listener) -> Office {
        Office::new(lock, listener, self.identity, self.build, self.config, self.patience)
    }
}
