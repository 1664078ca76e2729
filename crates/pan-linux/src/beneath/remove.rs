//! Taking away what lies beneath a folder, without following a link.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Beneath, is};

/// Folders within each other, each with an open descriptor while what is in it goes: beyond whatever is made here, below what a process
/// may have open.
const DEPTH_MAX: usize = 256;

impl Beneath {
    /// Takes away what is at a path with all in it, but what `kept` is true of: that is asked of it, and of what is in folders that are
    /// kept. Nothing there is fine.
    ///
    /// # Errors
    /// The kernel refuses, or a link is on the way.
    pub fn remove(&self, path: &Path, kept: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        let (parent, name) = match self.parent(path) {
            // Of something whose folder is not there, nothing is.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        parent.take_away(name, path, kept, DEPTH_MAX)
    }

    /// The same with what is in a folder.
    ///
    /// # Errors
    /// As of [`Beneath::remove`].
    pub fn remove_inside(&self, path: &Path, kept: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            found => found?.empty(path, kept, DEPTH_MAX),
        }
    }

    /// The names of what is in the folder itself.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn names(&self) -> io::Result<Vec<std::ffi::OsString>> {
        // A descriptor of its own, as reading moves it.
        let mut names = Vec::new();
        for entry in Dir::from_fd(self.folder(Path::new(""))?.0)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Makes room for something of that name.
    pub(super) fn clear(&self, name: &OsStr, found: Option<FileStat>) -> io::Result<()> {
        match found {
            None => Ok(()),
            Some(_) => self.take_away(name, Path::new(name), &|_| false, DEPTH_MAX),
        }
    }

    fn take_away(&self, name: &OsStr, path: &Path, kept: &dyn Fn(&Path) -> bool, depth: usize) -> io::Result<()> {
        let stays = kept(path);
        let is_folder = match self.look(name)? {
            None => return Ok(()),
            Some(found) => is(&found, SFlag::S_IFDIR),
        };
        if is_folder {
            let deeper = depth.checked_sub(1).ok_or_else(|| io::Error::other("folders lie too deep within each other"))?;
            self.folder(Path::new(name))?.empty(path, kept, deeper)?;
        }
        if stays {
            return Ok(());
        }
        let flag = if is_folder { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
        match unlinkat(&self.0, name, flag) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn empty(&self, path: &Path, kept: &dyn Fn(&Path) -> bool, depth: usize) -> io::Result<()> {
        self.names()?.iter().try_for_each(|name| self.take_away(name, &path.join(name), kept, depth))
    }
}
