//! What can go wrong with `pan up`, `pan down` and `pan lab …`, and how a script sees it.

use std::io;

use pan_lab::LabError;
use pan_model::Code;

use crate::context::ContextError;

/// A laboratory command that failed.
#[derive(Debug, thiserror::Error)]
pub enum LabCommandError {
    /// The laboratory refused.
    #[error("{}", .0.chain())]
    Lab(LabError),
    /// The contexts could not be used.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The PAN did not answer, or not as it should.
    #[error("{what}: {message}{hint}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// What it looked like in the end.
        message: String,
        /// Where to look.
        hint: String,
    },
    /// Somebody took the laboratory down while it was being waited for.
    #[error("laboratory {name} was taken down (`pan down`) while it was coming up")]
    TakenDown {
        /// Its name.
        name: pan_lab::LabName,
    },
    /// Another one runs under that name.
    #[error("laboratory {name} runs already, and not as asked for: {}; `pan down --name {name}` first takes it away, or give this one a --name", .differs.join(", "))]
    Different {
        /// Its name.
        name: pan_lab::LabName,
        /// What differs, with the flags.
        differs: Vec<String>,
    },
    /// A program could not be run.
    #[error("cannot run {program}")]
    Run {
        /// Which one.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
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
    /// The demo was refused.
    #[error("the PAN is up, but its demo could not be applied (`pan apply` ended with {status})")]
    Demo {
        /// How `pan apply` ended.
        status: std::process::ExitStatus,
    },
    /// A host's init gave up.
    #[error(transparent)]
    Init(#[from] pan_lab::init::InitError),
}

impl From<LabError> for LabCommandError {
    fn from(error: LabError) -> Self {
        Self::Lab(error)
    }
}

impl LabCommandError {
    /// The documented code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Lab(error) => error.code(),
            Self::Context(ContextError::Unknown { .. }) => Code::NotFound,
            Self::Context(_) => Code::Invalid,
            Self::NotReady { .. } => Code::TimedOut,
            Self::TakenDown { .. } | Self::Different { .. } => Code::State,
            Self::Run { .. } | Self::System { .. } | Self::Demo { .. } | Self::Init(_) => Code::Internal,
        }
    }

    /// The exit code for scripts: 1 failed or refused, 2 usage, 3 not found, 4 denied, 5 timed out.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match (self, self.code()) {
            (_, Code::NotFound) => 3,
            (_, Code::Denied) => 4,
            (_, Code::TimedOut) => 5,
            (Self::Lab(_), Code::Invalid) => 2,
            (_, _) => 1,
        }
    }
}
