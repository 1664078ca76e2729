//! The loop over a host's roles.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pan_linux::process::{Exit, Reaper, Seen, clear_signal_mask, open_log, pass_listen_fds};

use super::backoff::Backoff;

/// The longest a role may take to end in good order.
const GOODBYE: Duration = Duration::from_secs(5);
/// With nothing to do, look at the clock this often.
const IDLE: Duration = Duration::from_secs(60);

/// A role and how it is doing.
enum Doing {
    Running { pid: i32, since: Instant },
    Waiting { until: Instant },
}

struct Child {
    role: &'static str,
    doing: Doing,
    backoff: Backoff,
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
        let children = commands.into_iter().map(|role| Child { role, doing: Doing::Waiting { until: now }, backoff: Backoff::new() });
        Self { exe, config: config.to_path_buf(), logs, sockets, children: children.collect() }
    }

    /// Until SIGTERM or SIGINT; then the roles are asked to end, and waited for.
    pub(super) fn run(&mut self, reaper: &Reaper) -> io::Result<()> {
        loop {
            self.start_due();
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
            let child = match self.spawn(role) {
                Ok(pid) => {
                    eprintln!("pan init: {role} started, pid {pid}");
                    Doing::Running { pid, since: now }
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

    fn spawn(&self, role: &str) -> io::Result<i32> {
        let log = open_log(&self.logs.join(format!("{role}.log")))?;
        let mut command = Command::new(&self.exe);
        command.arg(role).arg("--config").arg(&self.config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        clear_signal_mask(&mut command);
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
                Doing::Running { pid, since } if pid == ended => {
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
            Doing::Running { .. } => None,
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
