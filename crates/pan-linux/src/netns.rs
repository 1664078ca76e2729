//! Network namespaces: making, naming, opening and running code inside them.
//!
//! Names are those of `ip netns`: a name is a file in `/run/netns` on which the namespace is mounted,
//! so both tools see the same ones (ip-netns(8)).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, fstatfs};

use crate::userns::UserNs;

/// Where named network namespaces live.
pub const NETNS_DIR: &str = "/run/netns";

/// `NSFS_MAGIC` of linux/magic.h: the file system of `/proc/PID/ns` files.
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

/// Why an operation on a network namespace failed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The name cannot be a file in [`NETNS_DIR`].
    #[error("network namespace name {name:?}: expected 1 to 255 bytes without '/'")]
    Name {
        /// The refused name.
        name: String,
    },
    /// A namespace of that name is there already.
    #[error("network namespace {name} already exists in {NETNS_DIR}")]
    Exists {
        /// The name.
        name: String,
    },
    /// A step of making or naming a namespace failed.
    #[error("create network namespace {name}: {step}")]
    Create {
        /// The name it was to get.
        name: String,
        /// The step that failed.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The file could not be opened, or is no network namespace.
    #[error("open network namespace {}", path.display())]
    Open {
        /// The path tried.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The directory of names could not be read.
    #[error("list network namespaces in {NETNS_DIR}")]
    List {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The mount or the file of a name could not be removed.
    #[error("remove network namespace {name}")]
    Remove {
        /// The name.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A thread could not be moved into the namespace.
    #[error("enter network namespace {name}")]
    Enter {
        /// Name or path of the namespace.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Result of this module.
pub type Result<T> = std::result::Result<T, NetnsError>;

/// An open network namespace. It lives at least as long as this value, even if its name is removed.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    path: Option<PathBuf>,
}

impl Netns {
    /// Makes a new, empty network namespace (its `lo` down) and names it as `ip netns add` does.
    /// Works wherever `/run` is writable, also on a host whose `/run` is a private tmpfs.
    ///
    /// # Errors
    /// The name is taken or no file name; or a step needs rights the process lacks.
    pub fn create(name: &str) -> Result<Netns> {
        let made = |path: &Path| {
            on_thread(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                name_it(Path::new("/proc/thread-self/ns/net"), path)
            })
            .and_then(|inner| inner)
        };
        Netns::create_by(name, made)
    }

    /// The same, belonging to a user namespace: its root is root there, too. A file system of the network, such as sysfs, can be
    /// mounted in a container only if both belong together.
    ///
    /// # Errors
    /// As [`Netns::create`].
    pub fn create_in(name: &str, users: &UserNs) -> Result<Netns> {
        Netns::create_by(name, |path| users.with_netns(|own| name_it(own, path)))
    }

    /// Makes the file `name`, and has `make` mount a new namespace on it.
    fn create_by(name: &str, make: impl FnOnce(&Path) -> io::Result<OwnedFd>) -> Result<Netns> {
        let path = path_of(name)?;
        let failed = |step| move |source: io::Error| NetnsError::Create { name: name.to_owned(), step, source };
        prepare_directory().map_err(failed("prepare /run/netns"))?;
        if exists_at(&path) {
            return Err(NetnsError::Exists { name: name.to_owned() });
        }
        // A file without a mount is what a dead mount namespace or an interrupted creation leaves.
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed("create the file to mount on"))?;
        match make(&path) {
            Ok(fd) => Ok(Netns { fd, path: Some(path) }),
            Err(source) => {
                let _ = fs::remove_file(&path);
                Err(failed("unshare and mount")(source))
            }
        }
    }

    /// Opens the namespace of that name.
    ///
    /// # Errors
    /// There is none, or its file is no network namespace.
    pub fn open(name: &str) -> Result<Netns> {
        Netns::open_path(&path_of(name)?)
    }

    /// Opens a namespace by path, for instance `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// The path cannot be opened or is no namespace file.
    pub fn open_path(path: &Path) -> Result<Netns> {
        let failed = |source| NetnsError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let kind = fstatfs(&file).map_err(|errno| failed(errno.into()))?;
        if kind.filesystem_type() != NSFS_MAGIC {
            let why = "an ordinary file, with no namespace mounted on it";
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        Ok(Netns { fd: file.into(), path: Some(path.to_owned()) })
    }

    /// Opens the namespace a process lives in.
    ///
    /// # Errors
    /// The process is gone or not ours to look at.
    pub fn of_pid(pid: u32) -> Result<Netns> {
        let mut netns = Netns::open_path(Path::new(&format!("/proc/{pid}/ns/net")))?;
        // The path names whatever process has that number later; only the descriptor stays true.
        netns.path = None;
        Ok(netns)
    }

    /// Opens the calling thread's namespace.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn current() -> Result<Netns> {
        let mut netns = Netns::open_path(Path::new("/proc/thread-self/ns/net"))?;
        netns.path = None;
        Ok(netns)
    }

    /// True if a namespace of that name is mounted.
    pub fn exists(name: &str) -> bool {
        path_of(name).is_ok_and(|path| exists_at(&path))
    }

    /// The names in use, sorted.
    ///
    /// # Errors
    /// The directory exists and cannot be read.
    pub fn list() -> Result<Vec<String>> {
        let failed = |source| NetnsError::List { source };
        let entries = match fs::read_dir(NETNS_DIR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if exists_at(&entry.path()) {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes the name. The namespace itself, and every link in it, goes when the last process or
    /// descriptor in it is gone. A name that is not there is fine.
    ///
    /// # Errors
    /// The mount or the file cannot be removed.
    pub fn remove(name: &str) -> Result<()> {
        let path = path_of(name)?;
        let failed = |source| NetnsError::Remove { name: name.to_owned(), source };
        loop {
            match umount2(&path, MntFlags::MNT_DETACH) {
                // More than one mount can be stacked on the file; take all.
                Ok(()) => continue,
                Err(Errno::EINVAL | Errno::ENOENT) => break,
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }

    /// Runs `body` on a thread of its own inside the namespace and waits for it. Sockets opened and
    /// processes started by `body` belong to the namespace; the calling thread stays where it is.
    /// A panic in `body` goes on in the caller.
    ///
    /// # Errors
    /// The thread could not be made or moved; `body` did not run.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        let entered = on_thread(|| -> io::Result<T> {
            setns(&self.fd, CloneFlags::CLONE_NEWNET)?;
            Ok(body())
        });
        entered.and_then(|inner| inner).map_err(|source| NetnsError::Enter { name: self.describe(), source })
    }

    /// The path it was made at or opened by; none for [`Netns::of_pid`] and [`Netns::current`].
    pub fn path(&self) -> Option<PathBuf> {
        self.path.clone()
    }

    /// A second handle on the same namespace.
    ///
    /// # Errors
    /// The process has no free descriptor.
    pub fn try_clone(&self) -> Result<Netns> {
        let fd = self.fd.try_clone().map_err(|source| NetnsError::Open { path: self.path.clone().unwrap_or_default(), source })?;
        Ok(Netns { fd, path: self.path.clone() })
    }

    fn describe(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => "(without a name)".to_owned(),
        }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Runs `body` on a fresh thread, so that what it does to its own namespaces dies with it.
fn on_thread<T: Send>(body: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, body)?;
        match worker.join() {
            Ok(value) => Ok(value),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Mounts a namespace on the file `path` and opens it there.
fn name_it(own: &Path, path: &Path) -> io::Result<OwnedFd> {
    mount(Some(own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    File::open(path).map(OwnedFd::from)
}

fn path_of(name: &str) -> Result<PathBuf> {
    let bad = name.is_empty() || name.len() > 255 || name == "." || name == ".." || name.contains(['/', '\0']);
    if bad {
        return Err(NetnsError::Name { name: name.to_owned() });
    }
    Ok(Path::new(NETNS_DIR).join(name))
}

fn exists_at(path: &Path) -> bool {
    File::open(path).and_then(|file| Ok(fstatfs(&file)?)).is_ok_and(|kind| kind.filesystem_type() == NSFS_MAGIC)
}

/// Makes the directory a shared mount of its own, as `ip netns add` does, so that removing a name
/// reaches the mount namespaces that copied it and does not leave the namespace alive there.
fn prepare_directory() -> io::Result<()> {
    fs::create_dir_all(NETNS_DIR)?;
    let directory = File::open(NETNS_DIR)?;
    // Several processes of one host may be here at once; the lock goes with the descriptor.
    let _lock = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let share = || {
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount(None::<&str>, NETNS_DIR, None::<&str>, flags, None::<&str>)
    };
    match share() {
        Err(Errno::EINVAL) => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(NETNS_DIR), NETNS_DIR, None::<&str>, flags, None::<&str>)?;
            Ok(share()?)
        }
        other => Ok(other?),
    }
}
