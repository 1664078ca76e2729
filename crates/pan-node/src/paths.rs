//! Where things lie: what must vanish with a boot in `run_dir`, the rest in `state_dir`.

use std::path::{Path, PathBuf};

use pan_model::host_config::HostConfig;

/// The node's folders.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    run: PathBuf,
    state: PathBuf,
    roots: PathBuf,
}

impl Paths {
    pub(crate) fn of(config: &HostConfig) -> Self {
        Self { run: config.run_dir.clone(), state: config.state_dir.clone(), roots: roots_dir(&config.run_dir) }
    }

    #[cfg(test)]
    pub(crate) fn at(run: PathBuf, state: PathBuf) -> Self {
        Self { roots: roots_dir(&run), run, state }
    }

    /// Records of what runs; one folder per server.
    pub(crate) fn records(&self) -> PathBuf {
        self.run.join("servers")
    }

    /// Volumes of servers that are here; one folder per volume.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.run.join("volumes")
    }

    /// What servers used, as far as no controller has it for sure.
    pub(crate) fn usage(&self) -> PathBuf {
        self.run.join("usage.json")
    }

    /// Partitions' user namespaces.
    pub(crate) fn users(&self) -> PathBuf {
        self.run.join("users")
    }

    /// Images of partitions; one folder per partition's network.
    pub(crate) fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// Mounts of servers; one folder per server.
    pub(crate) fn roots(&self) -> &Path {
        &self.roots
    }

    /// Writable layers and logs.
    pub(crate) fn layers(&self) -> PathBuf {
        self.state.join("servers")
    }

    pub(crate) fn server(&self, id: &str) -> ServerPaths {
        ServerPaths { run: self.records().join(id), layer: self.layers().join(id), root: self.roots.join(id), log: self.log(id) }
    }

    pub(crate) fn log(&self, id: &str) -> PathBuf {
        self.layers().join(format!("{id}.log"))
    }

    /// The OCI runtime's own state.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.run.join("runc")
    }
}

/// Where servers' root file systems are mounted. Not in the folder beside it, into which only the host's root may look: a container's
/// first process comes to its own root file system as the root of its partition.
pub(crate) fn roots_dir(run: &Path) -> PathBuf {
    let mut name = run.file_name().unwrap_or_default().to_owned();
    name.push("-roots");
    run.with_file_name(name)
}

/// The agent's sign of life, which the beat process reads.
pub(crate) fn alive_file(run: &Path) -> PathBuf {
    run.join("agent-alive")
}

/// What the beat process tells of its lease.
pub(crate) fn lease_file(run: &Path) -> PathBuf {
    run.join("lease")
}

/// Whose lock is the office of the host's beat process.
pub(crate) fn beat_lock(run: &Path) -> PathBuf {
    run.join("beat.lock")
}

/// Where the one in office hears others.
pub(crate) fn beat_socket(run: &Path) -> PathBuf {
    run.join("beat.socket")
}

/// The number that the agent lets the beat process use.
pub(crate) fn admission_file(run: &Path) -> PathBuf {
    run.join("admission")
}

/// Where the gate lives, for the agent and the beat process alike.
pub(crate) fn gate_dir(run: &Path) -> PathBuf {
    run.join("gate")
}

/// Where the map of where frames may come from lives, for every role of the host.
pub(crate) fn origins_dir(run: &Path) -> PathBuf {
    run.join("origins")
}

/// One server's folders and files.
#[derive(Debug, Clone)]
pub(crate) struct ServerPaths {
    /// Everything that vanishes with the boot.
    pub run: PathBuf,
    /// The writable layer's folder.
    pub layer: PathBuf,
    /// Its mounts' folder.
    pub root: PathBuf,
    /// Standard output and error.
    pub log: PathBuf,
}

impl ServerPaths {
    pub(crate) fn record(&self) -> PathBuf {
        self.run.join("state.json")
    }
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.root.join("fs")
    }
    /// Where the image is while the root file system is made.
    pub(crate) fn lower(&self) -> PathBuf {
        self.root.join("lower")
    }
    /// Where volumes are while the container is made.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }
    pub(crate) fn bundle(&self) -> PathBuf {
        self.run.join("bundle")
    }
    /// Files shown in the server where its root file system is covered by a tmpfs.
    pub(crate) fn shown(&self) -> PathBuf {
        self.run.join("files")
    }
    pub(crate) fn pid(&self) -> PathBuf {
        self.run.join("pid")
    }
    pub(crate) fn exit(&self) -> PathBuf {
        self.run.join("exit.json")
    }
    pub(crate) fn upper(&self) -> PathBuf {
        self.layer.join("upper")
    }
    pub(crate) fn work(&self) -> PathBuf {
        self.layer.join("work")
    }
    /// The log before its last rotation.
    pub(crate) fn log_old(&self) -> PathBuf {
        old_log(&self.log)
    }
}

/// Where rotation puts the older part of a log.
pub(crate) fn old_log(log: &Path) -> PathBuf {
    log.with_extension("log.1")
}
