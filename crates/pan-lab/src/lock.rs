//! One process at a time works on a lab. The kernel frees the lock with its holder, however it ends.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::error::LabError;
use crate::name::LabName;

/// Where locks and the registry of running labs lie. Labs do not survive a boot; neither does this.
pub(crate) const RUN_DIR: &str = "/run/pan-lab";
/// The longest step of another process, bringing a large lab up, takes less.
const WAIT: Duration = Duration::from_secs(120);

/// A held lock.
pub(crate) struct LabLock {
    _file: Flock<File>,
    path: PathBuf,
}

impl LabLock {
    /// Takes the lock of one lab, waiting for whoever holds it.
    pub(crate) fn of(name: &LabName) -> Result<Self, LabError> {
        Self::unless(name, &|| false)
    }

    /// The same, until `stop` says so.
    pub(crate) fn unless(name: &LabName, stop: &dyn Fn() -> bool) -> Result<Self, LabError> {
        Self::take(name, &path_of(name), stop)
    }

    /// Whether somebody works on it at this moment.
    pub(crate) fn is_held(name: &LabName) -> bool {
        let file = OpenOptions::new().write(true).open(path_of(name));
        file.is_ok_and(|file| matches!(Flock::lock(file, FlockArg::LockExclusiveNonblock), Err((_, nix::Error::EWOULDBLOCK))))
    }

    /// Takes the lock on the numbering of the labs' links to the machine.
    pub(crate) fn of_machine_links(name: &LabName) -> Result<Self, LabError> {
        Self::take(name, &Path::new(RUN_DIR).join(".machine-links"), &|| false)
    }

    fn take(name: &LabName, path: &Path, stop: &dyn Fn() -> bool) -> Result<Self, LabError> {
        fs::create_dir_all(RUN_DIR).map_err(LabError::file("create", Path::new(RUN_DIR)))?;
        let deadline = Instant::now() + WAIT;
        loop {
            let file =
                OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(LabError::file("open", path))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // The holder before us may have removed the file while we opened it.
                Ok(file) if is_at(&file, path) => {
                    return Ok(Self { _file: file, path: path.to_path_buf() });
                }
                Ok(_) => {}
                Err((_, nix::Error::EWOULDBLOCK)) if stop() => return Err(LabError::nothing_made(name)),
                Err((_, nix::Error::EWOULDBLOCK)) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(20));
                }
                Err((_, nix::Error::EWOULDBLOCK)) => {
                    return Err(LabError::Busy { name: name.clone(), seconds: WAIT.as_secs() });
                }
                Err((_, error)) => return Err(LabError::file("lock", path)(error.into())),
            }
        }
    }

    /// Removes the file together with the lock, when there is nothing left to lock.
    pub(crate) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn path_of(name: &LabName) -> PathBuf {
    Path::new(RUN_DIR).join(format!("{name}.lock"))
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}
