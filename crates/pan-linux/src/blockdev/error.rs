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

impl BlockDeviceError {
    /// Whether this machine lacks something, so that another one may do better: not if whoever serves the file did not answer, answered that it
    /// cannot be read, or was ended.
    #[must_use]
    pub fn is_of_this_host(&self) -> bool {
        match self {
            Self::Fuse(error) => error.is_of_this_host(),
            Self::Loop(LoopError { source, .. }) | Self::Io { source, .. } => !is_of_the_server(source),
            Self::Mount(_) | Self::InUse { .. } => true,
            Self::NotServed { .. } => false,
        }
    }
}

/// Errors that come from behind the file: what a server answers that has no storage, and what the kernel says in place of one whose connection
/// was ended.
fn is_of_the_server(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::ENOTCONN | libc::ECONNABORTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_loop(action: &'static str, errno: i32) -> BlockDeviceError {
        LoopError { action, backing: PathBuf::from("/run/f"), source: io::Error::from_raw_os_error(errno) }.into()
    }

    fn control(errno: i32) -> BlockDeviceError {
        FuseError::Control { action: "look at", number: 7, source: io::Error::from_raw_os_error(errno) }.into()
    }

    #[test]
    fn storage_that_is_away_is_no_fault_of_this_host() {
        let file = PathBuf::from("/run/f");
        let slow = BlockDeviceError::NotServed { file: file.clone(), limit: Duration::from_secs(10) };
        let unread = BlockDeviceError::Io { action: "look at", path: file, source: io::Error::from_raw_os_error(libc::EIO) };
        let others = [
            slow,
            unread,
            of_loop("attach", libc::EIO),
            of_loop("open the file behind", libc::ENOTCONN),
            of_loop("open the file behind", libc::ECONNABORTED),
            FuseError::NotMounted(PathBuf::from("/run/served")).into(),
            control(libc::ENOTCONN),
            control(libc::ENOENT),
        ];
        for error in others {
            assert!(!error.is_of_this_host(), "{error:?}");
        }
        let own = [
            of_loop("ask for", libc::ENOENT),
            of_loop("attach", libc::ENOSPC),
            FuseError::Device(io::Error::from_raw_os_error(libc::ENOENT)).into(),
            FuseError::NoResend.into(),
        ];
        for error in own {
            assert!(error.is_of_this_host(), "{error:?}");
        }
    }
}
