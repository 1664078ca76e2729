//! What a host remembers of its pool outside of it: that there is one, and during which boot it lost nothing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// In the state directory: where the pool was made.
const MADE: &str = "pool";
/// Beside the pool: the boot since which nothing of it is lost. Whoever opens it during another one may lack what was not flushed.
const BOOT: &str = "boot";

/// In the state directory: something of the pool may be lost, and its own disk may not have taken note of that.
const LOST: &str = "pool.lost";

/// A boot, as two see it: the host, by its directory for run-time state, and the kernel. That directory may be one that no boot empties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boot {
    host: u64,
    /// Empty: not known.
    kernel: String,
}

impl Boot {
    /// This one.
    pub(crate) fn now(host: u64) -> Self {
        Self { host, kernel: pan_api::hostlink::kernel_boot().unwrap_or_default() }
    }

    fn text(&self) -> String {
        format!("{:016x} {}\n", self.host, self.kernel)
    }

    /// As releases wrote it that asked the host alone.
    fn former_text(&self) -> String {
        format!("{:016x}\n", self.host)
    }
}

/// A mark cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub(crate) struct MarkError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The pool in a folder exists from now on.
pub(crate) fn made(state_dir: &Path, folder: &Path) -> Result<(), MarkError> {
    put(&state_dir.join(MADE), &format!("{}\n", folder.display()))
}

/// The mark that says that a pool was made in a folder.
pub(crate) fn was_made(state_dir: &Path, folder: &Path) -> Option<PathBuf> {
    let path = state_dir.join(MADE);
    let kept = fs::read_to_string(&path).ok()?;
    (Path::new(kept.trim_end_matches('\n')) == folder).then_some(path)
}

/// Whether everything that was written to a pool is there if this boot lasts.
pub(crate) fn was_kept_by(state_dir: &Path, folder: &Path, boot: &Boot) -> bool {
    let same = |kept: String| !boot.kernel.is_empty() && (kept == boot.text() || kept == boot.former_text());
    fs::read_to_string(folder.join(BOOT)).is_ok_and(same) && !state_dir.join(LOST).exists()
}

/// Nothing of a pool is lost that heads do not know of.
pub(crate) fn lost_nothing(state_dir: &Path, folder: &Path, boot: &Boot) -> Result<(), MarkError> {
    put(&folder.join(BOOT), &boot.text())?;
    remove(&state_dir.join(LOST))
}

/// Something of a pool may be lost. Its disk has failed, so that is said elsewhere as well.
pub(crate) fn may_have_lost(state_dir: &Path, folder: &Path) -> Result<(), MarkError> {
    let said = put(&state_dir.join(LOST), &format!("{}\n", folder.display()));
    remove(&folder.join(BOOT)).or(said)
}

fn remove(path: &Path) -> Result<(), MarkError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(MarkError { path: path.to_owned(), source }),
        _ => Ok(()),
    }
}

/// Writes a small file unless it says the same already; whole or not at all, durable when the call returns.
fn put(path: &Path, content: &str) -> Result<(), MarkError> {
    if fs::read_to_string(path).is_ok_and(|kept| kept == content) {
        return Ok(());
    }
    let write = || {
        let fresh = path.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    write().map_err(|source| MarkError { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_about_one_folder_and_one_boot() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("volumes");
        fs::create_dir(&folder).unwrap();
        assert_eq!(was_made(dir.path(), &folder), None);
        made(dir.path(), &folder).unwrap();
        assert_eq!(was_made(dir.path(), &folder), Some(dir.path().join("pool")));
        assert_eq!(was_made(dir.path(), &dir.path().join("other")), None);
        let boot = |host, kernel: &str| Boot { host, kernel: kernel.into() };
        let kept_by = |host, kernel| was_kept_by(dir.path(), &folder, &boot(host, kernel));
        assert!(!kept_by(7, "k"));
        lost_nothing(dir.path(), &folder, &boot(7, "k")).unwrap();
        assert!(kept_by(7, "k") && !kept_by(8, "k"));
        assert!(!kept_by(7, "l"), "what the host has for this boot is on a disk");
        assert!(!kept_by(7, ""), "nobody knows");
        may_have_lost(dir.path(), &folder).unwrap();
        may_have_lost(dir.path(), &folder).unwrap();
        assert!(!kept_by(7, "k"));
        // A disk that takes nothing any more still says what it said before.
        put(&folder.join(BOOT), &boot(7, "k").text()).unwrap();
        assert!(!kept_by(7, "k"));
        lost_nothing(dir.path(), &folder, &boot(7, "k")).unwrap();
        assert!(kept_by(7, "k"));
        // An upgrade is no boot.
        put(&folder.join(BOOT), "0000000000000007\n").unwrap();
        assert!(kept_by(7, "k") && !kept_by(8, "k"));
        assert!(!Boot::now(7).kernel.is_empty());
    }
}
