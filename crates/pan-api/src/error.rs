//! The one shape of an error: a documented code, a sentence, and the places it is about.

use pan_model::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An error as the API returns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The documented code.
    pub code: Code,
    /// What is wrong and what to do, in a sentence.
    pub message: String,
    /// Each thing that is wrong, with its place, when a document was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// One thing wrong in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The documented code.
    pub code: Code,
    /// The file or other source, as the caller named it.
    pub source: String,
    /// Line, from 1; 0 when unknown.
    pub line: u64,
    /// Column, from 1; 0 when unknown.
    pub column: u64,
    /// What was expected.
    pub message: String,
}

impl ApiError {
    /// An error without places.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), problems: Vec::new() }
    }

    /// The HTTP status that carries this error.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self.code {
            Code::Invalid | Code::NotYet | Code::Dangling | Code::Duplicate | Code::Cycle => 400,
            Code::Unauthenticated => 401,
            Code::Denied => 403,
            Code::NotFound => 404,
            Code::Conflict
            | Code::Protection
            | Code::NoCapacity
            | Code::Quota
            | Code::State
            | Code::InUse
            | Code::Leaving
            | Code::Altered => 409,
            Code::TooMany => 429,
            Code::TimedOut => 504,
            Code::Unreachable | Code::HostUnreachable => 502,
            Code::NotLeading | Code::InDoubt => 503,
            Code::Internal => 500,
        }
    }
}
