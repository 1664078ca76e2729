//! Mounts: overlay, bind, tmpfs, propagation, and the list of what is mounted.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// A mount operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// mount(2) refused.
    #[error("cannot mount {what} on {target}", target = target.display())]
    Mount {
        /// File system or source.
        what: String,
        /// Mount point.
        target: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Files cannot be shown with other owners than they have on disk.
    #[error(
        "cannot show {source_path} at {target} with a user namespace's owners; that needs Linux 6.1 or later, and {source_path} on a file \
         system such as ext4, xfs or btrfs",
        source_path = path.display(),
        target = target.display()
    )]
    Owners {
        /// The folder.
        path: PathBuf,
        /// Mount point.
        target: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// umount(2) refused.
    #[error("cannot unmount {target}", target = target.display())]
    Unmount {
        /// Mount point.
        target: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The list of mounts could not be read.
    #[error("cannot read /proc/self/mountinfo")]
    List(#[source] io::Error),
    /// A path cannot be expressed in overlayfs options.
    #[error("overlay path {path} holds a comma, colon or backslash, which overlay options cannot carry", path = .0.display())]
    OverlayPath(PathBuf),
}

/// One line of proc_pid_mountinfo(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Where it is mounted.
    pub target: PathBuf,
    /// Major and minor number of the file system's device; anonymous ones have major 0.
    pub device: (u32, u32),
    /// Type of the file system.
    pub fstype: String,
    /// Source as given to mount(2).
    pub source: String,
    /// Options of the file system itself, not of this mount.
    pub super_options: String,
}

/// What unmounting does with a busy mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Fail.
    Refuse,
    /// Take it out of the tree now, free it when its last user goes (MNT_DETACH).
    Detach,
}

/// Mounts an overlay of the read-only `lower` under the writable `upper` on `target`; `work` must
/// be empty and on the file system of `upper`. Programs on it get no privileges from their files, and devices on it do nothing.
pub fn overlay(lower: &Path, upper: &Path, work: &Path, target: &Path) -> Result<(), MountError> {
    for path in [lower, upper, work] {
        if path.to_string_lossy().contains([',', ':', '\\']) {
            return Err(MountError::OverlayPath(path.to_path_buf()));
        }
    }
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    raw("overlay", target, Some("overlay"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(&options))
}

/// Makes `source` visible at `target` too, with everything mounted beneath it.
pub fn bind(source: &Path, target: &Path) -> Result<(), MountError> {
    let what = source.to_string_lossy();
    raw(&what, target, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)
}

/// Mounts an empty tmpfs; `options` as in tmpfs(5), such as `mode=755,size=64m`.
pub fn tmpfs(target: &Path, options: &str) -> Result<(), MountError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    raw("tmpfs", target, Some("tmpfs"), flags, Some(options))
}

/// Cuts a mount and all beneath it off from propagation, in both directions.
pub fn make_private(target: &Path) -> Result<(), MountError> {
    raw("none", target, None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)
}

/// Mounts a kernel file system (proc, sysfs, cgroup, cgroup2, …) nosuid, nodev, noexec.
pub fn kernel_fs(fstype: &str, target: &Path, options: Option<&str>) -> Result<(), MountError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    raw(fstype, target, Some(fstype), flags, options)
}

pub(crate) fn raw(what: &str, target: &Path, fstype: Option<&str>, flags: MsFlags, options: Option<&str>) -> Result<(), MountError> {
    mount(Some(what), target, fstype, flags, options).map_err(|error| MountError::Mount {
        what: what.to_owned(),
        target: target.to_path_buf(),
        source: error.into(),
    })
}

/// Gives the calling process, which has one thread, a mount namespace of its own: a copy of the one it is in, without the mounts of
/// which `left` is true. What is mounted later does not show in it, and what is unmounted later stays in it.
///
/// # Errors
/// unshare(2) or umount(2) refused.
pub fn move_apart(left: impl Fn(&MountEntry) -> bool) -> Result<(), MountError> {
    let failed = |error: nix::Error| MountError::Mount { what: "a namespace".into(), target: PathBuf::from("/"), source: error.into() };
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed)?;
    make_private(Path::new("/"))?;
    for entry in mounts()?.iter().rev().filter(|entry| left(entry)) {
        unmount(&entry.target, Busy::Detach)?;
    }
    Ok(())
}

/// Moves a mount with everything beneath it to another mount point. Its parent must be private.
pub fn move_to(from: &Path, to: &Path) -> Result<(), MountError> {
    raw(&from.to_string_lossy(), to, None, MsFlags::MS_MOVE, None)
}

/// Unmounts. Something that is not mounted (or not there) is not an error.
pub fn unmount(target: &Path, busy: Busy) -> Result<(), MountError> {
    let flags = match busy {
        Busy::Refuse => MntFlags::empty(),
        Busy::Detach => MntFlags::MNT_DETACH,
    };
    match umount2(target, flags | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => Ok(()),
        Err(error) => Err(MountError::Unmount { target: target.to_path_buf(), source: error.into() }),
    }
}

/// Every mount of the calling process's mount namespace, in mount order.
pub fn mounts() -> Result<Vec<MountEntry>, MountError> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").map_err(MountError::List)?;
    Ok(text.lines().filter_map(parse_line).collect())
}

/// The same of another process; none if there is no such process.
pub fn mounts_of(pid: i32) -> Vec<MountEntry> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    text.lines().filter_map(parse_line).collect()
}

/// The mounts at or beneath `prefix`, in mount order: unmount them in reverse.
pub fn mounts_under(prefix: &Path) -> Result<Vec<MountEntry>, MountError> {
    let mut found = mounts()?;
    found.retain(|entry| entry.target.starts_with(prefix));
    Ok(found)
}

fn parse_line(line: &str) -> Option<MountEntry> {
    let (left, right) = line.split_once(" - ")?;
    let (mut fields, mut tail) = (left.split(' ').skip(2), right.split(' '));
    let (major, minor) = fields.next()?.split_once(':')?;
    Some(MountEntry {
        target: PathBuf::from(unescape(fields.nth(1)?)),
        device: (major.parse().ok()?, minor.parse().ok()?),
        fstype: tail.next()?.to_owned(),
        source: unescape(tail.next()?),
        super_options: tail.next().unwrap_or_default().to_owned(),
    })
}

/// Undoes the octal escapes (`\040` for a space) of mountinfo.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        match rest.get(at + 1..at + 4).map(|code| u8::from_str_radix(code, 8)) {
            Some(Ok(byte)) => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            _ => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line() {
        let line = "31 23 0:28 / /a\\040b rw,relatime shared:9 - cgroup none rw,cpu,cpuacct";
        let entry = parse_line(line).expect("parses");
        assert_eq!(entry.target, Path::new("/a b"));
        assert_eq!((entry.device, entry.fstype.as_str()), ((0, 28), "cgroup"));
        assert_eq!(entry.super_options, "rw,cpu,cpuacct");
    }

    #[test]
    fn refuses_what_overlay_cannot_say() {
        let fine = Path::new("/x");
        let bad = overlay(Path::new("/a:b"), fine, fine, fine);
        assert!(matches!(bad, Err(MountError::OverlayPath(_))));
    }
}
