//! Why a benchmark could not be done.

use std::io;

use pan_api::ApiError;
use pan_model::Code;

use crate::error::LabError;

/// A benchmark that failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Its laboratory failed.
    #[error("{}", .0.chain())]
    Lab(LabError),
    /// The PAN refused something.
    #[error("{action}: {source}")]
    Api {
        /// What was asked for.
        action: String,
        /// The refusal.
        source: ApiError,
    },
    /// The PAN did not get into a state from which measuring makes sense.
    #[error("{what} did not happen within {seconds} s; last seen: {seen}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The bound.
        seconds: u64,
        /// What there was instead.
        seen: String,
    },
    /// The prober ended before it was told to.
    #[error("the prober ended early: {0}")]
    Prober(String),
    /// A system call failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Programs of others are not here.
    #[error("not installed: {0}; install with `apt-get install --no-install-recommends {0}` or `./setup.sh bench`")]
    Packages(String),
    /// An answer makes no sense to a benchmark.
    #[error("{0}")]
    Surprise(String),
    /// Somebody wants it to end.
    #[error("stopped; its laboratory is removed")]
    Stopped,
}

impl From<LabError> for BenchError {
    fn from(error: LabError) -> Self {
        Self::Lab(error)
    }
}

impl BenchError {
    /// The documented code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Lab(error) => error.code(),
            Self::Api { source, .. } => source.code,
            Self::TimedOut { .. } => Code::TimedOut,
            Self::Packages(_) => Code::NotFound,
            Self::Prober(_) | Self::System { .. } | Self::Surprise(_) | Self::Stopped => Code::Internal,
        }
    }
}
