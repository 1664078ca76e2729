//! The commands of an OCI runtime (runc): state, list, kill, delete, exec.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Deserialize;

use super::OciError;
use crate::process::PidFd;

/// A killed process that is not gone by then sits in the kernel (a dead disk): the caller must know.
const DEATH_WAIT: Duration = Duration::from_secs(10);

/// What the runtime says about a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made; its program not started.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

/// A container the runtime knows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct State {
    /// Its id.
    pub id: String,
    /// Its first process in the caller's PID namespace; 0 once stopped.
    pub pid: i32,
    /// What it is doing.
    pub status: Status,
}

/// An OCI runtime with its state folder.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The program, found on PATH if it has no slash.
    pub binary: PathBuf,
    /// Where it keeps its state; must vanish with the host's processes, so on a tmpfs.
    pub root: PathBuf,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { binary: "runc".into(), root: "/run/runc".into() }
    }
}

impl Runtime {
    /// A container's state, `None` if the runtime has no such container.
    pub fn state(&self, id: &str) -> Result<Option<State>, OciError> {
        if !self.root.join(id).join("state.json").exists() {
            return Ok(None);
        }
        let output = self.output(&["state", id])?;
        if output.status.success() {
            return self.parse("state", id, &output.stdout).map(Some);
        }
        // It may have been deleted since the file was looked at.
        if message_of(&output).contains("does not exist") {
            return Ok(None);
        }
        Err(refused("state", id, &output))
    }

    /// Every container the runtime knows, in the order of their ids.
    pub fn list(&self) -> Result<Vec<State>, OciError> {
        if !self.root.exists() {
            return Ok(Vec::new());
        }
        let output = self.output(&["list", "--format", "json"])?;
        if !output.status.success() {
            return Err(refused("list", "*", &output));
        }
        let listed: Option<Vec<State>> = self.parse("list", "*", &output.stdout)?;
        let mut all = listed.unwrap_or_default();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// Lets the program of a container that was only created begin.
    pub fn start(&self, id: &str) -> Result<(), OciError> {
        let output = self.output(&["start", id])?;
        if output.status.success() {
            return Ok(());
        }
        Err(refused("start", id, &output))
    }

    /// Sends a signal, named `TERM`, `QUIT`, …, to the first process. Refused if it is not running.
    pub fn kill(&self, id: &str, signal: &str) -> Result<(), OciError> {
        let output = self.output(&["kill", id, signal])?;
        if output.status.success() {
            return Ok(());
        }
        Err(refused("kill", id, &output))
    }

    /// Ends a container with SIGKILL if need be and makes the runtime forget it. A container the
    /// runtime does not know is success.
    ///
    /// `runc delete --force` would sleep 100 ms between its kill and its first look; killing here
    /// and waiting for the very death costs 6 ms.
    pub fn delete(&self, id: &str) -> Result<(), OciError> {
        let Some(state) = self.state(id)? else {
            return self.forget(id);
        };
        // A process under a v1 freezer does not die before it is thawed, which `--force` does.
        if state.status == Status::Paused {
            return self.delete_with(&["delete", "--force", id], id);
        }
        if state.pid > 0
            && let Ok(process) = PidFd::open(state.pid)
        {
            let failed = |action| move |source| OciError::Process { action, id: id.to_owned(), source };
            process.kill(Signal::SIGKILL).map_err(failed("kill"))?;
            if !process.wait(DEATH_WAIT).map_err(failed("wait for"))? {
                return Err(OciError::TimedOut {
                    id: id.to_owned(),
                    what: "its first process did not die after SIGKILL",
                    seconds: DEATH_WAIT.as_secs(),
                });
            }
        }
        self.delete_with(&["delete", id], id)
    }

    fn delete_with(&self, arguments: &[&str], id: &str) -> Result<(), OciError> {
        let output = self.output(arguments)?;
        if output.status.success() || message_of(&output).contains("does not exist") {
            return Ok(());
        }
        Err(refused("delete", id, &output))
    }

    /// Takes away what the runtime noted of a container of which nothing runs. A runtime killed half-way through making a
    /// container leaves a folder without a state file, one whose disk was full or whose file was damaged a file that it cannot
    /// read, and then refuses to make that container again.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn forget(&self, id: &str) -> Result<(), OciError> {
        let path = self.root.join(id);
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(OciError::File { action: "remove", path, source }),
            _ => Ok(()),
        }
    }

    /// Prepares a command that runs `program` inside a container; the caller wires its standard streams and waits for
    /// it. The runtime writes the pid of the program to `pid_file` once it runs, and never if it could not be started.
    pub fn exec(&self, id: &str, program: &[String], pid_file: &Path) -> Command {
        let mut command = self.command();
        command.arg("exec").arg("--pid-file").arg(pid_file).arg(id).args(program);
        command
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(&self.root);
        crate::process::clear_signal_mask(&mut command);
        command
    }

    fn output(&self, arguments: &[&str]) -> Result<Output, OciError> {
        self.command()
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| OciError::Start { program: self.binary.clone(), source })
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, action: &'static str, id: &str, text: &[u8]) -> Result<T, OciError> {
        serde_json::from_slice(text).map_err(|error| OciError::Refused {
            action,
            id: id.to_owned(),
            message: format!("the runtime printed no valid JSON: {error}"),
        })
    }
}

fn message_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

fn refused(action: &'static str, id: &str, output: &Output) -> OciError {
    OciError::Refused { action, id: id.to_owned(), message: message_of(output) }
}
