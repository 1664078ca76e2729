//! A root file system made of layers. Blocks.

use std::ffi::OsStr;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use pan_image::compression::{self, Compression};
use pan_image::manifest::Blob;
use pan_image::{Budget, Meta, Parent, Refusal, Sink};
use pan_linux::beneath::{Attributes, Beneath};
use pan_linux::room;
use pan_model::image::Digest;
use sha2::{Digest as _, Sha256};

use super::error::ImageError;

/// After this much the disk's room is looked at again.
pub(super) const LOOK_EVERY: u64 = 16 << 20;

/// When it must be done, and what must be left of the disk.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub until: Instant,
    pub disk: PathBuf,
    pub free_min: u64,
}

impl Limits {
    /// Whether so much more fits.
    pub(super) fn fits(&self, bytes: u64) -> Result<(), ImageError> {
        let free = room::of(&self.disk).map(|room| room.free).map_err(super::error::disk("look for room"))?;
        if free < bytes.saturating_add(self.free_min) { Err(ImageError::NoRoom) } else { Ok(()) }
    }

    fn check(&self) -> io::Result<()> {
        if Instant::now() > self.until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"));
        }
        self.fits(LOOK_EVERY).map_err(|_| io::ErrorKind::StorageFull.into())
    }
}

/// Puts a layer over what is in `root`, and compares its digest.
pub(super) fn layer(
    from: impl Read,
    (blob, packed): (&Blob, Compression),
    budget: &mut Budget,
    root: &Beneath,
    limits: &Limits,
) -> Result<(), ImageError> {
    let mut packed_bytes = Hashed { from: from.take(blob.size.saturating_add(1)), hash: Sha256::new(), count: 0 };
    let applied = apply(&mut packed_bytes, packed, budget, root, limits);
    let timely = Watched { from: &mut packed_bytes, limits, since: LOOK_EVERY };
    if let Err(error) = io::copy(&mut { timely }, &mut io::sink()) {
        return applied.and(Err(ImageError::Refusal(Refusal::Read(error))));
    }
    // Whatever was wrong with bytes that are not the ones named is no news about the image.
    if packed_bytes.count == blob.size || applied.is_ok() {
        compare(&Digest::of(&packed_bytes.hash.finalize().into()), &blob.digest)?;
    }
    applied?;
    if packed_bytes.count == blob.size { Ok(()) } else { Err(ImageError::Size) }
}

fn apply(from: &mut impl Read, packed: Compression, budget: &mut Budget, root: &Beneath, limits: &Limits) -> Result<(), ImageError> {
    let unpacked = compression::unpack(packed, BufReader::new(from));
    let watched = Watched { from: unpacked, limits, since: LOOK_EVERY };
    pan_image::apply(BufReader::new(watched), budget, &mut Onto(root)).map_err(|refusal| match refusal {
        Refusal::Read(error) | Refusal::Write { source: error, .. } if error.kind() == io::ErrorKind::StorageFull => ImageError::NoRoom,
        other => ImageError::Refusal(other),
    })
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
    pub from: R,
    pub limits: &'a Limits,
    /// Bytes since the last look.
    pub since: u64,
}

impl<'a, R> Watched<'a, R> {
    pub(super) const fn new(from: R, limits: &'a Limits) -> Self {
        Self { from, limits, since: LOOK_EVERY }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since >= LOOK_EVERY {
            self.limits.check()?;
            self.since = 0;
        }
        // Many small reads take time without many bytes.
        self.since += 64 << 10;
        let count = self.from.read(buffer)?;
        self.since += count as u64;
        Ok(count)
    }
}

/// The root file system on disk.
struct Onto<'a>(&'a Beneath);

fn attributes(meta: &Meta) -> Attributes {
    Attributes { mode: meta.mode, uid: meta.uid, gid: meta.gid, mtime: meta.mtime }
}

impl Sink for Onto<'_> {
    fn parent(&mut self, path: &Path) -> io::Result<Parent> {
        self.0.ensure_folder(path).map(|made| if made { Parent::Made } else { Parent::Found })
    }
    fn folder(&mut self, path: &Path, meta: &Meta) -> io::Result<()> {
        self.0.set_folder(path, &attributes(meta))
    }
    fn file(&mut self, path: &Path, meta: &Meta, content: &mut dyn Read) -> io::Result<()> {
        self.0.write(path, &attributes(meta), content)
    }
    fn symlink(&mut self, path: &Path, meta: &Meta, target: &OsStr) -> io::Result<()> {
        self.0.symlink(path, &attributes(meta), target)
    }
    fn hardlink(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        self.0.hardlink(path, target)
    }
    fn hide(&mut self, path: &Path, kept: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        self.0.remove(path, kept)
    }
    fn hide_inside(&mut self, folder: &Path, kept: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        self.0.remove_inside(folder, kept)
    }
}
