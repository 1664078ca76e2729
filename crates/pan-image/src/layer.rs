//! A layer: an archive of what is new, with marks for what is gone.
//!
//! The specification's "Image Layer Filesystem Changeset". A mark (a whiteout) is about the layers below: whatever the same layer brings
//! stays, wherever the mark stands in it. Devices and pipes are left out, as servers may have none of an image's; so are extended
//! attributes, which grant nothing to programs that may not gain privileges.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::path::{PATH_MAX, clean};
use crate::tar::{Archive, Entry, Kind};
use crate::{Budget, Meta, Parent, Refusal, Sink};

/// Before the name of what is gone.
const GONE: &[u8] = b".wh.";
/// The name that says that all of its folder is.
const ALL_GONE: &[u8] = b".wh..wh..opq";
/// Before names of what only AUFS needs.
const OF_AUFS: &[u8] = b".wh..wh.";
/// Owners that a server may have are below.
const IDS: u64 = 1 << 16;

/// Applies a layer, unpacked, to a root file system.
///
/// # Errors
/// [`Refusal`]; what came before stays.
pub fn apply<R: Read>(from: R, budget: &mut Budget, sink: &mut impl Sink) -> Result<(), Refusal> {
    let mut archive = Archive::new(from, budget);
    let mut layer = Layer { sink, brought: BTreeSet::new(), parent: PathBuf::new() };
    while let Some(entry) = archive.next_entry()? {
        layer.take(&entry, &mut archive)?;
    }
    Ok(())
}

struct Layer<'a, S> {
    sink: &'a mut S,
    /// What this layer has: what its marks are not about.
    brought: BTreeSet<PathBuf>,
    /// The folder that was last known to be there.
    parent: PathBuf,
}

impl<S: Sink> Layer<'_, S> {
    fn take<R: Read>(&mut self, entry: &Entry, archive: &mut Archive<'_, R>) -> Result<(), Refusal> {
        let path = clean(&entry.path)?;
        let Some(name) = path.file_name().map(OsStr::as_bytes) else {
            let meta = meta(entry)?;
            return if entry.kind == Kind::Folder { self.root(&meta) } else { Err(Refusal::path(&entry.path, "it has no name")) };
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let marks = |mark: &[u8]| folder.components().any(|part| part.as_os_str().as_bytes().starts_with(mark));
        if marks(OF_AUFS) {
            return Ok(());
        }
        if marks(GONE) {
            return Err(Refusal::path(&entry.path, "it lies in a mark for what is gone"));
        }
        match name {
            ALL_GONE => self.gone(folder, archive.budget, |sink, kept| sink.hide_inside(folder, kept)),
            name if name.starts_with(OF_AUFS) => Ok(()),
            name if name.starts_with(GONE) => match &name[GONE.len()..] {
                b"" | b"." | b".." => Err(Refusal::path(&entry.path, "it marks nothing as gone")),
                name => {
                    let gone = folder.join(OsStr::from_bytes(name));
                    self.gone(&gone, archive.budget, |sink, kept| sink.hide(&gone, kept))
                }
            },
            _ => self.bring(&path, entry, archive),
        }
    }

    fn root(&mut self, meta: &Meta) -> Result<(), Refusal> {
        self.sink.folder(Path::new(""), meta).map_err(|error| Refusal::write(Path::new("/"), error))
    }

    fn gone(
        &mut self,
        path: &Path,
        budget: &mut Budget,
        hide: impl FnOnce(&mut S, &dyn Fn(&Path) -> bool) -> std::io::Result<()>,
    ) -> Result<(), Refusal> {
        let (brought, walked) = (&self.brought, Cell::new(0));
        // In the order of paths, what is in a folder follows the folder.
        let kept = |path: &Path| {
            walked.set(walked.get() + 1);
            brought.range(path.to_path_buf()..).next().is_some_and(|next| next.starts_with(path))
        };
        self.parent = PathBuf::new();
        budget.way(path)?;
        hide(self.sink, &kept).map_err(|error| Refusal::write(path, error))?;
        budget.walked(walked.get())
    }

    fn bring<R: Read>(&mut self, path: &Path, entry: &Entry, archive: &mut Archive<'_, R>) -> Result<(), Refusal> {
        if entry.kind == Kind::Other {
            return Ok(());
        }
        let meta = meta(entry)?;
        self.way(path.parent().unwrap_or(Path::new("")), archive.budget)?;
        archive.budget.made(path)?;
        archive.budget.way(path)?;
        let failed = |error| Refusal::write(path, error);
        match entry.kind {
            Kind::Folder => self.sink.folder(path, &meta).map_err(failed)?,
            Kind::File => {
                archive.budget.contents(entry.size)?;
                self.parent_stays(path);
                self.sink.file(path, &meta, archive).map_err(failed)?;
            }
            Kind::Symlink => {
                let target = &entry.target;
                if target.is_empty() || target.len() >= PATH_MAX || target.contains(&0) {
                    return Err(Refusal::path(&entry.path, "it is a link to what is no path"));
                }
                self.parent_stays(path);
                self.sink.symlink(path, &meta, &std::ffi::OsString::from_vec(target.clone())).map_err(failed)?;
            }
            Kind::Hardlink => {
                let target = clean(&entry.target)?;
                // The kernel would find that the two are one already.
                if target != path {
                    archive.budget.way(&target)?;
                    self.parent_stays(path);
                    self.sink.hardlink(path, &target).map_err(failed)?;
                }
            }
            Kind::Other => {}
        }
        self.brought.insert(path.to_path_buf());
        Ok(())
    }

    /// What takes a folder's place may have been the way to the last entry.
    fn parent_stays(&mut self, path: &Path) {
        if self.parent.starts_with(path) {
            self.parent = PathBuf::new();
        }
    }

    /// Makes folders that are missing on the way, each at a cost, and so is each look. Those that it shares with the last way are there.
    fn way(&mut self, folder: &Path, budget: &mut Budget) -> Result<(), Refusal> {
        if folder == self.parent {
            return Ok(());
        }
        let shared = self.parent.components().zip(folder.components()).take_while(|(known, part)| known == part).count();
        let mut way: PathBuf = folder.components().take(shared).collect();
        for part in folder.components().skip(shared) {
            way.push(part);
            budget.way(&way)?;
            if self.sink.parent(&way).map_err(|error| Refusal::write(&way, error))? == Parent::Made {
                budget.entry()?;
                budget.made(&way)?;
                self.brought.insert(way.clone());
            }
        }
        self.parent = way;
        Ok(())
    }
}

fn meta(entry: &Entry) -> Result<Meta, Refusal> {
    let id = |id: u64| {
        u32::try_from(id).ok().filter(|_| id < IDS).ok_or_else(|| Refusal::path(&entry.path, "its owner or group is above 65535"))
    };
    let mtime = u32::try_from(entry.mtime).unwrap_or(u32::MAX);
    Ok(Meta { mode: entry.mode, uid: id(entry.uid)?, gid: id(entry.gid)?, mtime })
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
