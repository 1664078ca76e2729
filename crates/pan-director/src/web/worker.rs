//! A proxy as a process: started in its partition's namespace, found again by its socket, spoken to, ended. Effects only.

use super::speak::{self, ANSWER_MAX, converse};
use pan_linux::local::{connect_at_once, socket_owner};
use pan_linux::netns::{Netns, NetnsError};
use pan_linux::process::{PidFd, Signal, clear_signal_mask, user_of};
use pan_model::proxy::ProxySpec;
use serde_json::{Value, json};
use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// How long a process takes to come up at most.
const UP_MAX: Duration = Duration::from_secs(5);
/// How often somebody who comes up is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// How often one that has nothing to be told is asked whether it still answers.
const ASK: Duration = Duration::from_secs(5);
/// What it is given of this agent's environment.
const ENVIRONMENT: [&str; 3] = ["PAN_LAB", "PAN_LOG", "RUST_BACKTRACE"];
/// What it may write to. Ten thousand connections with bodies under way both ways take half of it.
const MEMORY: &str = "1GiB";
/// How long requests may go on that came to a process which another has replaced.
const RETIRE: Duration = Duration::from_secs(30);
/// How long they may where nobody serves them any more: their addresses have gone.
const GONE: Duration = Duration::from_secs(1);
/// What sockets are called, with a number after it: of two processes each has its own.
const SOCKET: &str = "control-";
/// Users of proxies are from here on, one for each partition: between what SSSD makes of users of Active Directory by default (up to 2000200000,
/// `ldap_idmap_range_max` of sssd-ad(5)) and what nodes give to servers.
const USERS: std::ops::Range<u32> = 0x773a_0000..0x7740_0000;

/// Whom a partition's proxy runs as. Beyond 393,216 partitions on one director two of them share one.
const fn user(vni: u32) -> u32 {
    USERS.start + vni % (USERS.end - USERS.start)
}

/// Why a proxy is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkerError {
    #[error("make the folder {}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Namespace(#[from] NetnsError),
    #[error("start it")]
    Start(#[source] io::Error),
    #[error("it ended as soon as it was started, with {0}")]
    Ended(String),
    #[error("it was not up within {} s", UP_MAX.as_secs())]
    NotUp,
    #[error("it does not answer")]
    Silent(#[source] io::Error),
    #[error("it refuses what it was told: {0}")]
    Refused(String),
}

impl WorkerError {
    /// Whether another process might do better.
    pub(super) const fn is_silence(&self) -> bool {
        match self {
            Self::Silent(_) | Self::NotUp | Self::Ended(_) => true,
            Self::Folder { .. } | Self::Namespace(_) | Self::Start(_) | Self::Refused(_) => false,
        }
    }
}

/// A process. It is killed when this is dropped, unless it was retired.
#[derive(Debug)]
pub(super) struct Worker {
    control: PathBuf,
    process: Option<PidFd>,
    /// If this agent started it: whoever did has to wait for it.
    child: Option<Child>,
    since: Instant,
    /// When it answered last.
    answered: Instant,
    /// Whether it was told something, by whomever.
    told: bool,
}

/// What runs in a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// One of this build, in the right namespace.
    pub(super) ours: Option<Worker>,
    /// Others.
    pub(super) others: Vec<Worker>,
}

/// Looks for processes that serve sockets in a folder.
pub(super) fn find(vni: u32, folder: &Path, netns: &Netns) -> io::Result<Found> {
    let own = std::fs::metadata("/proc/self/exe")?;
    let here = netns.path().map(std::fs::metadata).transpose()?;
    let same = |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    let mut found = Found::default();
    for (_, control) in sockets(folder) {
        let Some(process) = owner(&control, user(vni)) else { continue };
        let of = |what: &str| std::fs::metadata(format!("/proc/{}/{what}", process.pid())).ok();
        let fits =
            of("exe").is_some_and(|exe| same(&exe, &own)) && here.as_ref().zip(of("ns/net")).is_some_and(|(here, its)| same(here, &its));
        let worker = Worker { control, process: Some(process), child: None, since: Instant::now(), answered: Instant::now(), told: true };
        if fits && found.ours.is_none() {
            tracing::info!(control = %worker.control.display(), "a proxy is taken over");
            found.ours = Some(worker);
        } else {
            found.others.push(worker);
        }
    }
    Ok(found)
}

/// Ends all processes of a folder, and removes it.
pub(super) fn remove(vni: u32, folder: &Path) {
    for (_, control) in sockets(folder) {
        match owner(&control, user(vni)) {
            Some(process) => drain(&control, &process, GONE),
            None => drop(std::fs::remove_file(control)),
        }
    }
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!(folder = %folder.display(), %error, "cannot be removed"),
        Ok(()) | Err(_) => {}
    }
}

/// The sockets of a folder with their numbers, the newest first.
fn sockets(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix(SOCKET)?.parse::<u64>().ok();
    let mut all: Vec<_> = entries.filter_map(|entry| Some((number(entry.file_name().to_str()?)?, entry.path()))).collect();
    all.sort_by(|one, other| other.cmp(one));
    all
}

/// Who serves a socket; nobody if it is a leftover. Its number is that of whoever made the socket, and may be another process's by now: what does
/// not run as the partition's proxy is none.
fn owner(control: &Path, user: u32) -> Option<PidFd> {
    let stream = connect_at_once(control).ok()?;
    let process = PidFd::open(socket_owner(&stream).ok()?).ok()?;
    let is_one = user_of(process.pid()) == Some(user);
    // Whoever has the number still is who was looked at.
    (is_one && !process.wait(Duration::ZERO).unwrap_or(true)).then_some(process)
}

/// Has a process let its requests end, and ends it in any case. Blocks for little more than `limit`.
fn drain(control: &Path, process: &PidFd, limit: Duration) {
    let asked: io::Result<Value> = converse(control, &json!({"drain": format!("{}ms", limit.as_millis())}), limit + ANSWER_MAX);
    let rest = if asked.is_ok() { ANSWER_MAX } else { Duration::ZERO };
    if !process.wait(rest).unwrap_or(false)
        && let Err(error) = process.kill(Signal::SIGKILL)
    {
        tracing::warn!(pid = process.pid(), %error, "a proxy cannot be ended");
    }
    let _ = std::fs::remove_file(control);
}

impl Worker {
    /// Starts one that does nothing yet, as a user of its own without any right, and waits until it can be spoken to.
    pub(super) fn start(vni: u32, folder: &Path, netns: &Netns) -> Result<Self, WorkerError> {
        let failed = |source| WorkerError::Folder { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let number = sockets(folder).first().map_or(1, |(newest, _)| newest + 1);
        let control = folder.join(format!("{SOCKET}{number}"));
        // The program that this process runs, also when another build lies in its place by now.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("pan")
            .arg("proxy")
            .arg("--absent-addresses")
            .arg("--user")
            .arg(user(vni).to_string())
            .arg("--memory")
            .arg(MEMORY)
            .arg("--control")
            .arg(&control)
            .stdin(Stdio::null())
            .current_dir("/")
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            // What a terminal sends this agent is not for it.
            .process_group(0);
        clear_signal_mask(&mut command);
        let child = netns.run(|| command.spawn())?.map_err(WorkerError::Start)?;
        let process = i32::try_from(child.id()).ok().and_then(|pid| PidFd::open(pid).ok());
        let mut worker = Self { control, process, child: Some(child), since: Instant::now(), answered: Instant::now(), told: false };
        let deadline = Instant::now() + UP_MAX;
        while connect_at_once(&worker.control).is_err() {
            if let Some(why) = worker.ended() {
                return Err(WorkerError::Ended(why));
            }
            if Instant::now() >= deadline {
                return Err(WorkerError::NotUp);
            }
            std::thread::sleep(LOOK);
        }
        Ok(worker)
    }

    /// Its control socket.
    pub(super) fn control(&self) -> &Path {
        &self.control
    }

    /// How long it has been known.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether there is anything that it does.
    pub(super) const fn has_document(&self) -> bool {
        self.told
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<String> {
        if let Some(child) = &mut self.child {
            return child.try_wait().ok().flatten().map(|status| format!("ended with {status}"));
        }
        self.process.as_ref().is_none_or(|process| process.wait(Duration::ZERO).unwrap_or(true)).then(|| "ended".to_owned())
    }

    /// Puts a document in force.
    pub(super) fn apply(&mut self, spec: &ProxySpec) -> Result<(), WorkerError> {
        let answer: Value = converse(&self.control, &json!({"apply": spec}), ANSWER_MAX).map_err(WorkerError::Silent)?;
        self.answered = Instant::now();
        match answer {
            Value::String(word) if word == "applied" => {
                self.told = true;
                Ok(())
            }
            other => Err(WorkerError::Refused(other["refused"].as_str().map_or_else(|| other.to_string(), str::to_owned))),
        }
    }

    /// Looks from time to time whether it still answers.
    pub(super) fn ask(&mut self) -> Result<(), WorkerError> {
        if self.answered.elapsed() >= ASK {
            speak::counts(&self.control).map_err(WorkerError::Silent)?;
            self.answered = Instant::now();
        }
        Ok(())
    }

    /// Lets its requests end, in a thread of its own: somebody else has its place. Until it has ended it can be asked for its requests by what
    /// this returns.
    pub(super) fn retire(mut self) -> Option<Weak<Mutex<UnixStream>>> {
        let process = self.process.take()?;
        let (control, mut child) = (self.control.clone(), self.child.take());
        tracing::info!(pid = process.pid(), "a proxy of another build, or of a former namespace, is replaced");
        // From before it is told to end: it takes up nobody after that.
        let line = connect_at_once(&control).ok().map(|stream| Arc::new(Mutex::new(stream)));
        let leaving = line.as_ref().map(Arc::downgrade);
        std::thread::spawn(move || {
            drain(&control, &process, RETIRE);
            drop(line);
            child.as_mut().map(Child::wait)
        });
        leaving
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            drain(&self.control, process, GONE);
        }
        if let Some(child) = &mut self.child {
            // Without a handle nobody has ended it yet.
            let _ = if self.process.is_none() { child.kill() } else { Ok(()) };
            let _ = child.wait();
        }
    }
}
