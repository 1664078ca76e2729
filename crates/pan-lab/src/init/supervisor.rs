//! The loop over a host's roles.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pan_linux::process::{Exit, Reaper, Seen, clear_signal_mask, open_log, pass_listen_fds};

use pan_linux::supervise::{Watch, not_watched};
use pan_model::host::Role;

use super::backoff::Backoff;
use super::silence::{LOOK, SILENCE_MAX, Silence};

/// The longest a role may take to end in good order.
const GOODBYE: Duration = Duration::from_secs(5);
/// With nothing to do, look at the clock this often.
const IDLE: Duration = Duration::from_secs(60);

/// A role and how it is doing.
enum Doing {
    Running { pid: i32, since: Instant, silence: Silence },
    Waiting { until: Instant },
}

struct Child {
    role: &'static str,
    doing: Doing,
    backoff: Backoff,
    /// Of one that says whether it gets on. Heartbeats are watched by those who hear them.
    watch: Option<Watch>,
}

/// A role that cannot be watched runs all the same.
fn watch(role: &str) -> Option<Watch> {
    let watch = Watch::new(&format!("panloom/init/{}/{role}", std::process::id()));
    watch.inspect_err(|error| eprintln!("pan init: {role} is not watched: {error}")).ok()
}

/// All roles of a host.
pub(super) struct Supervisor {
    exe: PathBuf,
    config: PathBuf,
    logs: PathBuf,
    sockets: Vec<OwnedFd>,
    children: Vec<Child>,
}

impl Supervisor {
    /// `commands` are words of `exe`; `logs` is the folder for their output.
    pub(super) fn new(exe: PathBuf, config: &Path, commands: Vec<&'static str>, logs: PathBuf, sockets: Vec<OwnedFd>) -> Self {
        let now = Instant::now();
        let children = commands.into_iter().map(|role| {
            let watch = if Role::ALL.iter().any(|one| one.as_str() == role) { watch(role) } else { None };
            Child { role, doing: Doing::Waiting { until: now }, backoff: Backoff::new(), watch }
        });
        Self { exe, config: config.to_path_buf(), logs, sockets, children: children.collect() }
    }

    /// Until SIGTERM or SIGINT; then the roles are asked to end, and waited for.
    pub(super) fn run(&mut self, reaper: &Reaper) -> io::Result<()> {
        loop {
            self.start_due();
            self.end_silent();
            for seen in reaper.wait(self.next_wake())? {
                match seen {
                    Seen::Exited { pid, exit } => self.ended(pid, exit),
                    Seen::Signal(_) => return self.stop(reaper),
                }
            }
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for index in 0..self.children.len() {
            let Doing::Waiting { until } = self.children[index].doing else {
                continue;
            };
            if until > now {
                continue;
            }
            let role = self.children[index].role;
            let child = match self.spawn(&self.children[index]) {
                Ok(pid) => {
                    eprintln!("pan init: {role} started, pid {pid}");
                    Doing::Running { pid, since: now, silence: Silence::new(now) }
                }
                Err(error) => {
                    eprintln!("pan init: {role} cannot start: {error}");
                    let until = self.children[index].backoff.after_exit(now, now);
                    Doing::Waiting { until }
                }
            };
            self.children[index].doing = child;
        }
    }

    /// Ends roles that stand still; being started again is all that helps them.
    fn end_silent(&mut self) {
        let now = Instant::now();
        for child in &mut self.children {
            let (Doing::Running { pid, silence, .. }, Some(watch)) = (&mut child.doing, &child.watch) else { continue };
            if watch.heard() {
                silence.heard(now);
            }
            if silence.look(now) {
                eprintln!("pan init: {} (pid {pid}) has said nothing for {} s: it is killed", child.role, SILENCE_MAX.as_secs());
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
                *silence = Silence::new(now);
            }
        }
    }

    fn spawn(&self, child: &Child) -> io::Result<i32> {
        let role = child.role;
        let log = open_log(&self.logs.join(format!("{role}.log")))?;
        let mut command = Command::new(&self.exe);
        command.arg(role).arg("--config").arg(&self.config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        clear_signal_mask(&mut command);
        match &child.watch {
            Some(watch) => {
                // What its predecessor said last is not its word.
                watch.heard();
                watch.tell(&mut command, SILENCE_MAX)
            }
            None => not_watched(&mut command),
        };
        let sockets: Vec<i32> = match role {
            "controller" => self.sockets.iter().map(AsRawFd::as_raw_fd).collect(),
            _ => Vec::new(),
        };
        pass_listen_fds(&mut command, &sockets);
        // The handle is dropped: the reaper collects every child, this one too.
        let pid = command.spawn()?.id();
        i32::try_from(pid).map_err(io::Error::other)
    }

    fn ended(&mut self, ended: i32, exit: Exit) {
        let now = Instant::now();
        for child in &mut self.children {
            match child.doing {
                Doing::Running { pid, since, .. } if pid == ended => {
                    let until = child.backoff.after_exit(since, now);
                    let wait = (until - now).as_millis();
                    eprintln!("pan init: {} (pid {pid}) ended: {exit:?}; again in {wait} ms", child.role);
                    child.doing = Doing::Waiting { until };
                }
                Doing::Running { .. } | Doing::Waiting { .. } => {}
            }
        }
    }

    fn next_wake(&self) -> Duration {
        let waits = self.children.iter().filter_map(|child| match child.doing {
            Doing::Waiting { until } => Some(until.saturating_duration_since(Instant::now())),
            Doing::Running { .. } => child.watch.as_ref().map(|_| LOOK),
        });
        // A millisecond more than due, because waiting rounds down.
        waits.min().map_or(IDLE, |wait| wait + Duration::from_millis(1))
    }

    fn stop(&mut self, reaper: &Reaper) -> io::Result<()> {
        let deadline = Instant::now() + GOODBYE;
        let mut left: Vec<i32> = self.running().collect();
        for pid in &left {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGTERM);
        }
        while !left.is_empty() && Instant::now() < deadline {
            for seen in reaper.wait(deadline.saturating_duration_since(Instant::now()))? {
                if let Seen::Exited { pid, .. } = seen {
                    left.retain(|one| *one != pid);
                }
            }
        }
        Ok(())
    }

    fn running(&self) -> impl Iterator<Item = i32> {
        self.children.iter().filter_map(|child| match child.doing {
            Doing::Running { pid, .. } => Some(pid),
            Doing::Waiting { .. } => None,
        })
    }
}
