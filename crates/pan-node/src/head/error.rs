//! Why a head cannot be begun, spoken to, or ended.

use std::io;
use std::path::PathBuf;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// A file of its folder.
    #[error("{action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A message, or a file, that means nothing.
    #[error("not understood: {0}")]
    Message(String),
    /// The order has no right to write.
    #[error("the order has no claim: the volume may not be written yet")]
    Unclaimed,
    /// The keeper did not come up.
    #[error("its keeper did not come up{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NotUp(Option<String>),
    /// The keeper cannot be started or spoken to.
    #[error("{action} the keeper")]
    Keeper {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel's file system.
    #[error(transparent)]
    Fuse(#[from] pan_linux::fuse::FuseError),
    /// Mounts.
    #[error(transparent)]
    Mount(#[from] pan_linux::mount::MountError),
    /// The host's certificate.
    #[error("use the host's certificate")]
    Tls(#[from] pan_api::tls::TlsError),
    /// The gate that says whether this node's lease is good.
    #[error("look at this node's gate")]
    Gate(#[source] pan_linux::gate::GateError),
    /// It serves no more, and no other head of this binding ever will.
    #[error("{0}")]
    Over(String),
}
