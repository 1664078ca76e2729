//! The shim: one tiny process per container that is the parent of its first process, so that the exit
//! status is known even if the agent that started the container is long dead.
//!
//! `spawn_shim` (agent) -> `shim_main` (new session, subreaper) -> `runc run --detach`, or `runc create`. The shim
//! reports over its standard output, once: `ok` or `error: …`; then it lets go of the pipe.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{ExitRecord, OciError, Runtime};
use crate::process::{Exit, become_subreaper, open_log};

/// A start takes 30 ms when nothing else runs; on a machine overloaded a hundredfold it still counts.
const START_WAIT: Duration = Duration::from_secs(30);
/// More of an error text than this helps nobody.
const REPORT_MAX: usize = 16 * 1024;

/// How far a shim brings its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Its program runs.
    Running,
    /// Everything is made, and its program waits for [`Runtime::start`].
    Created,
}

impl Until {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Created => "created",
        }
    }
}

impl std::str::FromStr for Until {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Running, Self::Created].into_iter().find(|until| until.as_str() == text);
        known.ok_or_else(|| format!("{text:?}: expected running or created"))
    }
}

/// What a shim needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimArgs {
    /// How far the container is brought before the shim says that it is done.
    pub until: Until,
    /// Folder with the container's `config.json`.
    pub bundle: PathBuf,
    /// The container's id.
    pub id: String,
    /// The runtime's state folder.
    pub root: PathBuf,
    /// Takes the container's standard output and error, appended.
    pub log: PathBuf,
    /// Gets an [`ExitRecord`] at the end.
    pub exit_file: PathBuf,
    /// Gets the pid of the container's first process.
    pub pid_file: PathBuf,
}

impl ShimArgs {
    /// The command line a program must hand to [`shim_main`]:
    /// `shim --bundle DIR --id ID --root DIR --log FILE --exit-file FILE --pid-file FILE --until WORD`.
    pub fn to_arguments(&self) -> Vec<OsString> {
        let mut all = vec![OsString::from("shim")];
        let mut push = |flag: &str, value: &Path| {
            all.push(flag.into());
            all.push(value.into());
        };
        push("--bundle", &self.bundle);
        push("--id", Path::new(&self.id));
        push("--root", &self.root);
        push("--log", &self.log);
        push("--exit-file", &self.exit_file);
        push("--pid-file", &self.pid_file);
        push("--until", Path::new(self.until.as_str()));
        all
    }

    /// Reads back what [`ShimArgs::to_arguments`] made, without its first word `shim`.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        let mut words = arguments.into_iter();
        while let Some(flag) = words.next() {
            let flag = flag.to_string_lossy().into_owned();
            let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
            given.insert(flag, PathBuf::from(value));
        }
        let mut take = |flag: &str| given.remove(flag).ok_or_else(|| format!("{flag} is missing"));
        let parsed = Self {
            bundle: take("--bundle")?,
            id: take("--id")?.to_string_lossy().into_owned(),
            root: take("--root")?,
            log: take("--log")?,
            exit_file: take("--exit-file")?,
            pid_file: take("--pid-file")?,
            until: take("--until")?.to_string_lossy().parse()?,
        };
        match given.keys().next() {
            Some(unknown) => Err(format!("unknown flag {unknown}")),
            None => Ok(parsed),
        }
    }

    fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OciError {
        let path = path.to_path_buf();
        move |source| OciError::File { action, path, source }
    }
}

/// Starts a container through a shim: `exe` must hand the arguments of [`ShimArgs::to_arguments`] to
/// [`shim_main`]. Returns once the container is what was asked for and its pid file is there, or with the runtime's
/// error text. The shim is nobody's child by then and stays in the caller's control group.
pub fn spawn_shim(exe: &Path, arguments: &ShimArgs) -> Result<(), OciError> {
    for stale in [&arguments.exit_file, &arguments.pid_file] {
        match std::fs::remove_file(stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ShimArgs::file_error("remove", stale)(error));
            }
            _ => {}
        }
    }
    let mut command = Command::new(exe);
    command.args(arguments.to_arguments()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    crate::process::clear_signal_mask(&mut command);
    let mut child = command.spawn().map_err(|source| OciError::Start { program: exe.to_path_buf(), source })?;
    let report = read_report(&mut child, &arguments.id);
    // The process that was spawned ends at once; only its child, the real shim, goes on.
    let waited = child.wait().map_err(|source| OciError::Process { action: "reap the starter of", id: arguments.id.clone(), source });
    let (said, complained) = report?;
    waited?;
    if said.trim() == "ok" {
        return Ok(());
    }
    let message = match said.trim().strip_prefix("error: ") {
        Some(message) => message.to_owned(),
        None => format!("the shim said nothing useful: {} {}", said.trim(), complained.trim()),
    };
    Err(OciError::Refused { action: "start", id: arguments.id.clone(), message })
}

/// Reads what the shim says until it lets go of the pipes.
fn read_report(child: &mut Child, id: &str) -> Result<(String, String), OciError> {
    let deadline = Instant::now() + START_WAIT;
    let out = child.stdout.take().expect("stdout is piped");
    let err = child.stderr.take().expect("stderr is piped");
    let said = read_until_closed(out, deadline);
    let complained = read_until_closed(err, deadline);
    match (said, complained) {
        (Ok(said), Ok(complained)) => Ok((said, complained)),
        (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
            Err(OciError::TimedOut { id: id.to_owned(), what: "did not start", seconds: START_WAIT.as_secs() })
        }
        (Err(source), _) | (_, Err(source)) => Err(OciError::Process { action: "hear from the shim about", id: id.to_owned(), source }),
    }
}

fn read_until_closed(mut pipe: impl Read + AsFd, deadline: Instant) -> io::Result<String> {
    let mut text = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let step = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
        let ready = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::from(step));
        match ready {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        match pipe.read(&mut buffer)? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            count if text.len() < REPORT_MAX => text.extend_from_slice(&buffer[..count]),
            _ => {}
        }
    }
}

/// The body of the hidden `shim` command. Call it before anything starts a thread: it forks.
pub fn shim_main(arguments: ShimArgs) -> ExitCode {
    // SAFETY: the process has one thread, so the child may go on as if nothing had happened.
    match unsafe { libc::fork() } {
        -1 => {
            println!("error: cannot fork: {}", io::Error::last_os_error());
            ExitCode::FAILURE
        }
        0 => run(&arguments),
        _ => ExitCode::SUCCESS,
    }
}

fn run(arguments: &ShimArgs) -> ExitCode {
    match start(arguments) {
        Ok((pid, log)) => {
            say("ok");
            let released = release_pipes(&log);
            match released.and_then(|()| wait_for_end(pid, arguments)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    let _ = writeln!(&log, "pan shim: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(message) => {
            say(&format!("error: {message}"));
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn start(arguments: &ShimArgs) -> Result<(Pid, File), String> {
    nix::unistd::setsid().map_err(|error| format!("setsid: {error}"))?;
    become_subreaper().map_err(|error| format!("become a subreaper: {error}"))?;
    let log = open_log(&arguments.log).map_err(|error| format!("open {}: {error}", arguments.log.display()))?;
    let clone = || log.try_clone().map_err(|error| format!("copy a descriptor: {error}"));
    let runtime = Runtime { root: arguments.root.clone(), ..Runtime::default() };
    let words = arguments.bundle.join("runtime.log");
    let _ = std::fs::remove_file(&words);
    let status = runtime
        .command()
        .arg("--log")
        .arg(&words)
        .args(["--log-format", "json"])
        .args(match arguments.until {
            Until::Running => &["run", "--detach", "--bundle"][..],
            Until::Created => &["create", "--bundle"],
        })
        .arg(&arguments.bundle)
        .arg("--pid-file")
        .arg(&arguments.pid_file)
        .arg(&arguments.id)
        .stdin(Stdio::null())
        .stdout(clone()?)
        .stderr(clone()?)
        .status()
        .map_err(|error| format!("start {}: {error}", runtime.binary.display()))?;
    if !status.success() {
        return Err(last_error(&words).unwrap_or_else(|| format!("the runtime ended with {status}")));
    }
    let text = std::fs::read_to_string(&arguments.pid_file).map_err(|error| format!("read {}: {error}", arguments.pid_file.display()))?;
    let pid = text.trim().parse().map_err(|_| format!("{} holds no pid: {text:?}", arguments.pid_file.display()))?;
    Ok((Pid::from_raw(pid), log))
}

/// The last error in a runtime's JSON log.
fn last_error(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().rev().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        (entry["level"] == "error").then(|| entry["msg"].as_str().map(str::to_owned))?
    })
}

/// Lets go of the agent's pipes, so that it sees their end and a later write cannot hit a dead reader.
fn release_pipes(log: &File) -> io::Result<()> {
    for fd in [1, 2] {
        // SAFETY: replaces a standard stream by the log; both descriptors are open.
        if unsafe { libc::dup2(log.as_raw_fd(), fd) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Reaps everything that falls to this subreaper until the container's first process is among it.
fn wait_for_end(first: Pid, arguments: &ShimArgs) -> io::Result<()> {
    loop {
        let exit = match waitpid(Pid::from_raw(-1), None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == first => Exit::Code(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == first => Exit::Signal(signal as i32),
            Ok(_) | Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        return ExitRecord::now(exit).write(&arguments.exit_file);
    }
}
