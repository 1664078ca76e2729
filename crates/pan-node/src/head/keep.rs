//! The keeper: has the kernel's end of the file system, and sees that somebody serves it. It waits for nothing but messages: it must
//! never touch what is served, or nobody could end it.

use super::agent::itself;
use super::error::HeadError;
use super::group;
use super::message::{HeadOrder, Heard, Message, SAID_EVERY, Status, control, hear, read_order, say};
use super::work::{OVER, REST_MAX};
use crate::paths::Paths;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use pan_api::volume::HeadState;
use pan_linux::fuse::{self, FSTYPE, Session, SessionSpec};
use pan_linux::mount::{self, MountEntry};
use pan_linux::netns::NETNS_DIR;
use pan_linux::process::{PidFd, die_with_parent};
use pan_linux::realtime::lock_memory;
use pan_linux::seqpacket::{Connection, Listener};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// After so long without an answer the kernel ends the file system by itself, where it can: if agent, keeper and worker are all gone.
const UNANSWERED_MAX: Duration = Duration::from_secs(120);
/// How long a worker that ended at once is waited with, at most. The first is replaced at once.
const PAUSE_MAX: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// A worker that lived so long is replaced at once: there are no more of them in a time than when one is waited with.
const LIVED: Duration = PAUSE_MAX;
/// How often a worker is looked after whose end the kernel does not tell.
const LOOK: u16 = 200;
/// A worker that serves and says nothing for so long stands still, and another one takes its place: ten times as long as it may be silent, and
/// a third of what its users are made to wait for a head at all.
const SILENT_MAX: Duration = SAID_EVERY.saturating_mul(10);
/// A keeper that has not looked for so long stood still itself, and what it did not hear meanwhile says nothing about others.
const ABSENT: Duration = Duration::from_secs(1);
/// Agents that listen at a time: one, and those that follow a killed one.
const AGENTS_MAX: usize = 16;

/// Runs it until it is told to end.
pub(super) fn run(folder: &Path) -> ExitCode {
    // Without the right to it is done without.
    let _ = lock_memory();
    match keep(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the keeper of a head failed: {}", crate::error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn keep(folder: &Path) -> Result<(), HeadError> {
    let order = read_order(folder)?;
    let at = order.file.parent().map(Path::to_owned).unwrap_or_default();
    let (session, kernel) = Session::mount(&at, &SessionSpec { timeout: Some(UNANSWERED_MAX) })?;
    move_apart(&order)?;
    let path = control(folder);
    let listener = Listener::bind(&path).map_err(|source| HeadError::File { action: "listen at", path: path.clone(), source })?;
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let mut keeper = Keeper {
        folder: folder.to_owned(),
        session,
        kernel,
        listener,
        agents: Vec::new(),
        worker: None,
        order,
        status: Status { keeper: own, ..Status::opening() },
        mended_before: 0,
        next: Some(Instant::now()),
        pause: None,
        first: true,
        looked: Instant::now(),
    };
    keeper.work();
    keeper.end();
    let _ = std::fs::remove_file(path);
    Ok(())
}

/// Leaves the host's mounts. The last process in a mount namespace that is killed unmounts what is in it, the volume as well, and only
/// then lets go of the descriptor on which the kernel would be told that nobody serves any more: keeper and worker must not be that
/// process. And what their copy of the mounts held would be held: servers' root file systems, network namespaces, this very file system.
fn move_apart(order: &HeadOrder) -> Result<(), HeadError> {
    let paths = Paths::of(&order.host);
    let foreign = [paths.records(), paths.volumes(), NETNS_DIR.into()];
    let left = |entry: &MountEntry| entry.fstype == FSTYPE || foreign.iter().any(|folder| entry.target.starts_with(folder));
    Ok(mount::move_apart(left)?)
}

/// An agent that listens.
struct Agent {
    connection: Connection,
    /// It has not taken the newest status: its socket is full. Only the newest counts, so it gets that when it can.
    untold: bool,
}

struct Worker {
    child: Child,
    /// Tells its end, which comes later than that of its connection.
    process: Option<PidFd>,
    connection: Option<Connection>,
    since: Instant,
    /// When it last said how it stands: not before it can serve, which has its own bound (`crate::volume::decide::REOPEN_MAX`).
    said: Option<Instant>,
}

struct Keeper {
    folder: PathBuf,
    session: Session,
    kernel: fuse::Connection,
    listener: Listener,
    agents: Vec<Agent>,
    worker: Option<Worker>,
    order: HeadOrder,
    status: Status,
    /// What earlier workers mended.
    mended_before: u64,
    /// When the next worker is to begin; none: never.
    next: Option<Instant>,
    /// How long the one before was waited with.
    pause: Option<Duration>,
    first: bool,
    looked: Instant,
}

impl Keeper {
    /// Until it is told to end.
    fn work(&mut self) {
        loop {
            if self.worker.is_none() && self.next.is_some_and(|at| at <= Instant::now()) {
                self.begin();
            }
            self.wait();
            self.accept();
            if self.hear_agents() {
                return;
            }
            self.hear_worker();
            self.look_after_worker();
            self.tell_agents();
        }
    }

    fn wait(&self) {
        let worker = self.worker.iter().filter_map(|worker| worker.connection.as_ref());
        let all = self.agents.iter().map(|agent| &agent.connection).chain(worker).map(AsFd::as_fd).chain([self.listener.as_fd()]);
        let all = all.chain(self.worker.iter().filter_map(|worker| worker.process.as_ref()).map(AsFd::as_fd));
        let mut set: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let left = self.next.filter(|_| self.worker.is_none()).map(|at| at.saturating_duration_since(Instant::now()));
        let most = left.map_or(LOOK, |left| u16::try_from(left.as_millis()).unwrap_or(LOOK).min(LOOK));
        // A signal, or memory that is short for a moment: another look comes.
        let _ = poll(&mut set, PollTimeout::from(most));
    }

    fn begin(&mut self) {
        let mut command = itself();
        let part = if self.first { "--serve" } else { "--serve-again" };
        command.arg("--folder").arg(&self.folder).arg(part).stdin(Stdio::null()).stdout(Stdio::null());
        // One without a keeper would go on asking for the volume, and take it from whoever follows.
        die_with_parent(&mut command, Signal::SIGKILL);
        self.next = None;
        let first = std::mem::replace(&mut self.first, false);
        match command.spawn() {
            Ok(child) => {
                if first {
                    self.move_both(&child);
                }
                let process = i32::try_from(child.id()).ok().and_then(|pid| PidFd::open(pid).ok());
                self.worker = Some(Worker { child, process, connection: None, since: Instant::now(), said: None });
            }
            Err(error) => {
                tracing::error!(%error, "no worker can be started");
                self.again(Duration::ZERO);
            }
        }
    }

    /// Moves keeper and first worker into the group that later workers are born into. Only now, because the kernel takes up to 10 ms for
    /// it, in which the worker has enough to do. Where there are no groups, or no right to them, it is done without.
    fn move_both(&self, worker: &Child) {
        let both = [Some(self.status.keeper), i32::try_from(worker.id()).ok()];
        if let Err(error) = group::join(self.order.volume.volume, both.into_iter().flatten()) {
            tracing::warn!(error = crate::error::chain(&error), "it has no control group of its own");
        }
    }

    fn again(&mut self, lived: Duration) {
        let pause = pause(self.pause, lived);
        (self.next, self.pause) = (Some(Instant::now() + pause), Some(pause));
    }

    fn accept(&mut self) {
        while let Ok(Some(connection)) = self.listener.accept() {
            let Ok(peer) = connection.peer() else { continue };
            match &mut self.worker {
                Some(worker) if i32::try_from(worker.child.id()).is_ok_and(|pid| pid == peer.pid) => worker.connection = Some(connection),
                _ if self.agents.len() >= AGENTS_MAX => {}
                _ => {
                    if say(&connection, &Message::Status(Box::new(self.status.clone()))).is_ok() {
                        self.agents.push(Agent { connection, untold: false });
                    }
                }
            }
        }
    }

    /// True: it is to end.
    fn hear_agents(&mut self) -> bool {
        let mut orders = Vec::new();
        let mut release = false;
        self.agents.retain(|agent| {
            loop {
                match hear(&agent.connection) {
                    Heard::Nothing => return true,
                    Heard::End => return false,
                    Heard::Message(Message::Order(order)) => orders.push(*order),
                    Heard::Message(Message::Release) => release = true,
                    Heard::Message(Message::Take | Message::Status(_)) => {}
                    Heard::Noise(what) => {
                        tracing::warn!(what, "somebody says what means nothing; it is heard no more");
                        return false;
                    }
                }
            }
        });
        for order in orders {
            self.tell_worker(&Message::Order(Box::new(order.clone())));
            self.order = order;
        }
        release
    }

    /// What cannot be told is told with the next order; one that begins reads the newest from the disk.
    fn tell_worker(&self, message: &Message) {
        if let Some(connection) = self.worker.as_ref().and_then(|worker| worker.connection.as_ref()) {
            let _ = say(connection, message);
        }
    }

    fn hear_worker(&mut self) {
        loop {
            let Some(connection) = self.worker.as_ref().and_then(|worker| worker.connection.as_ref()) else { return };
            match hear(connection) {
                Heard::Nothing => return,
                Heard::Message(Message::Take) => {
                    if let Err(error) = fuse::give(connection, &self.session) {
                        tracing::warn!(%error, "the session cannot be handed over");
                    }
                    // It read the order before it was here.
                    let _ = say(connection, &Message::Order(Box::new(self.order.clone())));
                }
                Heard::Message(Message::Status(status)) => {
                    let Status { state, epoch, behind, mended, rotten, unfit, .. } = *status;
                    let mended = self.mended_before + mended;
                    if let Some(worker) = &mut self.worker {
                        worker.said = Some(Instant::now());
                    }
                    self.told(Status { state, epoch, behind, mended, rotten, unfit, ..self.status.clone() });
                }
                Heard::Message(Message::Order(_) | Message::Release) => {}
                Heard::End | Heard::Noise(_) => {
                    // It is waited for: it may still be serving, and two must not.
                    if let Some(worker) = &mut self.worker {
                        worker.connection = None;
                        let _ = worker.child.kill();
                    }
                    return;
                }
            }
        }
    }

    fn look_after_worker(&mut self) {
        let now = Instant::now();
        let absent = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        let Some(worker) = &mut self.worker else { return };
        if stands_still(&mut worker.said, now, absent) {
            tracing::warn!(volume = %self.order.volume.name, "the head said nothing for {} s and is killed", SILENT_MAX.as_secs());
            let _ = worker.child.kill();
        }
        let Ok(Some(ended)) = worker.child.try_wait() else { return };
        let lived = worker.since.elapsed();
        // Its last words.
        self.hear_worker();
        self.worker = None;
        if ended.code() == Some(i32::from(OVER)) {
            let why = match &self.status.state {
                HeadState::Over(why) => why.clone(),
                HeadState::Opening | HeadState::Open => "another head writes the volume".into(),
            };
            return self.over(why);
        }
        if ended.success() {
            return self.over("the kernel ended it".into());
        }
        tracing::warn!(volume = %self.order.volume.name, %ended, "the head ended; another one follows");
        if !self.session.terms().resend {
            return self.over("its head ended, and this kernel cannot ask another one for what was under way".into());
        }
        let restarts = self.status.restarts + 1;
        self.mended_before = self.status.mended;
        self.told(Status { state: HeadState::Opening, restarts, ..self.status.clone() });
        self.again(lived);
    }

    /// Whoever waits gets an error.
    fn over(&mut self, why: String) {
        if let Err(error) = self.kernel.abort() {
            tracing::warn!(%error, "what waits for the volume cannot be ended");
        }
        self.told(Status { state: HeadState::Over(why), ..self.status.clone() });
    }

    fn told(&mut self, status: Status) {
        if self.status == status {
            return;
        }
        self.status = status;
        self.agents.iter_mut().for_each(|agent| agent.untold = true);
    }

    /// Tells the newest status to those who do not know it.
    fn tell_agents(&mut self) {
        let message = Message::Status(Box::new(self.status.clone()));
        self.agents.retain_mut(|agent| {
            if agent.untold {
                match say(&agent.connection, &message) {
                    Ok(()) => agent.untold = false,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return false,
                }
            }
            true
        });
    }

    /// Whoever waits gets an error, and the worker ends by itself, once nothing is dirty that could be clean. Where it is mounted is the
    /// agent's to unmount.
    fn end(&mut self) {
        if let Err(error) = self.kernel.abort() {
            tracing::debug!(%error, "it had ended");
        }
        if let Some(mut worker) = self.worker.take() {
            if let Ok(process) = i32::try_from(worker.child.id()).map_err(std::io::Error::other).and_then(PidFd::open) {
                // One that does not end in time, or cannot be waited for, is killed.
                let _ = process.wait(REST_MAX);
            }
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
    }
}

/// Whether one that serves has said nothing for too long; that is told once.
fn stands_still(said: &mut Option<Instant>, now: Instant, absent: Duration) -> bool {
    if absent >= ABSENT {
        *said = said.map(|at| at + absent);
    }
    said.take_if(|at| now.saturating_duration_since(*at) >= SILENT_MAX).is_some()
}

/// How long a worker is waited with, by how long the one before was, and how long that lived.
fn pause(before: Option<Duration>, lived: Duration) -> Duration {
    match before {
        Some(before) if lived < LIVED => (before * 2).clamp(PAUSE_MIN, PAUSE_MAX),
        Some(_) | None => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_nothing_stands_still_unless_whoever_listens_did() {
        let begun = Instant::now();
        let (mut nobody, mut said, mut frozen) = (None, Some(begun), Some(begun));
        let look = |said: &mut Option<Instant>, millis: u64, absent: u64| {
            stands_still(said, begun + Duration::from_millis(millis), Duration::from_millis(absent))
        };
        assert!(!look(&mut nobody, 60_000, 200), "it does not serve yet");
        assert!(!look(&mut said, 9_900, 200) && look(&mut said, 10_000, 200));
        assert!(!look(&mut said, 10_200, 200), "it is killed once");
        assert!(!look(&mut frozen, 60_000, 59_000) && !look(&mut frozen, 68_900, 200) && look(&mut frozen, 69_000, 200));
    }

    #[test]
    fn a_head_that_is_killed_now_and_then_is_back_at_once_and_one_that_cannot_live_ever_later() {
        let mut last = None;
        let mut pauses = |lived, times: usize| -> Vec<u128> {
            let next = |_| {
                last = Some(pause(last, lived));
                last.unwrap().as_millis()
            };
            (0..times).map(next).collect()
        };
        assert_eq!(pauses(Duration::from_millis(20), 8), [0, 50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pauses(Duration::from_secs(3), 3), [0, 0, 0]);
        assert_eq!(pauses(Duration::ZERO, 2), [50, 100]);
    }
}
