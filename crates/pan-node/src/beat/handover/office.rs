//! The one in office, towards whoever comes to its socket.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use pan_linux::process::PidFd;
use pan_linux::seqpacket::{Connection, Listener, Received, memory_file};
use pan_member::Tick;

use super::build::Build;
use super::message::{Answer, Descriptor, Identity, MESSAGE_BYTES_MAX, Memory, Request, decode, encode};
use super::standing::{Effect, Event, Standing};
use super::steps::{Step, reached};
use crate::error::chain;

/// How long somebody at the socket may keep others waiting. A lessor's disk may take most of it.
const VISIT_MAX: Duration = Duration::from_secs(5);

/// The office of the host's beat process, held.
#[derive(Debug)]
pub(in super::super) struct Office {
    lock: File,
    listener: Listener,
    identity: Identity,
    build: Build,
    /// Where the configuration lies, for a successor that is to be started.
    config: PathBuf,
    standing: Standing,
    patience: Duration,
    visitor: Option<Visitor>,
}

#[derive(Debug)]
struct Visitor {
    connection: Connection,
    process: PidFd,
    since: Tick,
    /// It waits for everything.
    applied: bool,
}

/// What is handed over besides the office.
pub(in super::super) struct Bundle<'a> {
    pub memory: Memory,
    pub descriptors: Vec<(Descriptor, BorrowedFd<'a>)>,
}

impl Office {
    pub(super) fn new(lock: File, listener: Listener, identity: Identity, build: Build, config: PathBuf, patience: Duration) -> Self {
        Self { lock, listener, identity, build, config, standing: Standing::InOffice, patience, visitor: None }
    }

    /// Whether heartbeats may go out, and what comes in may be read.
    pub(in super::super) fn may_send(&self) -> bool {
        self.standing.may_send()
    }

    /// Whether the next one sends.
    pub(in super::super) fn is_relieved(&self) -> bool {
        self.standing == Standing::Relieved
    }

    /// What to wait for: one visitor at a time, or the next one.
    pub(in super::super) fn source(&self) -> BorrowedFd<'_> {
        self.visitor.as_ref().map_or_else(|| self.listener.as_fd(), |visitor| visitor.connection.as_fd())
    }

    /// How long the next one still has to say that it took over.
    pub(in super::super) fn patience_left(&self, now: Tick) -> Option<Duration> {
        match self.standing {
            // Once it is ended its end will be seen.
            Standing::Leaving { since } => Some(self.patience.saturating_sub(now.since(since))).filter(|left| !left.is_zero()),
            Standing::InOffice | Standing::Relieved => None,
        }
    }

    /// Takes what visitors say. True if one waits for [`Office::hand_over`].
    pub(in super::super) fn tend(&mut self, now: Tick) -> bool {
        if self.visitor.is_none() {
            self.visitor = self.accept(now);
        }
        while let Some(visitor) = &self.visitor {
            let mut buffer = vec![0; MESSAGE_BYTES_MAX];
            match visitor.connection.receive(&mut buffer) {
                Ok(Received::Nothing) => break,
                Ok(Received::Message(length, _)) => self.hear(&buffer[..length], now),
                // Of a connection that fails nobody can tell whether the other end is gone, so it is ended: see below.
                Err(error) if !self.may_send() => {
                    tracing::error!(%error, "the connection to the next beat process fails");
                    break;
                }
                Ok(Received::End) | Err(_) => self.left(now),
            }
        }
        self.be_patient(now);
        self.may_send() && self.visitor.as_ref().is_some_and(|visitor| visitor.applied)
    }

    fn be_patient(&mut self, now: Tick) {
        let Some(visitor) = &self.visitor else { return };
        let (standing, effect) = self.standing.after(Event::Time, now, self.patience);
        self.standing = standing;
        if effect == Effect::EndSuccessor {
            tracing::warn!(pid = visitor.process.pid(), "the next beat process does not take over; it is ended");
            if let Err(error) = visitor.process.kill(Signal::SIGKILL) {
                tracing::error!(%error, "the next beat process cannot be ended");
            }
        } else if self.may_send() && now.since(visitor.since) > VISIT_MAX {
            self.say(&Answer::Refused { why: "it took too long, or the lessor's disk does".to_owned() });
            self.visitor = None;
        }
    }

    fn accept(&self, now: Tick) -> Option<Visitor> {
        let connection = self.listener.accept().ok()??;
        let peer = connection.peer().ok()?;
        if peer.uid != nix::unistd::geteuid().as_raw() {
            return None;
        }
        // Should the number have gone to another process since: then the connection has ended, and this is let go
        // without a look at that process.
        let process = PidFd::open(peer.pid).ok()?;
        Some(Visitor { connection, process, since: now, applied: false })
    }

    fn hear(&mut self, bytes: &[u8], now: Tick) {
        let request = match decode::<Request>(bytes) {
            Ok(request) => request,
            Err(error) => {
                let why = chain(&error);
                tracing::warn!(why, "somebody at the beat process's socket is not understood; nothing is handed over");
                return self.say(&Answer::Refused { why });
            }
        };
        match request {
            Request::Who => self.say(&Answer::InOffice { build: self.build.clone(), pid: std::process::id() }),
            Request::Replace { program } => {
                let answer = match self.start(program.clone()) {
                    Ok(()) => Answer::Starting,
                    Err(error) => Answer::Refused { why: format!("start {}: {error}", program.display()) },
                };
                self.say(&answer);
            }
            Request::Apply { identity, .. } if identity != self.identity => {
                let why = "it is configured otherwise; end the beat process in office to start another one".to_owned();
                tracing::warn!(why, "another beat process was refused");
                self.say(&Answer::Refused { why });
            }
            Request::Apply { build, .. } => {
                tracing::info!(%build, "another beat process is ready to take over");
                if let Some(visitor) = &mut self.visitor {
                    visitor.applied = true;
                }
            }
            Request::Taken => {
                self.standing = self.standing.after(Event::Taken, now, self.patience).0;
                if self.is_relieved() {
                    reached(Step::Relieved);
                }
            }
        }
    }

    fn left(&mut self, now: Tick) {
        if !self.may_send() && !self.is_relieved() {
            tracing::warn!("the next beat process ended before it took over; this one goes on");
        }
        self.standing = self.standing.after(Event::Gone, now, self.patience).0;
        self.visitor = None;
    }

    /// Hands everything to the visitor who has applied. Nothing may be sent or read by this process from here on, until
    /// [`Office::may_send`] says so again.
    pub(in super::super) fn hand_over(&mut self, bundle: Bundle<'_>, now: Tick) {
        let Some(visitor) = &mut self.visitor else { return };
        visitor.applied = false;
        reached(Step::Applied);
        self.standing = self.standing.after(Event::Handing, now, self.patience).0;
        reached(Step::Stopped);
        if let Err(error) = send(&visitor.connection, &self.lock, &self.listener, bundle) {
            tracing::warn!(%error, "nothing could be handed over; this beat process goes on");
            self.standing = self.standing.after(Event::NotSent, now, self.patience).0;
            self.visitor = None;
        }
        reached(Step::Handed);
    }

    fn say(&self, answer: &Answer) {
        if let Some(visitor) = &self.visitor {
            // Who does not listen learns by the end of the connection.
            let _ = visitor.connection.send(&encode(answer), &[]);
        }
    }

    /// In a thread: neither the start nor the wait for the end may delay a heartbeat. The program writes to this
    /// process's log.
    fn start(&self, program: PathBuf) -> io::Result<()> {
        let mut command = Command::new(&program);
        command.args(["beat", "--succeed", "--config"]).arg(&self.config).stdin(Stdio::null());
        std::thread::Builder::new().name("successor".into()).spawn(move || match command.status() {
            // It ends while this process lives only if it has not taken over.
            Ok(status) => tracing::warn!(program = %program.display(), %status, "the next beat process ended"),
            Err(error) => tracing::warn!(program = %program.display(), %error, "the next beat process cannot be started"),
        })?;
        Ok(())
    }
}

fn send(connection: &Connection, lock: &File, listener: &Listener, bundle: Bundle<'_>) -> io::Result<()> {
    let memory = memory_file(&encode(&bundle.memory))?;
    let own = [(Descriptor::Memory, memory.as_fd()), (Descriptor::Lock, lock.as_fd()), (Descriptor::Listener, listener.as_fd())];
    let (names, descriptors): (Vec<_>, Vec<_>) = own.into_iter().chain(bundle.descriptors).unzip();
    connection.send(&encode(&Answer::Office { descriptors: names }), &descriptors)
}
