//! How many hosts the PAN has, handed over in a file of a host's `run_dir`: whichever role runs there learns it from its
//! desired state, and the beat process, which speaks to no controller, beats the more slowly the more hosts there are.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FILE: &str = "pan-size";

/// Writes the number down, if another one is there.
///
/// # Errors
/// The file cannot be written. The former number stays.
pub fn note(run_dir: &Path, hosts: usize) -> io::Result<()> {
    let file = run_dir.join(FILE);
    if read(&file) == Some(hosts) {
        return Ok(());
    }
    // Roles of one host may write at the same time; a half-written number must not be seen.
    let fresh = run_dir.join(format!("{FILE}.{}", std::process::id()));
    std::fs::write(&fresh, format!("{hosts}\n"))?;
    std::fs::rename(&fresh, &file)
}

fn read(file: &Path) -> Option<usize> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number, taken anew when it is replaced.
#[derive(Debug)]
pub struct PanSize {
    file: PathBuf,
    mark: Option<(u64, i64, i64)>,
}

impl PanSize {
    /// The one that is kept in `run_dir`; [`PanSize::news`] says the first one, too.
    #[must_use]
    pub fn of(run_dir: &Path) -> Self {
        Self { file: run_dir.join(FILE), mark: None }
    }

    /// The number, if there is one and it was written since this was called last. What cannot be read is no news.
    pub fn news(&mut self) -> Option<usize> {
        let meta = std::fs::metadata(&self.file).ok()?;
        let mark = Some((meta.ino(), meta.mtime(), meta.mtime_nsec()));
        if mark == self.mark {
            return None;
        }
        self.mark = mark;
        read(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_whenever_it_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut size = PanSize::of(dir.path());
        assert_eq!(size.news(), None);
        note(dir.path(), 7).unwrap();
        assert_eq!((size.news(), size.news()), (Some(7), None));
        note(dir.path(), 7).unwrap();
        assert_eq!(size.news(), None);
        note(dir.path(), 1900).unwrap();
        assert_eq!(size.news(), Some(1900));
        std::fs::write(dir.path().join("x"), "many").unwrap();
        std::fs::rename(dir.path().join("x"), dir.path().join(FILE)).unwrap();
        assert_eq!(size.news(), None);
    }
}
