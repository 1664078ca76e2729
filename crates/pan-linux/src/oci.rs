//! Containers through an OCI runtime: the bundle's `config.json`, the runtime's commands, and the
//! shim that outlives whoever started a container.
//!
//! Life of a container: [`ContainerSpec::write_bundle`], then [`spawn_shim`] (which runs
//! `runc run`), then [`Runtime::state`] / [`Runtime::exec`] / [`Runtime::kill`], at the end
//! [`ExitRecord::read`] and [`Runtime::delete`]. Every step works from files alone, so an agent that
//! was restarted takes over where the old one stopped.

mod config;
mod exec;
mod exit;
mod runtime;
mod seccomp;
mod shim;
mod spec;

use std::io;
use std::path::PathBuf;

pub use exec::{Leader, NotStarted, end_program};
pub use exit::ExitRecord;
pub use runtime::{Runtime, State, Status};
pub use shim::{ShimArgs, Until, shim_main, spawn_shim};
pub use spec::{Access, Bind, ContainerSpec, Identity, Swap, Users};

/// A container operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// A file of the bundle, or a record, could not be read or written.
    #[error("cannot {action} {path}", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file holds something else than expected.
    #[error("{path} does not hold what it should", path = path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// A program could not be started.
    #[error("cannot start {program}; is it installed?", program = program.display())]
    Start {
        /// Which one.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The runtime refused.
    #[error("{action} of container {id} failed: {message}")]
    Refused {
        /// What was asked.
        action: &'static str,
        /// Which container.
        id: String,
        /// The runtime's words.
        message: String,
    },
    /// A process could not be waited for or signalled.
    #[error("cannot {action} the first process of container {id}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// Which container.
        id: String,
        /// Why not.
        source: io::Error,
    },
    /// A bound was reached.
    #[error("container {id}: {what} within {seconds} s")]
    TimedOut {
        /// Which container.
        id: String,
        /// What did not happen.
        what: &'static str,
        /// The bound.
        seconds: u64,
    },
}
