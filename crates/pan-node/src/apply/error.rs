//! Why an effect on one server failed, in words for its report.

use std::path::PathBuf;

use crate::error::FileError;

/// Why an effect on one server failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Its network namespace.
    #[error(transparent)]
    Netns(#[from] pan_linux::netns::NetnsError),
    /// Its cable, addresses or routes.
    #[error(transparent)]
    Rtnl(#[from] pan_linux::rtnl::RtnlError),
    /// Its partition's user namespace.
    #[error(transparent)]
    UserNs(#[from] pan_linux::userns::UserNsError),
    /// Every range of ids that partitions may have is taken.
    #[error("this host has no ids left for another partition")]
    NoIds,
    /// Whom its network namespace belongs to.
    #[error("find out whom its network namespace belongs to")]
    Owner(#[source] std::io::Error),
    /// Who may begin to speak to it.
    #[error(transparent)]
    Allow(#[from] pan_linux::allow::AllowError),
    /// Kernel settings of its network.
    #[error(transparent)]
    Sysctl(#[from] pan_linux::sysctl::SysctlError),
    /// Its root file system.
    #[error(transparent)]
    Mount(#[from] pan_linux::mount::MountError),
    /// Its container.
    #[error(transparent)]
    Oci(#[from] pan_linux::oci::OciError),
    /// Its control group.
    #[error(transparent)]
    Group(#[from] pan_linux::cgroup::CgroupError),
    /// A file or folder of its.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel gives no random numbers.
    #[error("draw an instance number")]
    Random(#[source] std::io::Error),
    /// An address that is in none of the partition's networks.
    #[error("address {address} lies in none of the partition's networks")]
    Address {
        /// The address.
        address: std::net::IpAddr,
    },
    /// A file to be placed where none can be.
    #[error("file {path}: {reason}")]
    Place {
        /// The path asked for.
        path: String,
        /// Why not there.
        reason: &'static str,
    },
    /// An image that is part of what no server may see.
    #[error("image dir:{}: that folder is hidden from servers", path.display())]
    HiddenImage {
        /// The folder.
        path: PathBuf,
    },
    /// Neither the cluster nor the image says what to run.
    #[error("its image has no program of its own: give the cluster a `command`")]
    NoCommand,
    /// The container's first process ended before it could be looked at.
    #[error("it ended at once: {0}")]
    EndedAtOnce(String),
    /// The process that keeps its exit status goes on without it.
    #[error("the shim of {id} did not end within {} s of its program", limit.as_secs())]
    Shim {
        /// The server's identifier.
        id: String,
        /// For how long it was waited.
        limit: std::time::Duration,
    },
    /// The thread that did it was lost.
    #[error("a step was lost: {0}")]
    Lost(String),
}
