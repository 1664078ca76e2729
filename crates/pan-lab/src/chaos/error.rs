//! Why a round could not be made. What it found is no error but its report.

use std::io;

use pan_api::ApiError;

use crate::error::LabError;

/// A round that failed.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// Its laboratory failed.
    #[error("{}", .0.chain())]
    Lab(#[from] LabError),
    /// The PAN refused something before there was any fault.
    #[error("{action}: {source}")]
    Api {
        /// What was asked for.
        action: String,
        /// The refusal.
        source: ApiError,
    },
    /// The PAN is not as its scene says, before there was any fault.
    #[error("before any fault, {0}")]
    Scene(String),
    /// The PAN was not whole before there was any fault.
    #[error("{what} did not happen within {seconds} s, before any fault; last seen: {seen}")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// The bound.
        seconds: u64,
        /// What there was instead.
        seen: String,
    },
    /// A system call failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}
