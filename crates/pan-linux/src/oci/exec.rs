//! Programs started in a container that runs already: why one could not be started, and how it is ended together
//! with everything it started.

use std::collections::BTreeSet;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getsid};

use crate::process::{PidFd, is_running, parent, start_time};

/// Rounds of killing: each may find what was forked during the one before. A program that forks faster than it can be
/// killed is left to the server's limit of processes.
const ROUNDS_MAX: usize = 8;

/// Why a program could not be started in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotStarted {
    /// There is no such program, or what its first line names to run it is missing.
    NotFound,
    /// It is there and is not a program, or may not be run.
    NotExecutable,
    /// Something else; the runtime's words.
    Other(String),
}

impl NotStarted {
    /// Reads it off what the runtime (runc) wrote to its standard error.
    #[must_use]
    pub fn read(said: &str) -> Self {
        let words = words(said);
        let has = |part: &str| words.contains(part);
        let about_program = has("exec: ") || has("exec /");
        if about_program && (has("executable file not found") || has("no such file or directory")) {
            Self::NotFound
        } else if about_program && ["permission denied", "is a directory", "exec format error"].into_iter().any(has) {
            Self::NotExecutable
        } else {
            Self::Other(words)
        }
    }
}

/// The runtime's own words, without the log line around them: `time="…" level=error msg="…"`.
fn words(said: &str) -> String {
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let quoted = last.split_once(" msg=\"").and_then(|(_, rest)| rest.strip_suffix('"'));
    quoted.map_or_else(|| last.to_owned(), |text| text.replace("\\\"", "\""))
}

/// The first process of a program in a container: the leader of a session of its own, as the runtime makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    pid: i32,
    /// `None` if it was over when it was first looked at.
    start: Option<u64>,
}

impl Leader {
    /// Reads the file that the runtime was asked to write it to; `None` before it is there.
    #[must_use]
    pub fn read(pid_file: &Path) -> Option<Self> {
        let pid = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
        Some(Self { pid, start: start_time(pid) })
    }

    /// Its session, unless the number has gone to somebody else. The kernel gives no number away that a session still
    /// has, so a session without its leader is still this one.
    fn session(self) -> Option<i32> {
        start_time(self.pid).is_none_or(|start| Some(start) == self.start).then_some(self.pid)
    }
}

/// Kills a program, its descendants and its session. `runtime` is the process that started it, which is left alone but
/// for its children. A process that made a session of its own and whose parent has ended, a daemon, goes on.
pub fn end_program(runtime: Option<i32>, leader: Option<Leader>) {
    for _ in 0..ROUNDS_MAX {
        let session = leader.and_then(Leader::session);
        let found = family(runtime, session);
        if found.is_empty() {
            return;
        }
        for pid in found {
            let killed = PidFd::open(pid).and_then(|process| process.kill(Signal::SIGKILL));
            if let Err(error) = killed {
                tracing::debug!(%error, pid, "a process was gone before it could be killed");
            }
        }
    }
}

/// Everything that lives below `runtime`, or belongs to the session.
fn family(runtime: Option<i32>, session: Option<i32>) -> BTreeSet<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeSet::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let all: Vec<(i32, i32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let of_session = |pid: i32| session.is_some() && getsid(Some(Pid::from_raw(pid))).ok().map(Pid::as_raw) == session;
    let mut found: BTreeSet<i32> =
        all.iter().filter(|(pid, parent)| Some(*parent) == runtime || of_session(*pid)).map(|(pid, _)| *pid).collect();
    loop {
        let more: Vec<i32> =
            all.iter().filter(|(pid, parent)| found.contains(parent) && !found.contains(pid)).map(|(pid, _)| *pid).collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found.retain(|pid| is_running(*pid));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn the_runtimes_words_are_understood() {
        let log = |text: &str| {
            format!("time=\"2026-11-22T21:21:33Z\" level=error msg=\"exec failed: unable to start container process: {text}\"\n")
        };
        for (text, expected) in [
            ("exec: \\\"nosuch\\\": executable file not found in $PATH", NotStarted::NotFound),
            ("exec: \\\"/nonex/x\\\": stat /nonex/x: no such file or directory", NotStarted::NotFound),
            ("exec /opt/script: no such file or directory", NotStarted::NotFound),
            ("exec: \\\"/etc/passwd\\\": permission denied", NotStarted::NotExecutable),
            ("exec /opt/text: exec format error", NotStarted::NotExecutable),
        ] {
            assert_eq!(NotStarted::read(&log(text)), expected, "{text}");
        }
        let other = NotStarted::read("time=\"x\" level=error msg=\"cannot exec in a stopped container\"\n");
        assert_eq!(other, NotStarted::Other("cannot exec in a stopped container".into()));
        assert_eq!(NotStarted::read(""), NotStarted::Other(String::new()));
    }

    #[test]
    fn a_program_ends_with_its_descendants_and_its_session() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 6001 & (sleep 6002 &) ; (sh -c 'sleep 6003; true') & exec sleep 6004"]);
        // SAFETY: setsid is async-signal-safe and touches only the child itself.
        #[allow(unsafe_code)]
        let mut child = unsafe {
            shell.pre_exec(|| {
                nix::unistd::setsid()?;
                Ok(())
            })
        }
        .spawn()
        .expect("a shell");
        let pid = i32::try_from(child.id()).expect("a pid");
        let leader = Leader { pid, start: start_time(pid) };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let wait_for = |wanted: &dyn Fn(usize) -> bool| {
            while !wanted(family(None, Some(pid)).len()) {
                assert!(std::time::Instant::now() < deadline, "{:?}", family(None, Some(pid)));
                std::thread::yield_now();
            }
        };
        wait_for(&|count| count == 5);
        end_program(None, Some(leader));
        child.wait().expect("it was killed");
        // A signal that cannot be ignored takes a moment all the same.
        wait_for(&|count| count == 0);
    }
}
