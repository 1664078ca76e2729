//! What can go wrong with a file system on a device.

use std::io;
use std::path::PathBuf;

use super::contents::{Contents, Kind};
use crate::mount::MountError;

/// A file system that could not be made, mounted or enlarged.
#[derive(Debug, thiserror::Error)]
pub enum FilesystemError {
    /// The device could not be read or written.
    #[error("cannot {action} {}", device.display())]
    Device {
        /// What was tried.
        action: &'static str,
        /// Which device.
        device: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is something else on it, and nothing is ever made in its place.
    #[error("{} holds {found} and is to hold {wanted}: it is left as it is; empty the volume or say what it holds", device.display())]
    Taken {
        /// Which device.
        device: PathBuf,
        /// What was found.
        found: Contents,
        /// What was asked for.
        wanted: Kind,
    },
    /// A program is not there.
    #[error("cannot run {program} (package {package})")]
    Tool {
        /// Which.
        program: &'static str,
        /// What it comes with.
        package: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program refused.
    #[error("{program} {}: {message}", device.display())]
    Refused {
        /// Which.
        program: &'static str,
        /// On what.
        device: PathBuf,
        /// What it said.
        message: String,
    },
    /// The file system has errors that are not repaired without a person's consent.
    #[error("the {kind} on {} has errors that need a person: look at it with `{advice}`", device.display())]
    Damaged {
        /// Which kind.
        kind: Kind,
        /// On what.
        device: PathBuf,
        /// What to run.
        advice: String,
    },
    /// The kernel does not mount it.
    #[error(transparent)]
    Mount(#[from] MountError),
}

impl FilesystemError {
    /// Whether this machine lacks something, so that another one may do better.
    #[must_use]
    pub const fn is_of_this_host(&self) -> bool {
        match self {
            Self::Tool { .. } => true,
            Self::Device { .. } | Self::Taken { .. } | Self::Refused { .. } | Self::Damaged { .. } | Self::Mount(_) => false,
        }
    }
}
