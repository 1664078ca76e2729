//! A root file system made of layers. Blocks.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use pan_image::compression::{self, Compression};
use pan_image::manifest::Blob;
use pan_image::{Budget, Meta, Parent, Refusal, Sink};
use pan_linux::beneath::{Attributes, Beneath};
use pan_model::image::Digest;
use sha2::{Digest as _, Sha256};

use super::disk::Disk;
use super::error::ImageError;
use super::room::Room;

/// After this much the time and the disk's room are looked at again.
pub(super) const LOOK_EVERY: u64 = 16 << 20;
/// One read of a few bytes takes as long as so many.
const READ_COSTS: u64 = 64 << 10;
/// After so many files and folders are made, too.
const MADE_MAX: u64 = 1024;
/// What is written between two looks, at the most.
const WRITTEN_MAX: Room = Room { bytes: LOOK_EVERY, files: MADE_MAX };

/// When it must be done, and what must be left of the disk.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub until: Instant,
    pub disk: Arc<Disk>,
}

/// Whether to go on.
pub(super) type Look<'a> = &'a dyn Fn() -> io::Result<()>;

impl Limits {
    /// Whether there is time.
    pub(super) fn time(&self) -> io::Result<()> {
        if Instant::now() > self.until { Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long")) } else { Ok(()) }
    }

    /// Whether there is time, and room to write in until the next look. What is left of it is given back with the last one.
    pub(super) fn room(&self) -> impl Fn() -> io::Result<()> + '_ {
        let promised = Cell::new(None);
        move || {
            self.time()?;
            drop(promised.take());
            promised.set(Some(self.disk.promise(WRITTEN_MAX).map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?));
            Ok(())
        }
    }
}

/// Puts a layer over what is in `root`, and compares its digest.
pub(super) fn layer(
    from: impl Read,
    (blob, packed): (&Blob, Compression),
    budget: &mut Budget,
    root: &Beneath,
    look: Look<'_>,
) -> Result<(), ImageError> {
    // Empty members of gzip and frames of zstd are read for long without anything coming out of them.
    let timely = Watched::new(from.take(blob.size.saturating_add(1)), look);
    let mut packed_bytes = Hashed { from: timely, hash: Sha256::new(), count: 0 };
    let applied = apply(&mut packed_bytes, packed, budget, root, look);
    if let Err(error) = io::copy(&mut packed_bytes, &mut io::sink()) {
        return applied.and(Err(failed(Refusal::Read(error))));
    }
    // Whatever was wrong with bytes that are not the ones named is no news about the image.
    if packed_bytes.count == blob.size || applied.is_ok() {
        compare(&Digest::of(&packed_bytes.hash.finalize().into()), &blob.digest)?;
    }
    applied?;
    if packed_bytes.count == blob.size { Ok(()) } else { Err(ImageError::Size) }
}

fn apply(from: &mut impl Read, packed: Compression, budget: &mut Budget, root: &Beneath, look: Look<'_>) -> Result<(), ImageError> {
    let unpacked = compression::unpack(packed, BufReader::new(from));
    let mut onto = Onto { root, look, made: 0 };
    pan_image::apply(BufReader::new(Watched::new(unpacked, look)), budget, &mut onto).map_err(failed)
}

fn failed(refusal: Refusal) -> ImageError {
    match refusal {
        Refusal::Read(error) | Refusal::Write { source: error, .. } if error.kind() == io::ErrorKind::StorageFull => {
            tracing::warn!(%error, "no room for images");
            ImageError::NoRoom
        }
        other => ImageError::Refusal(other),
    }
}

/// Whether bytes are those that were named.
pub(super) fn compare(found: &Digest, wanted: &Digest) -> Result<(), ImageError> {
    if found == wanted { Ok(()) } else { Err(ImageError::Digest { found: found.to_string(), wanted: wanted.to_string() }) }
}

/// Bytes whose digest is taken as they go by.
struct Hashed<R> {
    from: R,
    hash: Sha256,
    count: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}

/// Bytes that stop coming when time or room is up.
pub(super) struct Watched<'a, R> {
    from: R,
    look: Look<'a>,
    /// Bytes since the last look.
    since: u64,
}

impl<'a, R> Watched<'a, R> {
    pub(super) fn new(from: R, look: Look<'a>) -> Self {
        Self { from, look, since: LOOK_EVERY }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since >= LOOK_EVERY {
            (self.look)()?;
            self.since = 0;
        }
        self.since += READ_COSTS;
        let count = self.from.read(buffer)?;
        self.since += count as u64;
        Ok(count)
    }
}

/// The root file system on disk.
struct Onto<'a> {
    root: &'a Beneath,
    look: Look<'a>,
    /// Files and folders that were made since the last look.
    made: u64,
}

impl Onto<'_> {
    fn makes(&mut self) -> io::Result<()> {
        self.made += 1;
        if self.made > MADE_MAX {
            (self.look)()?;
            self.made = 1;
        }
        Ok(())
    }
}

fn attributes(meta: &Meta) -> Attributes {
    Attributes { mode: meta.mode, uid: meta.uid, gid: meta.gid, mtime: meta.mtime }
}

impl Sink for Onto<'_> {
    fn parent(&mut self, path: &Path) -> io::Result<Parent> {
        if !self.root.ensure_folder(path)? {
            return Ok(Parent::Found);
        }
        self.makes().map(|()| Parent::Made)
    }
    fn folder(&mut self, path: &Path, meta: &Meta) -> io::Result<()> {
        self.makes()?;
        self.root.set_folder(path, &attributes(meta))
    }
    fn file(&mut self, path: &Path, meta: &Meta, content: &mut dyn Read) -> io::Result<()> {
        self.makes()?;
        self.root.write(path, &attributes(meta), content)
    }
    fn symlink(&mut self, path: &Path, meta: &Meta, target: &OsStr) -> io::Result<()> {
        self.makes()?;
        self.root.symlink(path, &attributes(meta), target)
    }
    fn hardlink(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        self.root.hardlink(path, target)
    }
    fn hide(&mut self, path: &Path, kept: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        self.root.remove(path, kept)
    }
    fn hide_inside(&mut self, folder: &Path, kept: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        self.root.remove_inside(folder, kept)
    }
}

#[cfg(test)]
mod tests;
