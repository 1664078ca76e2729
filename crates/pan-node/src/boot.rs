//! The boot identifier and the marks in `run_dir` by which the agent and the beat process know of each other, so
//! that neither needs the other to be running.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pan_api::hostlink;
use pan_member::BootId;
use pan_model::Admission;

use crate::error::{Error, FileError};

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

/// A number in a file of eight bytes, written in place: a reader sees the old one or the new one.
#[derive(Debug)]
pub(crate) struct Mark(File);

impl Mark {
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path);
        file.map(Self).map_err(FileError::of("make", path))
    }

    pub(crate) fn set(&self, number: u64) -> io::Result<()> {
        self.0.write_all_at(&number.to_be_bytes(), 0)
    }
}

/// The other end of a [`Mark`]. The file is kept open.
#[derive(Debug)]
pub(crate) struct MarkSeen {
    path: PathBuf,
    file: Option<File>,
}

impl MarkSeen {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Whether another file lies where this one did, which was removed: whoever writes it has begun anew, and goes by other files than before.
    pub(crate) fn is_replaced(&self) -> bool {
        let removed = self.file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|of| of.nlink() == 0));
        removed && self.path.exists()
    }

    /// `None` if nothing was written since the boot.
    pub(crate) fn get(&mut self) -> Option<u64> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let mut bytes = [0; 8];
        self.file.as_ref()?.read_exact_at(&mut bytes, 0).ok()?;
        Some(u64::from_be_bytes(bytes))
    }
}

/// What the beat process tells the agent of its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LeaseNote {
    /// The number it takes part under.
    pub admission: Admission,
    /// That number is worn out: some lessor no longer acknowledges it.
    pub wants: bool,
}

impl LeaseNote {
    /// In a mark.
    pub(crate) fn number(self) -> u64 {
        self.admission.0 << 1 | u64::from(self.wants)
    }

    /// Out of a mark.
    pub(crate) fn of(number: u64) -> Self {
        Self { admission: Admission(number >> 1), wants: number & 1 == 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut seen = MarkSeen::new(path.clone());
        assert_eq!(seen.get(), None);
        let mark = Mark::open(&path).unwrap();
        for number in [5, u64::MAX] {
            mark.set(number).unwrap();
            assert_eq!(seen.get(), Some(number));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(!seen.is_replaced(), "nobody has begun anew");
        Mark::open(&path).unwrap();
        assert!(seen.is_replaced() && !MarkSeen::new(path).is_replaced());
    }

    #[test]
    fn a_note_of_the_lease_goes_through_a_mark() {
        for note in [LeaseNote::default(), LeaseNote { admission: Admission(7), wants: true }] {
            assert_eq!(LeaseNote::of(note.number()), note);
        }
    }
}
