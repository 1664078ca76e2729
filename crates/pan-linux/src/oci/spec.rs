//! What a container is to be, in the words of this crate.

use std::fs;
use std::path::{Path, PathBuf};

use super::OciError;
use super::config::config_json;
use crate::userns::IdRange;

/// May a bind mount be written to?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// A file or folder of the host shown inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the container, absolute.
    pub target: PathBuf,
    /// Read-only or not.
    pub access: Access,
}

/// The user namespace of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    /// The file that it is mounted on.
    pub namespace: PathBuf,
    /// What it was made with.
    pub ids: IdRange,
}

/// Who runs a container's program, by the numbers inside; root by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// Whether the kernel counts what a control group has swapped out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// It does, so it can be limited.
    Counted,
    /// It has no swap, or does not count it.
    NotCounted,
}

/// A container. It gets its own PID, mount, UTS, IPC and cgroup namespaces and joins an existing
/// network namespace and, if it is given one, user namespace; capabilities are fewer than container engines agree on, system calls
/// are those of a list, and `no_new_privs` is set. It sees no control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Unique per runtime root: letters, digits, `-`, `_`, `.`, `+`.
    pub id: String,
    /// The mounted root file system, absolute.
    pub rootfs: PathBuf,
    /// Its host name.
    pub hostname: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment; `PATH` is added if it is not in here.
    pub env: Vec<(String, String)>,
    /// Working directory inside.
    pub cwd: PathBuf,
    /// Who runs the program.
    pub user: Identity,
    /// The network namespace to join, such as `/run/netns/x`.
    pub netns: PathBuf,
    /// Whose root its root is; the host's own without. A network namespace that it joins should belong to it.
    pub users: Option<Users>,
    /// Its control group, absolute within the caller's cgroup namespace.
    pub cgroups_path: String,
    /// Relative weight of processor time; 1024 is one processor's worth by convention. The runtime
    /// translates it for cgroup v2.
    pub cpu_shares: u64,
    /// Most processor time, thousandths of a processor.
    pub cpu_max: Option<u64>,
    /// Most memory in bytes, swapped out or not.
    pub memory_max: Option<u64>,
    /// Whether the latter can be limited.
    pub swap: Swap,
    /// Most processes and threads.
    pub pids_max: Option<u64>,
    /// Paths hidden inside: folders appear empty, files like /dev/null. Missing ones are ignored.
    pub masked: Vec<PathBuf>,
    /// Further tmpfs mounts, target and tmpfs(5) options; `/run` and `/tmp` are always there.
    pub tmpfs: Vec<(PathBuf, String)>,
    /// Further binds, after all other mounts.
    pub binds: Vec<Bind>,
    /// Ask for a terminal. Containers started through the shim have none.
    pub terminal: bool,
}

impl ContainerSpec {
    /// The OCI runtime configuration (version 1.0.2) of this container.
    pub fn config(&self) -> serde_json::Value {
        config_json(self)
    }

    /// Makes the folder `bundle` and writes its `config.json`, readable by root only because the
    /// environment may hold secrets.
    pub fn write_bundle(&self, bundle: &Path) -> Result<(), OciError> {
        let failed = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| OciError::File { action, path, source }
        };
        fs::create_dir_all(bundle).map_err(failed("create", bundle))?;
        let (path, fresh) = (bundle.join("config.json"), bundle.join("config.json.new"));
        let text = serde_json::to_vec_pretty(&self.config()).expect("a JSON value serialises");
        super::exit::write_private(&fresh, &text).map_err(failed("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(failed("write", &path))
    }
}
