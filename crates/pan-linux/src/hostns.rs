//! A whole "host" out of namespaces: network, PID, mount, UTS, IPC and cgroup, with an init of its own.
//!
//! Killing that init is a power cut: the kernel ends every process of the PID namespace and frees
//! every mount and every network namespace made inside. What stays behind is what [`start`] was
//! given: the named network namespace and the control groups.
#![allow(unsafe_code)]

mod disk;
mod enter;
mod mounts;
mod start;

use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

pub use disk::{disk_of, exchange_disk};
pub use enter::enter;
pub use start::start;

/// A host to start.
#[derive(Debug, Clone)]
pub struct HostNsSpec {
    /// Its host name.
    pub hostname: String,
    /// The named network namespace it lives in, such as `/run/netns/x`; must exist.
    pub netns: PathBuf,
    /// Its control group, relative to the root: `lab/n1`. Made if missing.
    pub cgroup: PathBuf,
    /// Program and arguments of its init, by absolute path. It becomes pid 1: it must reap.
    pub init: Vec<String>,
    /// The whole environment of init; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Sockets handed to init as descriptors 3, 4, … with LISTEN_FDS set.
    pub listen_fds: Vec<RawFd>,
    /// Takes init's standard output and error, appended.
    pub log: PathBuf,
    /// Block devices with an ext4 file system, mounted inside: (device, in the host). The mount points are made if missing.
    pub disks: Vec<(PathBuf, PathBuf)>,
    /// Folders shown elsewhere inside: (on the machine, in the host), also beneath a disk. Both are made if missing.
    pub binds: Vec<(PathBuf, PathBuf)>,
}

/// A running host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostHandle {
    /// Its init, in the caller's PID namespace.
    pub init_pid: i32,
    /// When that started, see [`crate::process::start_time`]: pid and start together are unique.
    pub init_start: u64,
}

/// A host that could not be started or entered.
#[derive(Debug, thiserror::Error)]
pub enum HostNsError {
    /// Its control group could not be made.
    #[error("cannot make the control group of host {host}")]
    Cgroup {
        /// Which host.
        host: String,
        /// Why not.
        source: crate::cgroup::CgroupError,
    },
    /// A control group could not be looked at.
    #[error("cannot look at the control groups")]
    Look(#[from] crate::cgroup::CgroupError),
    /// A step outside the host failed.
    #[error("host {host}: cannot {action}")]
    Io {
        /// Which host.
        host: String,
        /// What was tried.
        action: String,
        /// Why not.
        source: io::Error,
    },
    /// A step inside the host failed.
    #[error("host {host} did not start: {message}")]
    Inside {
        /// Which host.
        host: String,
        /// The step and its error.
        message: String,
    },
    /// There is no such process any more.
    #[error("the host with init {0} is not running")]
    NotRunning(i32),
    /// Whatever enters a frozen host freezes with it.
    #[error("the host with init {0} is frozen; thaw it first")]
    Frozen(i32),
    /// Its file systems could not be exchanged.
    #[error("cannot exchange the disk of the host with init {init}")]
    Disk {
        /// Its init.
        init: i32,
        /// Why not.
        source: crate::mount::MountError,
    },
    /// Nothing to run was named.
    #[error("no program was named to run")]
    NoProgram,
}
