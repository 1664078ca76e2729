//! The agent's end: starts a keeper or finds the one that runs, hears how its head stands, and ends it. What blocks says so.

use super::error::HeadError;
use super::message::{HeadOrder, HeadStatus, Heard, Message, Status, control, hear, read_order, say, write_order};
use pan_api::volume::HeadState;
use pan_linux::process::PidFd;
use pan_linux::seqpacket::Connection;
use pan_model::VolumeId;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a keeper may take until it hears us: it mounts an empty file system, on a machine that may be busy.
const UP_MAX: Duration = Duration::from_secs(10);
/// Between two attempts to reach one that is starting.
const AGAIN: Duration = Duration::from_millis(2);
/// How often a thread that listens looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);

/// A volume's keeper, as the agent has it. Dropping it leaves the keeper running.
pub struct Keeper {
    folder: PathBuf,
    connection: Arc<Connection>,
    status: watch::Receiver<HeadStatus>,
    /// Taken while it spoke: later its number may be another process's.
    process: Option<PidFd>,
    child: Option<Child>,
}

impl Keeper {
    /// Starts the keeper of the volume whose folder is given, or joins the one that runs there. The folder and that of the order's file
    /// must exist. Blocks until it is heard of, some milliseconds; the head is then still opening.
    ///
    /// # Errors
    /// [`HeadError`]; nothing is left running then.
    pub fn start(folder: &Path, order: &HeadOrder) -> Result<Self, HeadError> {
        if order.volume.claim.is_none() {
            return Err(HeadError::Unclaimed);
        }
        if let Some(mut running) = Self::adopt(folder)? {
            running.update(order)?;
            return Ok(running);
        }
        write_order(folder, order)?;
        let failed = |source| HeadError::Keeper { action: "start", source };
        let mut command = itself();
        // A group of its own: what ends the agent's must not end it.
        command.arg("--folder").arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let reached = reach(folder, order.volume.volume, |_| match child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("it ended with {status}")),
            Err(error) => Some(error.to_string()),
        });
        match reached {
            Ok((connection, first)) => Ok(Self::listen(folder, connection, first, Some(child))),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// The keeper that runs in a folder, if one does. Blocks for moments.
    ///
    /// # Errors
    /// [`HeadError`]: what is there cannot be spoken to.
    pub fn adopt(folder: &Path) -> Result<Option<Self>, HeadError> {
        match Connection::to(&control(folder)) {
            Err(error) if is_nobody(&error) => return Ok(None),
            Err(source) => return Err(HeadError::Keeper { action: "reach", source }),
            Ok(connection) => drop(connection),
        }
        let volume = read_order(folder)?.volume.volume;
        // One that is ending takes connections and says nothing any more.
        let mut ended = false;
        let reached = reach(folder, volume, |error| {
            ended = is_nobody(error);
            ended.then(|| "it ended".into())
        });
        match reached {
            Err(_) if ended => Ok(None),
            reached => reached.map(|(connection, first)| Some(Self::listen(folder, connection, first, None))),
        }
    }

    fn listen(folder: &Path, connection: Connection, first: HeadStatus, child: Option<Child>) -> Self {
        let process = PidFd::open(first.keeper).ok();
        let (send, status) = watch::channel(first);
        let connection = Arc::new(connection);
        let heard = Arc::clone(&connection);
        std::thread::spawn(move || follow(&heard, &send));
        Self { folder: folder.to_owned(), connection, status, process, child }
    }

    /// How its head stands.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<HeadStatus> {
        self.status.clone()
    }

    /// Tells it a newer order: another size, other places of replicas, a newer record.
    ///
    /// # Errors
    /// It cannot be told; its status will say why.
    pub fn update(&mut self, order: &HeadOrder) -> Result<(), HeadError> {
        write_order(&self.folder, order)?;
        let failed = |source| HeadError::Keeper { action: "tell", source };
        say(&self.connection, &Message::Order(Box::new(order.clone()))).map_err(failed)
    }

    /// Ends it: whoever still waits for the volume gets an error. Blocks for at most `within`, and then kills it.
    ///
    /// # Errors
    /// [`HeadError`]: it is still there.
    pub fn release(mut self, within: Duration) -> Result<(), HeadError> {
        let deadline = Instant::now() + within;
        let failed = |source| HeadError::Keeper { action: "end", source };
        let asked = say(&self.connection, &Message::Release).is_ok();
        if let Some(process) = &self.process {
            let left = if asked { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            if !process.wait(left).map_err(failed)? {
                process.kill(nix::sys::signal::Signal::SIGKILL).map_err(failed)?;
                process.wait(LOOK).map_err(failed)?;
            }
        }
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
        Ok(())
    }
}

/// The program that this process runs, also when another build lies in its place by now.
pub(super) fn itself() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("pan").arg("head");
    command
}

/// Whether nobody listens at a socket.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Waits for a keeper's first word, unless `gone` says of an attempt to connect that failed why there will be none.
fn reach(folder: &Path, volume: VolumeId, gone: impl FnMut(&io::Error) -> Option<String>) -> Result<(Connection, HeadStatus), HeadError> {
    let mut gone = gone;
    let deadline = Instant::now() + UP_MAX;
    let mut connection: Option<Connection> = None;
    loop {
        if Instant::now() >= deadline {
            return Err(HeadError::NotUp(Some(format!("not within {} s", UP_MAX.as_secs()))));
        }
        let Some(there) = &connection else {
            match Connection::to(&control(folder)) {
                Ok(there) => connection = Some(there),
                Err(error) => {
                    if let Some(why) = gone(&error) {
                        return Err(HeadError::NotUp(Some(why)));
                    }
                    std::thread::sleep(AGAIN);
                }
            }
            continue;
        };
        match hear(there) {
            Heard::Message(Message::Status(status)) => return Ok((connection.take().expect("it was heard"), status.report(volume))),
            Heard::Message(_) => {}
            Heard::Nothing => there.wait(LOOK).map_err(|source| HeadError::Keeper { action: "hear", source })?,
            Heard::End | Heard::Noise(_) => connection = None,
        }
    }
}

/// Hands on what the keeper says, until nobody is there who wants to know, or to say anything.
fn follow(connection: &Connection, status: &watch::Sender<HeadStatus>) {
    let volume = status.borrow().report.volume;
    let over = |why: &str| {
        status.send_if_modified(|known| match known.report.state {
            HeadState::Over(_) => false,
            HeadState::Opening | HeadState::Open => {
                known.report.state = HeadState::Over(why.to_owned());
                true
            }
        });
    };
    loop {
        match hear(connection) {
            Heard::Message(Message::Status(news)) => drop(status.send_replace(Status::report(*news, volume))),
            Heard::Message(_) | Heard::Noise(_) => {}
            Heard::End => return over("the keeper of its head is gone"),
            Heard::Nothing => {
                if status.is_closed() {
                    return;
                }
                if connection.wait(LOOK).is_err() {
                    return over("the keeper of its head cannot be heard");
                }
            }
        }
    }
}
