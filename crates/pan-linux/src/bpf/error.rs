//! What can go wrong with a map or a program.

use std::io;
use std::path::PathBuf;

/// Why a BPF map or program could not be made, found or kept.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The kernel refused a call.
    #[error("{what}")]
    Call {
        /// The operation.
        what: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a program.
    #[error("load the BPF program {program}{}{log}", if log.is_empty() { "" } else { ": " })]
    Refused {
        /// Its name.
        program: &'static str,
        /// What the verifier wrote, empty if it was not reached.
        log: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Something of another kind is pinned there.
    #[error("{} is not what was expected there: {found}; expected {expected}", path.display())]
    Foreign {
        /// The pin.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The file system for pins could not be mounted.
    #[error("mount a BPF file system for pins")]
    Mount(#[from] crate::mount::MountError),
}

impl BpfError {
    pub(super) fn call(what: impl Into<String>) -> impl FnOnce(io::Error) -> BpfError {
        |source| BpfError::Call { what: what.into(), source }
    }
}
