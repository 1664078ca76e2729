//! The boot identifier and the agent's sign of life: two small files in `run_dir` that the agent and the
//! beat process share, so that neither needs the other to be running.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use pan_api::hostlink;
use pan_member::{BootId, Tick};

use crate::error::{Error, FileError};
use crate::paths::alive_file;

/// The host's boot identifier, drawn by whichever process asks first after a boot.
///
/// # Errors
/// The file cannot be made or holds something else.
pub(crate) fn boot_id(run_dir: &Path) -> Result<BootId, Error> {
    let boot = hostlink::make_run_dir(run_dir).and_then(|()| hostlink::boot_id(run_dir));
    boot.map(BootId).map_err(|source| Error::Boot { path: run_dir.to_owned(), source })
}

/// A number that nobody could have guessed.
pub(crate) fn random() -> io::Result<u64> {
    getrandom::u64().map_err(|error| io::Error::other(error.to_string()))
}

/// The agent's end: says "alive now".
#[derive(Debug)]
pub(crate) struct AliveMark(File);

impl AliveMark {
    pub(crate) fn open(run_dir: &Path) -> Result<Self, FileError> {
        let path = alive_file(run_dir);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(&path);
        file.map(Self).map_err(FileError::of("make", &path))
    }

    /// Eight bytes in place: a reader sees the old number or the new one.
    pub(crate) fn set(&self, now: Tick) -> io::Result<()> {
        self.0.write_all_at(&now.0.to_be_bytes(), 0)
    }
}

/// The beat's end: when the agent was last alive. The file is kept open.
#[derive(Debug, Default)]
pub(crate) struct AliveSeen(Option<File>);

impl AliveSeen {
    /// `None` if no agent has given a sign of life since the boot.
    pub(crate) fn get(&mut self, run_dir: &Path) -> Option<Tick> {
        if self.0.is_none() {
            self.0 = File::open(alive_file(run_dir)).ok();
        }
        let mut bytes = [0; 8];
        self.0.as_ref()?.read_exact_at(&mut bytes, 0).ok()?;
        Some(Tick(u64::from_be_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = AliveSeen::default();
        assert_eq!(seen.get(dir.path()), None);
        let mark = AliveMark::open(dir.path()).unwrap();
        for tick in [Tick(5), Tick(u64::MAX)] {
            mark.set(tick).unwrap();
            assert_eq!(seen.get(dir.path()), Some(tick));
        }
    }
}
