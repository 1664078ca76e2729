//! Why an effect on one volume failed, in words for its server's report.

use std::time::Duration;

use crate::error::FileError;

/// Why an effect on one volume failed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The process that keeps its head.
    #[error(transparent)]
    Head(#[from] crate::head::HeadError),
    /// Its block device.
    #[error(transparent)]
    Device(#[from] pan_linux::blockdev::BlockDeviceError),
    /// The control group of its processes.
    #[error(transparent)]
    Group(#[from] pan_linux::cgroup::CgroupError),
    /// Its connection to the kernel.
    #[error(transparent)]
    Fuse(#[from] pan_linux::fuse::FuseError),
    /// Its file system.
    #[error(transparent)]
    Filesystem(#[from] pan_linux::filesystem::FilesystemError),
    /// A mount.
    #[error(transparent)]
    Mount(#[from] pan_linux::mount::MountError),
    /// A file or folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its device was served no more, or too slowly, while that was done.
    #[error("its head did not serve while {action}, within {} s", limit.as_secs())]
    NotServed {
        /// What was done.
        action: &'static str,
        /// For how long it was waited at most.
        limit: Duration,
    },
    /// Nothing is served where a head said that it serves.
    #[error("its head says that it serves, and nothing is mounted where it should")]
    NotMounted,
    /// The thread that did it was lost.
    #[error("a step was lost: {0}")]
    Lost(String),
}

impl VolumeError {
    /// Whether it is for want of something on this host, so that another one may do better: not what the volume, its storage or its head is
    /// to blame for, which go along.
    pub(super) fn is_of_this_host(&self) -> bool {
        match self {
            Self::Filesystem(error) => error.is_of_this_host(),
            Self::Device(error) => error.is_of_this_host(),
            Self::Fuse(error) => error.is_of_this_host(),
            Self::Head(_) | Self::Group(_) | Self::Mount(_) | Self::File(_) => true,
            Self::NotServed { .. } | Self::NotMounted | Self::Lost(_) => false,
        }
    }
}
