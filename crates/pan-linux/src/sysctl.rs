//! Kernel settings under `/proc/sys`, as a given network namespace sees them.

use std::fs;
use std::io;

use crate::netns::{Netns, NetnsError};

/// Why a setting could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The key would leave `/proc/sys`.
    #[error("kernel setting {key:?}: expected a path such as net/ipv4/ip_forward")]
    Key {
        /// The refused key.
        key: String,
    },
    /// The kernel refused the value, or has no such setting.
    #[error("write {value:?} to kernel setting {key}")]
    Write {
        /// The setting.
        key: String,
        /// The value.
        value: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The setting could not be read.
    #[error("read kernel setting {key}")]
    Read {
        /// The setting.
        key: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

/// Writes one setting, for instance `("net/ipv4/ip_forward", "1")`, in `ns` or, if none is given, in
/// the calling thread's namespace. Slashes, not dots, separate the parts, because device names have dots.
///
/// # Errors
/// The key is malformed, the kernel has no such setting, or refuses the value.
pub fn set(ns: Option<&Netns>, key: &str, value: &str) -> Result<(), SysctlError> {
    let path = path_of(key)?;
    within(ns, || fs::write(path, value))?.map_err(|source| SysctlError::Write { key: key.to_owned(), value: value.to_owned(), source })
}

/// Reads one setting, without the final line feed.
///
/// # Errors
/// The key is malformed or the kernel has no such setting.
pub fn get(ns: Option<&Netns>, key: &str) -> Result<String, SysctlError> {
    let path = path_of(key)?;
    let text = within(ns, || fs::read_to_string(path))?.map_err(|source| SysctlError::Read { key: key.to_owned(), source })?;
    Ok(text.trim_end().to_owned())
}

/// `/proc/sys/net` shows the namespace of the thread that opens the file.
fn within<T: Send>(ns: Option<&Netns>, body: impl FnOnce() -> T + Send) -> Result<T, SysctlError> {
    match ns {
        Some(ns) => Ok(ns.run(body)?),
        None => Ok(body()),
    }
}

fn path_of(key: &str) -> Result<String, SysctlError> {
    let bad = key.is_empty() || key.starts_with('/') || key.split('/').any(|part| part == "..");
    if bad {
        return Err(SysctlError::Key { key: key.to_owned() });
    }
    Ok(format!("/proc/sys/{key}"))
}
