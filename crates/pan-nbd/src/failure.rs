//! What can go wrong with a request, and how a connection ends.

/// The error values of the specification ("Error values"): its numbers, whatever the system's are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// A write to what may only be read, or by who may no longer write.
    NotPermitted,
    /// The storage failed.
    Io,
    OutOfMemory,
    /// The client asked for what makes no sense.
    Invalid,
    NoSpace,
    /// More than can be read in one piece.
    Overflow,
    /// A fast way was asked for and there is none.
    NotSupported,
    /// The server is ending.
    ShuttingDown,
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::NotPermitted => 1,
            Self::Io => 5,
            Self::OutOfMemory => 12,
            Self::Invalid => 22,
            Self::NoSpace => 28,
            Self::Overflow => 75,
            Self::NotSupported => 95,
            Self::ShuttingDown => 108,
        }
    }
}

/// Why a request was not done, for the client's program (`code`) and for people (`message`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: ErrorCode,
    /// Sent with structured replies, cut to 1,024 bytes.
    pub message: String,
    /// Where in the export, if one place is to blame.
    pub at: Option<u64>,
}

impl Failure {
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), at: None }
    }
}

/// How a connection ended; nothing more is to be read from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// `NBD_OPT_ABORT`, or `NBD_CMD_DISC`.
    #[error("the client took its leave")]
    Left,
    #[error("found {found:#x} where {expected} has to begin")]
    Magic { expected: &'static str, found: u64 },
    #[error("client flags {found:#x}, of which only {known:#x} have a meaning")]
    ClientFlags { found: u32, known: u32 },
    #[error("option {option} from a client that has not agreed to fixed newstyle negotiation")]
    NotFixed { option: u32 },
    #[error("an option of {found} bytes; at most {max} are taken")]
    OptionLength { found: u32, max: u32 },
    #[error("more than {max} options without a choice")]
    OptionCount { max: u32 },
    /// `NBD_OPT_EXPORT_NAME` cannot be answered with an error.
    #[error("an export was chosen that cannot be given: {why}")]
    Refused { why: &'static str },
}
