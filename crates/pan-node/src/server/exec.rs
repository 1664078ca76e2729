//! Programs run inside a server's container. Whatever happens to whoever asked, the program does not
//! outlive the question.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use pan_linux::oci::Runtime;
use pan_linux::process::{PidFd, parent};
use tokio::process::{Child, Command};

/// How a program in a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With this status, 128 + signal if it was killed.
    Exit(i32),
    /// It did not, and was killed.
    TooLong,
}

/// A program running in a container; dropping it kills the program.
#[derive(Debug)]
pub(crate) struct Inside {
    pub child: Child,
}

impl Inside {
    /// Starts `program`; the streams are set up by `wire`.
    pub(crate) fn start(runtime: &Runtime, container: &str, program: &[String], wire: impl FnOnce(&mut Command)) -> io::Result<Self> {
        let mut command = Command::from(runtime.exec(container, program, &[]));
        wire(&mut command);
        command.kill_on_drop(true);
        Ok(Self { child: command.spawn()? })
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self) -> io::Result<i32> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().await?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Killing the runtime's process alone would leave the program, its child, running in the container.
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            for program in children(pid) {
                let killed = PidFd::open(program).and_then(|process| process.kill(Signal::SIGKILL));
                if let Err(error) = killed {
                    tracing::debug!(%error, program, "a program was gone before it could be killed");
                }
            }
        }
    }
}

fn children(pid: i32) -> Vec<i32> {
    // The file is there if the kernel was built with CONFIG_PROC_CHILDREN, see proc_pid_task(5).
    if let Ok(listed) = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
        return listed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    }
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|candidate| parent(*candidate) == Some(pid)).collect()
}

/// Runs a program without input or output for at most `limit`.
pub(crate) async fn run_quietly(runtime: &Runtime, container: &str, program: &[String], limit: Duration) -> io::Result<Outcome> {
    let mut inside = Inside::start(runtime, container, program, |command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    })?;
    match tokio::time::timeout(limit, inside.wait()).await {
        Ok(code) => Ok(Outcome::Exit(code?)),
        Err(_) => Ok(Outcome::TooLong),
    }
}
