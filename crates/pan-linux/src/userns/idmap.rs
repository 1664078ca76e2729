//! Mounts that show the owners of files on disk as a user namespace numbers them: what is root's on disk is root's inside.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::UserNs;
use crate::mount::MountError;
use crate::oci::Access;

/// Shows the folder `source`, without what is mounted beneath it, at `target`: whoever has number 0 on disk is root of `users`
/// there. Programs on it get no privileges, and devices on it do nothing. Needs Linux 5.12, and a file system that knows of
/// it: ext4, xfs and btrfs do, tmpfs since 6.3.
///
/// # Errors
/// The kernel refuses; `EINVAL` means a file system that cannot do it.
pub fn bind_idmapped(source: &Path, target: &Path, users: &UserNs, access: Access) -> Result<(), MountError> {
    let failed = |error: io::Error| MountError::Owners { path: source.to_owned(), target: target.to_owned(), source: error };
    let from = open_tree(source).map_err(failed)?;
    let read_only = match access {
        Access::ReadOnly => libc::MOUNT_ATTR_RDONLY,
        Access::ReadWrite => 0,
    };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | read_only,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: u64::try_from(users.0.as_raw_fd()).expect("an open descriptor is no negative number"),
    };
    let flags = libc::AT_EMPTY_PATH;
    // SAFETY: the path is an empty C string, and the structure has the size that is given.
    let set = unsafe {
        libc::syscall(libc::SYS_mount_setattr, from.as_raw_fd(), c"".as_ptr(), flags, &raw const attributes, size_of::<libc::mount_attr>())
    };
    done(set).map_err(failed)?;
    let target = path(target).map_err(failed)?;
    // SAFETY: both paths are C strings that live through the call.
    let moved = unsafe {
        libc::syscall(libc::SYS_move_mount, from.as_raw_fd(), c"".as_ptr(), libc::AT_FDCWD, target.as_ptr(), libc::MOVE_MOUNT_F_EMPTY_PATH)
    };
    done(moved).map_err(failed)
}

/// A copy of the mount that a folder is on, from that folder on, which is nowhere yet.
fn open_tree(folder: &Path) -> io::Result<OwnedFd> {
    let folder = path(folder)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is a C string that lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, folder.as_ptr(), flags) };
    done(fd)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: a descriptor that the kernel has just made for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
