//! The keys of heartbeats on a host: the files they lie in, and what a controller hands out.

use crate::keyfile::{KeyFileError, read_keys};
use pan_model::HostName;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `POST /internal/v1/keys`: a host asks for its keys, and says which it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskKeys {
    /// [`crate::WIRE_VERSION`].
    pub version: u16,
    /// Which host.
    pub host: HostName,
    /// The newest period whose keys it has; `None`: it does not know.
    pub have: Option<u64>,
    /// What time it takes it for: wall clock, microseconds since 1970.
    #[serde(default)]
    pub wall: Option<i64>,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The period whose keys are used.
    pub current: u64,
    /// The period whose keys are handed out: the same, or the next.
    pub newest: u64,
    /// The host's own keys, the one to use first; 64 hexadecimal digits each.
    pub own: Vec<String>,
    /// Those from which everybody's are derived, in the same order; for those who judge others only.
    #[serde(default)]
    pub pan: Vec<String>,
    /// The public keys that capabilities are checked with ([`crate::capability`]), in the same order; for those who keep volumes.
    #[serde(default)]
    pub capability: Vec<String>,
}

/// Without the keys.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({} to {})", self.current, self.newest)
    }
}

/// Where the newest keys lie that were handed out since the boot, for those of a configured file: on tmpfs, so that whoever
/// sends heartbeats never waits for a disk.
#[must_use]
pub fn fresh(run_dir: &Path, configured: &Path) -> PathBuf {
    run_dir.join(configured.file_name().unwrap_or_default())
}

/// What changes when a file is replaced.
type Mark = (u64, i64, i64);

/// Keys from a file, taken anew when it is replaced.
#[derive(Debug)]
pub struct LiveKeys {
    file: PathBuf,
    mark: Option<Mark>,
}

impl LiveKeys {
    /// The keys as they are now: those handed out since the boot, else those of the configured file.
    ///
    /// # Errors
    /// [`KeyFileError`]: neither file can be used.
    pub fn open(run_dir: &Path, configured: &Path) -> Result<(Self, Vec<[u8; 32]>), KeyFileError> {
        let file = fresh(run_dir, configured);
        let mark = mark(&file);
        let keys = if mark.is_some() { read_keys(&file) } else { read_keys(configured) }?;
        Ok((Self { file, mark }, keys))
    }

    /// The keys, if others were handed out since they were asked for last.
    pub fn news(&mut self) -> Option<Vec<[u8; 32]>> {
        let now = mark(&self.file);
        if now.is_none() || now == self.mark {
            return None;
        }
        self.mark = now;
        match read_keys(&self.file) {
            Ok(keys) => Some(keys),
            Err(error) => {
                tracing::warn!(%error, "new keys are of no use; the old ones are used on");
                None
            }
        }
    }
}

fn mark(file: &Path) -> Option<Mark> {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_handed_out_take_the_place_of_the_configured() {
        let (run, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let configured = etc.path().join("beat.key");
        let digits = |byte: &str| byte.repeat(32);
        std::fs::write(&configured, digits("01")).unwrap();
        let (mut live, keys) = LiveKeys::open(run.path(), &configured).unwrap();
        assert_eq!((keys, live.news()), (vec![[1; 32]], None));
        let file = fresh(run.path(), &configured);
        std::fs::write(&file, format!("{}\n{}\n", digits("02"), digits("01"))).unwrap();
        assert_eq!((live.news(), live.news()), (Some(vec![[2; 32], [1; 32]]), None));
        // A file that is damaged changes nothing.
        std::fs::remove_file(&file).unwrap();
        std::fs::write(etc.path().join("x"), "x").unwrap();
        std::fs::rename(etc.path().join("x"), &file).unwrap();
        assert_eq!(live.news(), None);
        std::fs::write(&file, digits("03")).unwrap();
        assert_eq!(LiveKeys::open(run.path(), &configured).unwrap().1, vec![[3; 32]]);
    }
}
