//! The two processes of a head.

use super::{keep, work};
use pan_linux::fuse::Standing;
use std::path::Path;
use std::process::ExitCode;

/// Which of the two processes this is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The keeper.
    Keep,
    /// Its first worker.
    Work,
    /// One that follows another: it claims the volume anew, and is sent what that left unanswered.
    WorkAgain,
}

/// Runs one of the two processes of the volume whose folder is given, until it ends.
#[must_use]
pub fn run(part: Part, folder: &Path) -> ExitCode {
    match part {
        Part::Keep => keep::run(folder),
        Part::Work => work::run(folder, Standing::First),
        Part::WorkAgain => work::run(folder, Standing::Successor),
    }
}
