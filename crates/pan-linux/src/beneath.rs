//! Files beneath one folder, whatever lies there: no path leads out of it, through a symbolic link, or onto another file system.
//!
//! Paths are relative and plain. Every folder is opened by openat2(2) with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`, and what is in it
//! reached by its one name from there, so that nobody who changes the tree at the same time can lead a call elsewhere.

mod remove;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, linkat, symlinkat, syncfs};

/// The kernel says `EAGAIN` when something was renamed while it looked; nobody renames here so often.
const TRIES_MAX: usize = 100;
/// Bytes that are copied at a time: most files of an image are smaller.
const CHUNK: usize = 16 << 10;

/// Permissions, owner and time of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970 of the last change.
    pub mtime: u32,
}

/// A folder, and what lies beneath it.
#[derive(Debug)]
pub struct Beneath(OwnedFd);

impl Beneath {
    /// Opens a folder, which is trusted: links on the way to it are followed.
    ///
    /// # Errors
    /// There is none.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(nix::fcntl::open(folder, flags, Mode::empty())?))
    }

    /// A folder beneath it; the empty path is the folder itself.
    ///
    /// # Errors
    /// There is none, or a link is on the way.
    pub fn folder(&self, path: &Path) -> io::Result<Self> {
        self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, plain()).map(Self)
    }

    /// Opens a regular file, and nothing else: no pipe that never answers, no device.
    ///
    /// # Errors
    /// There is none, or a link is on the way.
    pub fn file(&self, path: &Path) -> io::Result<File> {
        regular(self.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, plain())?)
    }

    /// The beginning of a regular file, whose links are followed as if the folder were `/`; nothing if there is no such file.
    pub fn text(&self, path: &Path, most: u64) -> String {
        let links = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        let opened = self.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, links).and_then(regular);
        let mut bytes = Vec::new();
        match opened.map(|file| file.take(most).read_to_end(&mut bytes)) {
            Ok(Ok(_)) => String::from_utf8_lossy(&bytes).into_owned(),
            Ok(Err(_)) | Err(_) => String::new(),
        }
    }

    /// Makes a folder of root's unless one is there, and says whether it did.
    ///
    /// # Errors
    /// Something else is there.
    pub fn ensure_folder(&self, path: &Path) -> io::Result<bool> {
        let (parent, name) = self.parent(path)?;
        match mkdirat(&parent.0, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => {
                fchmodat(&parent.0, name, Mode::from_bits_truncate(0o755), FchmodatFlags::FollowSymlink)?;
                Ok(true)
            }
            Err(Errno::EEXIST) => self.folder(path).map(|_| false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a folder, or gives one that is there other attributes. Anything else there is replaced.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn set_folder(&self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        if !path.as_os_str().is_empty() {
            let (parent, name) = self.parent(path)?;
            match parent.look(name)? {
                Some(found) if is(&found, SFlag::S_IFDIR) => {}
                found => {
                    parent.clear(name, found)?;
                    mkdirat(&parent.0, name, Mode::from_bits_truncate(0o700))?;
                }
            }
        }
        set(&self.folder(path)?.0, attributes)
    }

    /// Makes a file, in the place of anything else.
    ///
    /// # Errors
    /// It cannot be made, or its contents not be read.
    pub fn write(&self, path: &Path, attributes: &Attributes, content: &mut dyn Read) -> io::Result<()> {
        let (parent, name) = self.free(path)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(nix::fcntl::openat(&parent.0, name, flags, Mode::from_bits_truncate(0o600))?);
        let mut buffer = [0; CHUNK];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => io::Write::write_all(&mut file, &buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        set(&file, attributes)
    }

    /// Makes a symbolic link, in the place of anything else.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn symlink(&self, path: &Path, attributes: &Attributes, target: &OsStr) -> io::Result<()> {
        let (parent, name) = self.free(path)?;
        symlinkat(target, &parent.0, name)?;
        let (user, group) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        fchownat(&parent.0, name, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let time = TimeSpec::new(attributes.mtime.into(), 0);
        Ok(utimensat(&parent.0, name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
    }

    /// Gives a file or symbolic link another name, in the place of anything else.
    ///
    /// # Errors
    /// There is no such file, or it cannot be made.
    pub fn hardlink(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (source, old) = self.parent(target)?;
        match source.look(old)? {
            Some(found) if is(&found, SFlag::S_IFREG) || is(&found, SFlag::S_IFLNK) => {}
            _ => return Err(io::Error::new(io::ErrorKind::NotFound, "there is no such file to give another name")),
        }
        let (parent, name) = self.free(path)?;
        Ok(linkat(&source.0, old, &parent.0, name, AtFlags::empty())?)
    }

    /// Writes everything of its file system to disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn sync(&self) -> io::Result<()> {
        Ok(syncfs(&self.0)?)
    }

    /// The folder in which a path's last name lies.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(Self, &'a OsStr)> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "no name of a file");
        let name = path.file_name().ok_or_else(wrong)?;
        Ok((self.folder(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// The same, with nothing of that name in it.
    fn free<'a>(&self, path: &'a Path) -> io::Result<(Self, &'a OsStr)> {
        let (parent, name) = self.parent(path)?;
        let found = parent.look(name)?;
        parent.clear(name, found)?;
        Ok((parent, name))
    }

    /// What has a name in the folder itself.
    fn look(&self, name: &OsStr) -> io::Result<Option<FileStat>> {
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn resolve(&self, path: &Path, flags: OFlag, how: ResolveFlag) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(how);
        for _ in 0..TRIES_MAX {
            match openat2(&self.0, &path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(Errno::ELOOP) => return Err(io::Error::new(io::ErrorKind::NotADirectory, "a symbolic link is on the way")),
                opened => return Ok(opened?),
            }
        }
        Err(Errno::EAGAIN.into())
    }
}

fn plain() -> ResolveFlag {
    ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV
}

fn regular(opened: OwnedFd) -> io::Result<File> {
    let file = File::from(opened);
    if file.metadata()?.mode() & libc::S_IFMT != libc::S_IFREG {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(file)
}

fn is(found: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == kind
}

/// Owner before permissions: a change of owner takes setuid away.
fn set(what: &impl AsFd, attributes: &Attributes) -> io::Result<()> {
    fchown(what, Some(attributes.uid), Some(attributes.gid))?;
    fchmod(what, Mode::from_bits_truncate(attributes.mode))?;
    let time = TimeSpec::new(attributes.mtime.into(), 0);
    Ok(futimens(what, &time, &time)?)
}

#[cfg(test)]
mod tests;
