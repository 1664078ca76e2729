//! What can go wrong between this process and the kernel.

use std::io;
use std::path::PathBuf;

use super::terms::NoTerms;
use crate::mount::MountError;

/// A FUSE file system that could not be begun, served or ended.
#[derive(Debug, thiserror::Error)]
pub enum FuseError {
    /// There is no /dev/fuse.
    #[error("cannot open /dev/fuse: this kernel has no FUSE (module fuse, CONFIG_FUSE_FS), or this process may not use it")]
    Device(#[source] io::Error),
    /// mount(2) refused.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// It is not a FUSE file system of this program.
    #[error("no volume is mounted at {}", .0.display())]
    NotMounted(PathBuf),
    /// The kernel did not begin as it should.
    #[error("the kernel did not begin to talk at {}", at.display())]
    Begin {
        /// Mount point.
        at: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Kernel and server have no version in common.
    #[error("cannot serve a file to this kernel")]
    Terms(#[from] NoTerms),
    /// The kernel cannot send pending requests again.
    #[error("this kernel cannot give a successor what its predecessor has not answered (Linux 6.9 can)")]
    NoResend,
    /// A notification was refused.
    #[error("the kernel refused to {action}")]
    Notify {
        /// What it was to do.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A thread of the server could not be started, or could not be made fit for its work.
    #[error("cannot {action}")]
    Thread {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A session could not be handed over or taken.
    #[error("cannot {action} the session of a volume")]
    Handover {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel's control of FUSE connections could not be used.
    #[error("cannot {action} FUSE connection {number}")]
    Control {
        /// What was tried.
        action: &'static str,
        /// Its number.
        number: u32,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl FuseError {
    /// Whether this machine lacks something, so that another one may do better: not if a session was ended, or is not there.
    #[must_use]
    pub const fn is_of_this_host(&self) -> bool {
        match self {
            Self::Device(_) | Self::Mount(_) | Self::Begin { .. } | Self::Terms(_) | Self::NoResend | Self::Thread { .. } => true,
            Self::NotMounted(_) | Self::Notify { .. } | Self::Handover { .. } | Self::Control { .. } => false,
        }
    }
}
