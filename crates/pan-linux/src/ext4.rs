//! File systems of the type ext4 in a file: making them, mounting them, and letting them run full or fail while they are in use.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::MsFlags;
use nix::sys::statvfs::statvfs;

use crate::mount::{MountError, raw};

/// `EXT4_IOC_SHUTDOWN`, linux/ext4.h: `_IOR('X', 125, __u32)`.
const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
/// Stops at once, without writing the journal out: what was not synced is lost, as with a device that dies.
const EXT4_GOING_FLAGS_NOLOGFLUSH: u32 = 2;
/// What ext4 keeps back unless told otherwise, in clusters; it takes 2 % if that is less.
const KEPT_BACK: u64 = 4096;

/// An operation on an ext4 file system that failed.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    /// `mkfs.ext4` could not be run.
    #[error("cannot run mkfs.ext4 (package e2fsprogs)")]
    Tool(#[source] io::Error),
    /// It refused.
    #[error("mkfs.ext4 {}: {message}", file.display())]
    Make {
        /// The file.
        file: PathBuf,
        /// What it said.
        message: String,
    },
    /// A system call or a file refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn failed<'a, E: Into<io::Error>>(action: &'static str, path: &'a Path) -> impl FnOnce(E) -> Ext4Error + 'a {
    move |error| Ext4Error::Io { action, path: path.to_path_buf(), source: error.into() }
}

/// Makes a file of `bytes` with an empty ext4 in it. The file is sparse and takes some hundred KiB at first.
///
/// # Errors
/// [`Ext4Error`]: the file cannot be made, or mkfs.ext4 is missing or refuses.
pub fn make(file: &Path, bytes: u64) -> Result<(), Ext4Error> {
    let made = File::create(file).and_then(|made| made.set_len(bytes));
    made.map_err(failed("create", file))?;
    let output = Command::new("mkfs.ext4")
        // Few inodes and backup copies, nothing written that can be written later: it is made in 10 ms.
        .args(["-q", "-F", "-m", "0", "-i", "262144", "-J", "size=16", "-O", "^resize_inode,sparse_super2"])
        .args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .map_err(Ext4Error::Tool)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Ext4Error::Make { file: file.to_path_buf(), message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

/// Mounts a device with an ext4 on it. Its inode tables are left for when they are needed.
///
/// # Errors
/// [`MountError`].
pub fn mount(device: &Path, target: &Path) -> Result<(), MountError> {
    raw(&device.to_string_lossy(), target, Some("ext4"), MsFlags::empty(), Some("noinit_itable"))
}

/// Whether a file system may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// What is free can be used.
    Free,
    /// Nothing is free: whatever needs another block is refused with ENOSPC, root included, also after files were removed.
    /// Overwriting what is there goes on, as on any full disk.
    Full,
}

/// Lets the mounted file system at `path`, on `device`, be full or not, at once.
///
/// # Errors
/// It is not an ext4, or /sys is not there.
pub fn set_space(device: &Path, path: &Path, space: Space) -> Result<(), Ext4Error> {
    let name = device.file_name().unwrap_or_default();
    let file = Path::new("/sys/fs/ext4").join(name).join("reserved_clusters");
    let all = statvfs(path).map_err(failed("look at", path))?.blocks();
    let kept = match space {
        Space::Free => KEPT_BACK.min(all / 50),
        // The kernel refuses to keep back as many as there are, and counts those of its own tables too.
        Space::Full => all - 1,
    };
    fs::write(&file, kept.to_string()).map_err(failed("write", &file))
}

/// Lets every further access to the mounted file system at `path` fail with EIO. It stays so until it is mounted anew.
///
/// # Errors
/// It is not an ext4.
pub fn shut_down(path: &Path) -> Result<(), Ext4Error> {
    let root = File::open(path).map_err(failed("open", path))?;
    let flags = EXT4_GOING_FLAGS_NOLOGFLUSH;
    // SAFETY: the request reads one u32, which lives through the call.
    if unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_SHUTDOWN, &raw const flags) } == 0 {
        return Ok(());
    }
    Err(failed("shut down", path)(io::Error::last_os_error()))
}
