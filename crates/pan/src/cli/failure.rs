//! How a command fails: the exit code for scripts, the text for people.

use super::kind::Kind;
use crate::context::ContextError;
use clap::ValueEnum;
use pan_api::{ApiError, Problem};
use pan_model::Code;
use std::borrow::Cow;
use std::io;

/// The exit code of wrong usage.
pub const USAGE: u8 = 2;

/// Problems shown of one refusal: who has corrected these asks again. `-o json` has all.
const PROBLEMS_SHOWN_MAX: usize = 20;

fn place(problem: &Problem) -> String {
    if problem.line == 0 { problem.source.clone() } else { format!("{}:{}:{}", problem.source, problem.line, problem.column) }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Refused or failed, with a documented code.
    #[error("{0}")]
    Api(#[from] ApiError),
    /// The command line asks for what makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The contexts cannot be used.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A file or a program on this side failed.
    #[error("cannot {action}: {source}")]
    Local {
        /// What was tried.
        action: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Whoever reads the output has seen enough.
    #[error("the output was closed")]
    Closed,
}

impl Failure {
    /// A refusal or failure with a code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Api(ApiError::new(code, message))
    }

    /// Something of the documented interface that this version cannot do.
    pub fn not_yet(what: &str) -> Self {
        Self::new(Code::NotYet, format!("{what} is not yet supported by this version"))
    }

    /// A failure on this side.
    pub fn local(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Local { action, source }
    }

    /// The documented code, where there is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Api(error) => Some(error.code),
            Self::Context(ContextError::Unknown { .. }) => Some(Code::NotFound),
            Self::Context(_) => Some(Code::Invalid),
            // A file that was named and is not there is a mistake of the caller, not of the program.
            Self::Local { source, .. } => Some(match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData => Code::Invalid,
                _ => Code::Internal,
            }),
            Self::Usage(_) | Self::Closed => None,
        }
    }

    /// 1 failed or refused, 2 usage, 3 not found, 4 denied, 5 timed out.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Usage(_) => USAGE,
            Self::Api(_) | Self::Context(_) | Self::Local { .. } => match self.code() {
                Some(code) => exit_of(code),
                None => 1,
            },
        }
    }

    /// What is said on stderr: the code, what is wrong, where, what to do.
    pub fn text(&self) -> String {
        let mut text = match self.code() {
            Some(code) => format!("error {code}: {self}"),
            None => format!("error: {self}"),
        };
        if let Self::Api(error) = self
            && !matches!(error.problems.as_slice(), [only] if error.message.contains(&only.message) && error.message.contains(&place(only)))
        {
            for problem in error.problems.iter().take(PROBLEMS_SHOWN_MAX) {
                text.push_str(&format!("\n  {}: {}: {}", place(problem), problem.code, problem.message));
            }
            if error.problems.len() > PROBLEMS_SHOWN_MAX {
                text.push_str(&format!("\n  and {} more", error.problems.len() - PROBLEMS_SHOWN_MAX));
            }
        }
        if let Some(todo) = self.todo() {
            text.push_str(&format!("\n  do: {todo}"));
        }
        text
    }

    /// What the code's page advises, unless the message itself says what to do. A page on documents does not fit a command.
    fn todo(&self) -> Option<Cow<'static, str>> {
        let Self::Api(error) = self else { return None };
        // What the pages of these codes advise is about documents.
        let of_documents = matches!(error.code, Code::NotYet | Code::Invalid | Code::Leaving) && error.problems.is_empty();
        if error.message.contains("`pan ") || error.message.contains("--cascade") || of_documents {
            return None;
        }
        if error.code == Code::NotFound
            && let Some(list) = list_of(&error.message)
        {
            return Some(list.into());
        }
        error.code.page().lines().find_map(|line| line.strip_prefix("Do: ")).map(Cow::Borrowed)
    }
}

/// What lists the objects of which one is missing: the message is `no KIND NAME`, `no KIND PARTITION/NAME`.
fn list_of(message: &str) -> Option<String> {
    let (kind, name) = message.strip_prefix("no ")?.split_once(' ')?;
    let kind = Kind::from_str(kind, true).ok()?;
    let within = match name.split_once('/') {
        Some((partition, _)) if kind.is_in_partition() => format!(" -p {partition}"),
        Some(_) | None => String::new(),
    };
    Some(format!("`pan get {kind}{within}` lists what there is"))
}

/// The exit code that a documented code stands for.
pub const fn exit_of(code: Code) -> u8 {
    match code {
        Code::NotFound => 3,
        Code::Unauthenticated | Code::Denied => 4,
        Code::TimedOut => 5,
        Code::Invalid
        | Code::NotYet
        | Code::Dangling
        | Code::Duplicate
        | Code::Cycle
        | Code::Conflict
        | Code::Protection
        | Code::NoCapacity
        | Code::Quota
        | Code::State
        | Code::InUse
        | Code::Leaving
        | Code::TooMany
        | Code::Altered
        | Code::Unreachable
        | Code::HostUnreachable
        | Code::NotLeading
        | Code::InDoubt
        | Code::Internal => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(count: u64) -> Failure {
        let problem = |line| Problem { code: Code::Invalid, source: "f.yaml".into(), line, column: 3, message: "no".into() };
        Failure::Api(ApiError { code: Code::Invalid, message: format!("{count} problems"), problems: (1..=count).map(problem).collect() })
    }

    #[test]
    fn many_problems_are_counted_and_not_all_shown() {
        let text = refusal(50_000).text();
        assert!(text.contains("\n  f.yaml:20:3: PAN-100: no\n  and 49980 more\n") && text.lines().count() < 30, "{text}");
        assert!(!refusal(20).text().contains("more"));
    }

    #[test]
    fn what_is_missing_is_looked_for_among_its_kind() {
        let said = |message: &str| Failure::new(Code::NotFound, message).text();
        for (message, list) in [
            ("no server acme/web-9", "`pan get server -p acme` lists"),
            ("no host \"n9\"", "`pan get host` lists"),
            ("no snapshot data@monday", "`pan get` and the kind"),
            ("gone", "`pan get` and the kind"),
        ] {
            assert!(said(message).contains(&format!("do: {list}")), "{}", said(message));
        }
    }

    #[test]
    fn a_single_problem_keeps_its_place() {
        let problem = Problem { code: Code::Invalid, source: "f.yaml".into(), line: 7, column: 3, message: "no".into() };
        let with =
            |message: &str| Failure::Api(ApiError { code: Code::Invalid, message: message.into(), problems: vec![problem.clone()] }).text();
        assert_eq!(with("no").matches("f.yaml:7:3").count(), 1);
        assert_eq!(with("f.yaml:7:3: no").matches("f.yaml:7:3").count(), 1);
    }
}
