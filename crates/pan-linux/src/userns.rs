//! User namespaces: making one whose ids are a range of the host's, naming it by a file, mounting so that it sees its own
//! ids on disk, and making network namespaces that belong to it. See user_namespaces(7) and mount_setattr(2).
#![allow(unsafe_code)]

mod child;
mod idmap;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, fstatfs};

use child::Child;
pub use idmap::bind_idmapped;

/// `NSFS_MAGIC` of linux/magic.h: the file system of `/proc/PID/ns` files.
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);
/// `NS_GET_USERNS` of ioctl_ns(2): the user namespace that another kind of namespace belongs to.
const NS_GET_USERNS: libc::Ioctl = 0xb701;

/// Ids of the host that are 0 and upwards in a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdRange {
    /// What 0 inside is outside.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl IdRange {
    /// What an id inside is outside. One that is not inside is what the kernel shows such ids as: `nobody`.
    #[must_use]
    pub fn outside(self, inside: u32) -> u32 {
        /// The kernel's default, /proc/sys/kernel/overflowuid.
        const NOBODY: u32 = 65_534;
        let last = self.count.saturating_sub(1);
        self.first + if inside <= last { inside } else { NOBODY.min(last) }
    }
}

/// Why an operation on a user namespace failed.
#[derive(Debug, thiserror::Error)]
pub enum UserNsError {
    /// It could not be made, or not be named.
    #[error("make a user namespace: {step}")]
    Make {
        /// The step that failed.
        step: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file could not be opened, or is no user namespace.
    #[error("open user namespace {}", path.display())]
    Open {
        /// The path tried.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file could not be removed.
    #[error("remove user namespace {}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// An open user namespace.
#[derive(Debug)]
pub struct UserNs(OwnedFd);

impl UserNs {
    /// Makes one with those ids for users and groups alike, and mounts it on the file `name`, which is made if need be. It
    /// lives until that is removed and its last process, mount and other namespace are gone.
    ///
    /// # Errors
    /// A step needs rights that the process lacks, or its folder is not there.
    pub fn create(name: &Path, ids: IdRange) -> Result<Self, UserNsError> {
        let failed = |step| move |source: io::Error| UserNsError::Make { step, source };
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(name)
            .map_err(failed("make the file that names it"))?;
        let child = Child::start(|| unshare(CloneFlags::CLONE_NEWUSER)).map_err(failed("unshare"))?;
        let map = format!("0 {} {}\n", ids.first, ids.count);
        for file in ["uid_map", "gid_map"] {
            fs::write(child.proc(file), &map).map_err(failed("say which ids it has"))?;
        }
        let mounted = mount(Some(&child.proc("ns/user")), name, None::<&str>, MsFlags::MS_BIND, None::<&str>);
        mounted.map_err(|error| failed("name it")(error.into()))?;
        Self::open(name)
    }

    /// Opens the one that is mounted on that file.
    ///
    /// # Errors
    /// There is no file, or nothing is mounted on it.
    pub fn open(name: &Path) -> Result<Self, UserNsError> {
        let failed = |source| UserNsError::Open { path: name.to_owned(), source };
        let file = File::open(name).map_err(failed)?;
        let kind = fstatfs(&file).map_err(|error| failed(error.into()))?;
        if kind.filesystem_type() != NSFS_MAGIC {
            return Err(failed(io::Error::new(ErrorKind::InvalidInput, "an ordinary file, with no namespace mounted on it")));
        }
        Ok(Self(file.into()))
    }

    /// Removes the file that names one, and what is mounted on it. Nothing there is fine.
    ///
    /// # Errors
    /// The mount or the file cannot be removed.
    pub fn remove(name: &Path) -> Result<(), UserNsError> {
        let failed = |source| UserNsError::Remove { path: name.to_owned(), source };
        loop {
            match umount2(name, MntFlags::MNT_DETACH) {
                Ok(()) => continue,
                Err(Errno::EINVAL | Errno::ENOENT) => break,
                Err(error) => return Err(failed(error.into())),
            }
        }
        match fs::remove_file(name) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }

    /// Whether another namespace, such as a network namespace, belongs to this one.
    ///
    /// # Errors
    /// The descriptor is no namespace.
    pub fn owns(&self, other: impl AsFd) -> io::Result<bool> {
        // SAFETY: the descriptor is open; the call takes no argument and returns a new descriptor.
        let owner = unsafe { libc::ioctl(other.as_fd().as_raw_fd(), NS_GET_USERNS) };
        if owner < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that the kernel has just made for this call.
        let owner = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(owner) };
        let identity = |fd: OwnedFd| File::from(fd).metadata().map(|meta| (meta.dev(), meta.ino()));
        Ok(identity(owner)? == identity(self.0.try_clone()?)?)
    }

    /// Makes a network namespace that belongs to this one, and hands `body` the path at which it is until `body` returns.
    pub(crate) fn with_netns<T>(&self, body: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let child = Child::start(|| {
            setns(&self.0, CloneFlags::CLONE_NEWUSER)?;
            unshare(CloneFlags::CLONE_NEWNET)
        })?;
        body(&child.proc("ns/net"))
    }
}

impl AsFd for UserNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shifted_and_those_that_are_not_inside_are_nobodys() {
        let ids = IdRange { first: 2_000_000_000, count: 65_536 };
        let found = [0, 33, 65_535, 65_536, u32::MAX].map(|id| ids.outside(id) - ids.first);
        assert_eq!(found, [0, 33, 65_535, 65_534, 65_534]);
    }
}
