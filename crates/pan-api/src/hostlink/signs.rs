//! Signs of life that a role's process leaves in `run_dir` for the next one: a process that stood still and was ended for it cannot tell so itself.
//!
//! What is found is left there once more, for the link to report.

use super::boot::make_run_dir;
use crate::report::Restarted;
use pan_model::host::Role;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a process knows of the time when it starts.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// The boot clock.
    pub boot: Duration,
    /// The wall clock, microseconds since 1970.
    pub wall: i64,
    /// A process that gives no sign of life for so long is ended.
    pub silence: Duration,
}

/// Where a process gives signs of life.
#[derive(Debug, Clone)]
pub struct Signs(PathBuf);

impl Signs {
    /// Looks for those of the process before, of which there is only one at a time, and notes what they say.
    ///
    /// # Errors
    /// Those of the files in `run_dir`: nothing is known then, and nothing told.
    pub fn take(run_dir: &Path, role: Role, start: Start) -> io::Result<Self> {
        make_run_dir(run_dir)?;
        let signs = Self(run_dir.join(format!("gets-on.{role}")));
        let last = read(&signs.0)?.and_then(|text| text.trim().parse().ok()).map(Duration::from_nanos);
        let noted = noted_at(run_dir, role);
        match last.and_then(|last| restarted(last, start)) {
            Some(restarted) => fs::write(noted, serde_json::to_vec(&restarted)?)?,
            None => remove(&noted)?,
        }
        signs.give(start.boot)?;
        Ok(signs)
    }

    /// This process gets on, at this time of the boot clock.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn give(&self, boot: Duration) -> io::Result<()> {
        fs::write(&self.0, boot.as_nanos().to_string())
    }

    /// This process ends by itself.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub fn end(self) -> io::Result<()> {
        remove(&self.0)
    }
}

/// What a process says of the one before it, which gave its last sign of life at `last` and did not end by itself.
fn restarted(last: Duration, start: Start) -> Option<Restarted> {
    let silent = start.boot.checked_sub(last)?;
    let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
    (silent >= start.silence).then_some(Restarted { at: start.wall, silent_ms })
}

/// What the process that runs now noted of the one before it.
pub(super) fn noted(run_dir: &Path, role: Role) -> Option<Restarted> {
    serde_json::from_str(&read(&noted_at(run_dir, role)).ok()??).ok()
}

fn noted_at(run_dir: &Path, role: Role) -> PathBuf {
    run_dir.join(format!("restarted.{role}"))
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(10);

    fn start(seconds: u64) -> Start {
        Start { boot: Duration::from_secs(seconds), wall: 7, silence: SILENCE }
    }

    #[test]
    fn only_who_was_silent_and_did_not_end_by_itself_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let (run, role) = (dir.path().join("run"), Role::Director);
        // The first of this boot; it is killed for another reason, and gave a sign a moment ago.
        let signs = Signs::take(&run, role, start(100)).unwrap();
        signs.give(Duration::from_secs(200)).unwrap();
        Signs::take(&run, role, start(205)).unwrap();
        assert_eq!(noted(&run, role), None);
        // It stands still.
        Signs::take(&run, role, start(217)).unwrap();
        assert_eq!(noted(&run, role), Some(Restarted { at: 7, silent_ms: 12_000 }));
        assert_eq!(noted(&run, Role::Node), None, "another role");
        // It is told to end, and is started hours later.
        let signs = Signs::take(&run, role, start(218)).unwrap();
        assert_eq!(noted(&run, role), None, "the one before it is another matter");
        signs.end().unwrap();
        Signs::take(&run, role, start(9_000)).unwrap();
        assert_eq!(noted(&run, role), None);
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        for text in ["", "soon", "99999999999999999999999", "900000000000"] {
            fs::write(run.join("gets-on.node"), text).unwrap();
            Signs::take(run, Role::Node, start(100)).unwrap();
            assert_eq!(noted(run, Role::Node), None, "{text}");
        }
    }
}
