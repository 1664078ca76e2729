//! What can go wrong with a block device of another process.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::fuse::FuseError;
use crate::loopdev::LoopError;
use crate::mount::MountError;

/// A block device that could not be attached, changed or detached.
#[derive(Debug, thiserror::Error)]
pub enum BlockDeviceError {
    /// The file is not served.
    #[error(transparent)]
    Fuse(#[from] FuseError),
    /// The device refused.
    #[error(transparent)]
    Loop(#[from] LoopError),
    /// The file system of the one file could not be mounted or unmounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Whoever serves did not answer in time; the connection was ended.
    #[error("nobody served {} within {} ms: what waited for it was ended", file.display(), limit.as_millis())]
    NotServed {
        /// The file.
        file: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// Somebody still uses the device.
    #[error("{} is still in use after {} ms: a file system on it is mounted, perhaps in a container, or a program has it open", device.display(), limit.as_millis())]
    InUse {
        /// The device, or the folder of the one file.
        device: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// The file could not be looked at.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}
