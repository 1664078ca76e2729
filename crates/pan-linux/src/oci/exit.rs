//! The record of a container's end, which the shim leaves for whoever is there then.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::OciError;
use crate::process::Exit;

/// How and when a container's first process ended. Exactly one of `code` and `signal` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitRecord {
    /// The code it exited with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// When it was reaped, milliseconds since 1970 UTC.
    pub at: u64,
}

impl ExitRecord {
    /// A record of this moment.
    pub fn now(exit: Exit) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let (code, signal) = match exit {
            Exit::Code(code) => (Some(code), None),
            Exit::Signal(signal) => (None, Some(signal)),
        };
        Self { code, signal, at: since.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)) }
    }

    /// Reads a record; `None` if the container has not ended yet (or its shim was killed).
    pub fn read(path: &Path) -> Result<Option<Self>, OciError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(OciError::File { action: "read", path: path.to_path_buf(), source });
            }
        };
        serde_json::from_slice(&text).map(Some).map_err(|source| OciError::Content { path: path.to_path_buf(), source })
    }

    /// Writes the record so that a reader sees all of it or nothing.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension("new");
        write_private(&fresh, &serde_json::to_vec(self)?)?;
        fs::rename(&fresh, path)
    }
}

/// Writes a file only root can read.
pub(super) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(content)
}
