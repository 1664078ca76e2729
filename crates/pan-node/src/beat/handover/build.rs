//! Which build a process is of: the very file it was started from. Versions do not tell, since a build under
//! development has the same for months.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A program's file; a copy is another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Build {
    pub version: String,
    device: u64,
    inode: u64,
    changed: i64,
}

impl Build {
    /// Of this process, whatever lies under its path by now.
    pub(super) fn own() -> io::Result<Self> {
        Self::of(Path::new("/proc/self/exe"))
    }

    /// Of the program there, as if it were of this version.
    pub(super) fn of(program: &Path) -> io::Result<Self> {
        let file = fs::metadata(program)?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Self { version, device: file.dev(), inode: file.ino(), changed: file.mtime() })
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (file {}:{})", self.version, self.device, self.inode)
    }
}
