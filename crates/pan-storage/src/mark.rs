//! What a host remembers of its pool outside of it: that there is one, and during which boot it lost nothing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// In the state directory: where the pool was made.
const MADE: &str = "pool";
/// Beside the pool: the boot since which nothing of it is lost. Whoever opens it during another one may lack what was not flushed.
const BOOT: &str = "boot";

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
pub(crate) fn was_kept_by(folder: &Path, boot: u64) -> bool {
    fs::read_to_string(folder.join(BOOT)).is_ok_and(|kept| kept == text(boot))
}

/// Nothing of a pool is lost that heads do not know of.
pub(crate) fn lost_nothing(folder: &Path, boot: u64) -> Result<(), MarkError> {
    put(&folder.join(BOOT), &text(boot))
}

/// Something of a pool may be lost.
pub(crate) fn may_have_lost(folder: &Path) -> Result<(), MarkError> {
    let path = folder.join(BOOT);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(MarkError { path, source }),
        _ => Ok(()),
    }
}

fn text(boot: u64) -> String {
    format!("{boot:016x}\n")
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
        assert!(!was_kept_by(&folder, 7));
        lost_nothing(&folder, 7).unwrap();
        assert!(was_kept_by(&folder, 7) && !was_kept_by(&folder, 8));
        may_have_lost(&folder).unwrap();
        may_have_lost(&folder).unwrap();
        assert!(!was_kept_by(&folder, 7));
    }
}
