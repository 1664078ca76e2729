//! What a host sees of the file systems: the machine's root, its own /proc, /sys, /run and /dev/shm,
//! and nothing that would keep somebody else's mounts busy.

use std::fs::{File, OpenOptions, create_dir_all};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cgroup::Layout;
use crate::ext4;
use crate::mount::{self, Busy, MountEntry, MountError};

/// Folders that may be file systems of their own on a well-kept machine and belong to its root.
const OF_THE_SYSTEM: [&str; 13] =
    ["/usr", "/var", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/home", "/root", "/srv", "/tmp", "/nix"];

/// The mounts a host is to have.
pub(super) struct HostMounts {
    layout: Layout,
    needed: Vec<PathBuf>,
    disks: Vec<(PathBuf, PathBuf)>,
    binds: Vec<(PathBuf, PathBuf)>,
}

impl HostMounts {
    /// `needed` are paths whose file systems must stay visible.
    pub(super) fn new(layout: Layout, needed: Vec<PathBuf>, disks: Vec<(PathBuf, PathBuf)>, binds: Vec<(PathBuf, PathBuf)>) -> Self {
        Self { layout, needed, disks, binds }
    }

    /// Builds them in the calling process's (new, still shared) mount namespace.
    pub(super) fn build(&self) -> Result<(), MountError> {
        mount::make_private(Path::new("/"))?;
        self.drop_foreign()?;
        // A disk or a folder may come to cover where others lie on the machine: find them all before.
        let sources = self.binds.iter().map(|(source, target)| Ok((open_path(source)?, target))).collect::<Result<Vec<_>, MountError>>()?;
        mount::kernel_fs("proc", Path::new("/proc"), None)?;
        for (device, target) in &self.disks {
            make_dir(target)?;
            ext4::mount(device, target)?;
        }
        for (source, target) in sources {
            make_dir(target)?;
            mount::bind(Path::new(&format!("/proc/self/fd/{}", source.as_raw_fd())), target)?;
        }
        mount::kernel_fs("sysfs", Path::new("/sys"), None)?;
        self.cgroups()?;
        mount::tmpfs(Path::new("/dev/shm"), "mode=1777")?;
        mount::tmpfs(Path::new("/run"), "mode=755")?;
        for dir in ["/run/netns", "/run/lock"] {
            make_dir(Path::new(dir))?;
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
            make_dir(&hierarchy.dir)?;
            let fstype = match hierarchy.v1_options {
                Some(_) => "cgroup",
                None => "cgroup2",
            };
            mount::kernel_fs(fstype, &hierarchy.dir, hierarchy.v1_options.as_deref())?;
        }
        Ok(())
    }
}

fn make_dir(dir: &Path) -> Result<(), MountError> {
    create_dir_all(dir).map_err(failed("a folder", dir))
}

fn open_path(path: &Path) -> Result<File, MountError> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path).map_err(failed("what lies there", path))
}

pub(super) fn failed(what: &str, target: &Path) -> impl FnOnce(io::Error) -> MountError {
    let (what, target) = (what.to_owned(), target.to_path_buf());
    move |source| MountError::Mount { what, target, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_system_and_what_is_needed() {
        let layout = Layout::V2 { root: "/sys/fs/cgroup".into() };
        let mounts = HostMounts::new(layout, vec!["/mnt/disk/lab/n1".into()], vec![], vec![]);
        let at = |target: &str| MountEntry {
            target: target.into(),
            device: (0, 0),
            fstype: "x".into(),
            source: "x".into(),
            super_options: String::new(),
        };
        for kept in ["/", "/usr", "/dev/pts", "/mnt/disk"] {
            assert!(mounts.keeps(&at(kept)), "{kept}");
        }
        for dropped in ["/proc", "/sys/fs/cgroup", "/run/netns/x", "/var/lib/x/merged", "/mnt/other"] {
            assert!(!mounts.keeps(&at(dropped)), "{dropped}");
        }
    }
}
