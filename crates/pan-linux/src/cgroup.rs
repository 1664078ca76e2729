//! Control groups on both kinds of machine: pure v2, and hybrid (v1 controllers beside a bare v2).
//!
//! A [`CgroupTree`] is one path that exists in every hierarchy of a [`Layout`]; whoever uses it need
//! not know which kind of machine it is on. A container begins with the limits that the OCI runtime gives it.

mod files;
mod layout;
mod processor;
mod tree;

use std::io;
use std::path::PathBuf;

pub use layout::{Hierarchy, Layout};
pub(crate) use processor::processor_quota;
pub(crate) use tree::open_procs_of;
pub use tree::{CgroupTree, Usage};

/// Where control groups are mounted on every current distribution.
pub const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// A control group operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The mounts could not be read.
    #[error("cannot find out how control groups are mounted")]
    Mounts(#[from] crate::mount::MountError),
    /// Nothing is mounted there.
    #[error("no control groups are mounted at {at}; mount cgroup2 there", at = .0.display())]
    NotMounted(PathBuf),
    /// A file or directory of a control group refused.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried: `create`, `read`, `write`, `remove`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Freezing and killing a group as a whole need cgroup v2.
    #[error("freezing needs cgroup v2 (at {at} or its folder unified), which is not there", at = .0.display())]
    NoUnified(PathBuf),
    /// A bound was reached.
    #[error("{path}: {what} within {waited_ms} ms", path = path.display())]
    TimedOut {
        /// The control group.
        path: PathBuf,
        /// What did not happen.
        what: String,
        /// How long it was waited for.
        waited_ms: u128,
    },
}
