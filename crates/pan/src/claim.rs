//! One process for each role of a host: a lock in the state directory, held until the process ends. Two agents would undo what the other
//! does, two controllers of one host write one store.

use pan_model::host::Role;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Whoever was killed has let go as soon as its last thread is gone; a program that it was just about to start may hold on to the lock
/// for some moments more.
const WAIT_MAX: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(10);
/// Digits of a pid, and some.
const NOTE_MAX: u64 = 32;

/// Why a role must not start.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another process has it.
    #[error(
        "another `pan {role}` runs with this state directory: {holder} holds {}. Stop that one first, or give this host a `stateDir` of its own",
        path.display()
    )]
    Held {
        /// The role.
        role: Role,
        /// The lock.
        path: PathBuf,
        /// Who, in words.
        holder: String,
    },
    /// The kernel does not tell.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A role's lock, until it is dropped.
#[derive(Debug)]
pub struct Claim {
    /// None where no file can be made.
    _lock: Option<File>,
}

impl Claim {
    /// Takes the lock of a role.
    ///
    /// # Errors
    /// [`ClaimError`]. On a disk where no file can be made or opened there is no lock, and the role starts: it may have servers to look after.
    pub fn take(state_dir: &Path, role: Role) -> Result<Self, ClaimError> {
        Self::within(WAIT_MAX, state_dir, role)
    }

    fn within(wait: Duration, state_dir: &Path, role: Role) -> Result<Self, ClaimError> {
        let path = state_dir.join(format!("{role}.lock"));
        let mut file = match open(&path) {
            Ok(file) => file,
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "cannot be opened: nothing keeps a second `pan {role}` from starting");
                return Ok(Self { _lock: None });
            }
        };
        let deadline = Instant::now() + wait;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(AGAIN),
                Err(TryLockError::WouldBlock) => return Err(ClaimError::Held { role, holder: holder(&file), path }),
                Err(TryLockError::Error(source)) => return Err(ClaimError::Lock { path, source }),
            }
        }
        // For people only: on a full disk the lock is as good.
        let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = noted {
            tracing::warn!(%error, path = %path.display(), "cannot note who holds it");
        }
        Ok(Self { _lock: Some(file) })
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    // One of a disk that takes no writes any more can be locked still.
    open.or_else(|error| File::open(path).map_err(|_| error))
}

fn holder(file: &File) -> String {
    let mut text = String::new();
    let read = file.take(NOTE_MAX).read_to_string(&mut text);
    match (read, text.trim().parse::<i32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        (Ok(_) | Err(_), _) => "a process whose number is not noted".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("not/there/yet");
        let first = Claim::take(&state, Role::Node).unwrap();
        let refused = Claim::within(Duration::ZERO, &state, Role::Node).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {} holds", std::process::id())), "{refused}");
        assert!(refused.contains("node.lock") && refused.contains("Stop that one first"), "{refused}");
        let _other = Claim::within(Duration::ZERO, &state, Role::Director).unwrap();
        // Whoever waits gets it when the first one ends.
        let waits = std::thread::spawn({
            let state = state.clone();
            move || Claim::within(Duration::from_secs(60), &state, Role::Node).is_ok()
        });
        drop(first);
        assert!(waits.join().unwrap());
        std::fs::write(state.join("node.lock"), "7").unwrap();
        Claim::within(Duration::ZERO, &state, Role::Node).unwrap();
        assert_eq!(std::fs::read_to_string(state.join("node.lock")).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_disk_that_takes_nothing_does_not_keep_a_role_from_starting() {
        assert!(Claim::within(Duration::ZERO, Path::new("/proc/nowhere"), Role::Node).unwrap()._lock.is_none());
    }
}
