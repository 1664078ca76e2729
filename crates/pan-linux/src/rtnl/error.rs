//! What can go wrong with a route-netlink request.

use std::io;

use crate::netns::NetnsError;

/// Why a request about links, addresses, routes, neighbours or forwarding entries failed.
#[derive(Debug, thiserror::Error)]
pub enum RtnlError {
    /// The socket could not be opened.
    #[error("open a route netlink socket")]
    Open {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The namespace could not be entered or opened.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// An interface that the request names is not there.
    #[error("{what}: no interface named {device} in this network namespace")]
    NoDevice {
        /// The operation.
        what: String,
        /// The missing interface.
        device: String,
    },
    /// The request makes no sense; nothing was sent.
    #[error("{what}: {reason}")]
    Invalid {
        /// The operation.
        what: String,
        /// What was expected.
        reason: &'static str,
    },
    /// The kernel refused.
    #[error("{what}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Refused {
        /// The operation.
        what: String,
        /// The kernel's extended explanation, often empty.
        detail: String,
        /// Its error number.
        #[source]
        source: io::Error,
    },
    /// Sending or receiving failed; what the kernel did is not known.
    #[error("{what}: talk to the kernel")]
    Transport {
        /// The operation.
        what: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
}

impl RtnlError {
    /// The error number of a refusal.
    pub fn errno(&self) -> Option<i32> {
        match self {
            RtnlError::Refused { source, .. } => source.raw_os_error(),
            RtnlError::Open { .. }
            | RtnlError::Netns(_)
            | RtnlError::NoDevice { .. }
            | RtnlError::Invalid { .. }
            | RtnlError::Transport { .. } => None,
        }
    }
}

/// Result of this module.
pub type Result<T> = std::result::Result<T, RtnlError>;
