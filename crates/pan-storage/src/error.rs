//! Why the storage role cannot run.

use std::path::PathBuf;

use pan_api::hostlink::LinkError;
use pan_api::tls::TlsError;
use pan_linux::rtnl::RtnlError;
use pan_linux::underlay::UnderlayError;

/// Why the storage role cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The link to the controllers cannot be set up.
    #[error("connect to the controllers")]
    Link(#[from] LinkError),
    /// The boot identifier cannot be read or made.
    #[error("read the boot identifier in {}", path.display())]
    Boot {
        /// The directory for run-time state.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not known how much the disk holds.
    #[error("look at the disk of {}", path.display())]
    Folder {
        /// Where replicas lie.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no socket for routes.
    #[error("talk to the kernel about routes")]
    Rtnl(#[from] RtnlError),
    /// The host's certificate cannot be used.
    #[error("use the host's certificate to serve")]
    Tls(#[from] TlsError),
    /// The kernel refuses what routes over two fabrics need.
    #[error("prepare the host's routes")]
    Underlay(#[from] UnderlayError),
}
