//! What a layer does to a root file system.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

/// What belongs to a file beside its contents. The owner is one of the 65,536 that servers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Permissions, setuid and its kin.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970 of the last change.
    pub mtime: u32,
}

/// Whether a folder was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// It was.
    Found,
    /// It was made, root's.
    Made,
}

/// A root file system, below one folder. Paths are relative, of plain components, and never lead through a link: whoever implements this
/// refuses one that does. What is at a path already is replaced, but for a folder by a folder.
pub trait Sink {
    /// A folder on the way to something.
    ///
    /// # Errors
    /// Something else is there, or it cannot be made.
    fn parent(&mut self, path: &Path) -> io::Result<Parent>;

    /// A folder; the empty path is the root.
    ///
    /// # Errors
    /// It cannot be made.
    fn folder(&mut self, path: &Path, meta: &Meta) -> io::Result<()>;

    /// A file.
    ///
    /// # Errors
    /// It cannot be made, or its contents not be had.
    fn file(&mut self, path: &Path, meta: &Meta, content: &mut dyn Read) -> io::Result<()>;

    /// A symbolic link, whose target may be anything.
    ///
    /// # Errors
    /// It cannot be made.
    fn symlink(&mut self, path: &Path, meta: &Meta, target: &OsStr) -> io::Result<()>;

    /// Another name of a file.
    ///
    /// # Errors
    /// There is none, or it cannot be made.
    fn hardlink(&mut self, path: &Path, target: &Path) -> io::Result<()>;

    /// Takes away what is at a path and in it, unless `kept` says otherwise: that is asked of the thing itself and, of folders that are
    /// kept, of all in them. Nothing there is fine.
    ///
    /// # Errors
    /// It cannot be taken away.
    fn hide(&mut self, path: &Path, kept: &dyn Fn(&Path) -> bool) -> io::Result<()>;

    /// The same with what is in a folder; the empty path is the root.
    ///
    /// # Errors
    /// As of [`Sink::hide`].
    fn hide_inside(&mut self, folder: &Path, kept: &dyn Fn(&Path) -> bool) -> io::Result<()>;
}
