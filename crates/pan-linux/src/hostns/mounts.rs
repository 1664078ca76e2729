//! What a host sees of the file systems: the machine's root, its own /proc, /sys, /run and /dev/shm,
//! and nothing that would keep somebody else's mounts busy.

use std::fs::create_dir_all;
use std::path::{Path, PathBuf};

use crate::cgroup::Layout;
use crate::mount::{self, Busy, MountEntry, MountError};

/// Folders that may be file systems of their own on a well-kept machine and belong to its root.
const OF_THE_SYSTEM: [&str; 13] =
    ["/usr", "/var", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/home", "/root", "/srv", "/tmp", "/nix"];

/// The mounts a host is to have.
pub(super) struct HostMounts {
    layout: Layout,
    needed: Vec<PathBuf>,
    binds: Vec<(PathBuf, PathBuf)>,
}

impl HostMounts {
    /// `needed` are paths whose file systems must stay visible.
    pub(super) fn new(layout: Layout, needed: Vec<PathBuf>, binds: Vec<(PathBuf, PathBuf)>) -> Self {
        Self { layout, needed, binds }
    }

    /// Builds them in the calling process's (new, still shared) mount namespace.
    pub(super) fn build(&self) -> Result<(), MountError> {
        mount::make_private(Path::new("/"))?;
        self.drop_foreign()?;
        for (source, target) in &self.binds {
            mount::bind(source, target)?;
        }
        mount::kernel_fs("proc", Path::new("/proc"), None)?;
        mount::kernel_fs("sysfs", Path::new("/sys"), None)?;
        self.cgroups()?;
        mount::tmpfs(Path::new("/dev/shm"), "mode=1777")?;
        mount::tmpfs(Path::new("/run"), "mode=755")?;
        for dir in ["/run/netns", "/run/lock"] {
            create_dir_all(dir).map_err(|source| MountError::Mount { what: "folder".into(), target: dir.into(), source })?;
        }
        Ok(())
    }

    /// A new mount namespace is a copy and pins everything it copied: other containers' roots, other
    /// namespaces' names. Drop all but the machine's own file systems.
    fn drop_foreign(&self) -> Result<(), MountError> {
        for entry in mount::mounts()?.iter().rev() {
            if !self.keeps(entry) {
                mount::unmount(&entry.target, Busy::Detach)?;
            }
        }
        Ok(())
    }

    fn keeps(&self, entry: &MountEntry) -> bool {
        let target = entry.target.as_path();
        target == Path::new("/")
            || OF_THE_SYSTEM.iter().any(|dir| target == Path::new(dir))
            || (target.starts_with("/dev") && !target.starts_with("/dev/shm"))
            || self.needed.iter().any(|path| path.starts_with(target))
    }

    fn cgroups(&self) -> Result<(), MountError> {
        let root = self.layout.root();
        if let Layout::V2 { .. } = self.layout {
            return mount::kernel_fs("cgroup2", root, None);
        }
        mount::tmpfs(root, "mode=755")?;
        for hierarchy in self.layout.hierarchies() {
            create_dir_all(&hierarchy.dir).map_err(|source| MountError::Mount {
                what: "folder".into(),
                target: hierarchy.dir.clone(),
                source,
            })?;
            let fstype = match hierarchy.v1_options {
                Some(_) => "cgroup",
                None => "cgroup2",
            };
            mount::kernel_fs(fstype, &hierarchy.dir, hierarchy.v1_options.as_deref())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_system_and_what_is_needed() {
        let layout = Layout::V2 { root: "/sys/fs/cgroup".into() };
        let mounts = HostMounts::new(layout, vec!["/mnt/disk/lab/n1".into()], vec![]);
        let at = |target: &str| MountEntry { target: target.into(), fstype: "x".into(), source: "x".into(), super_options: String::new() };
        for kept in ["/", "/usr", "/dev/pts", "/mnt/disk"] {
            assert!(mounts.keeps(&at(kept)), "{kept}");
        }
        for dropped in ["/proc", "/sys/fs/cgroup", "/run/netns/x", "/var/lib/x/merged", "/mnt/other"] {
            assert!(!mounts.keeps(&at(dropped)), "{dropped}");
        }
    }
}
