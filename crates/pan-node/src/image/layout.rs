//! OCI layouts on the node: folders and tar archives beneath the one folder that its operator names. Blocks.
//!
//! The specification's "Image Layout". Nothing is opened but regular files beneath that folder, and no link is followed on the way: a
//! layout may have been put there by somebody who is trusted with layouts only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pan_image::manifest::DOCUMENT_MAX;
use pan_image::tar::{Archive, Kind};
use pan_image::{Bounds, Budget};
use pan_model::image::{Digest, Layout};

use super::error::ImageError;
use super::unpack::{Look, Watched};
use crate::apply::hidden::Hidden;
use pan_linux::beneath::Beneath;

const INDEX: &str = "index.json";
/// Files of one archive: several times the layers of all images that one may hold.
const MEMBERS_MAX: u64 = 10_000;

/// A layout that is open.
pub(super) enum Opened {
    Folder(Beneath),
    Archive(File, BTreeMap<PathBuf, (u64, u64)>),
}

/// Opens one.
pub(super) fn open(folder: Option<&Path>, hidden: &Hidden, layout: &Layout, look: Look<'_>, bytes_max: u64) -> Result<Opened, ImageError> {
    let wrong = |why: &str| ImageError::Layout { path: super::error::cut(&layout.path), why: why.to_owned() };
    let folder =
        folder.ok_or_else(|| wrong("there is no folder of layouts here: ask an administrator to name one (node.images.layouts)"))?;
    let asked = Path::new(&layout.path);
    let path = match asked.strip_prefix(folder) {
        Ok(path) => path,
        Err(_) if asked.is_absolute() => return Err(wrong("it does not lie in the folder of layouts")),
        Err(_) => asked,
    };
    let none = || wrong("there is no such folder or archive in the folder of layouts, or it may not be read");
    let resolved = std::fs::canonicalize(folder).map_err(|_| none())?;
    let seen = Path::new("/").join(path);
    let covered = hidden.inside(&resolved).ok_or_else(none)?;
    if covered.iter().any(|hidden| seen.starts_with(hidden) || hidden.starts_with(&seen)) {
        return Err(none());
    }
    let beneath = Beneath::open(&resolved).map_err(|_| none())?;
    if let Ok(found) = beneath.folder(path) {
        return Ok(Opened::Folder(found));
    }
    let file = beneath.file(path).map_err(|_| none())?;
    let members = members(&file, look, bytes_max)?;
    Ok(Opened::Archive(file, members))
}

fn members(file: &File, look: Look<'_>, bytes_max: u64) -> Result<BTreeMap<PathBuf, (u64, u64)>, ImageError> {
    let mut budget = Budget::new(Bounds { entries: MEMBERS_MAX, ..Bounds::of(bytes_max) });
    let mut archive = Archive::new(Watched::new(file, look), &mut budget);
    let mut found = BTreeMap::new();
    while let Some(entry) = archive.next_entry()? {
        if entry.kind == Kind::File {
            let name = String::from_utf8_lossy(&entry.path);
            found.insert(PathBuf::from(name.trim_start_matches("./")), (entry.position, entry.size));
        }
    }
    Ok(found)
}

impl Opened {
    /// The list of its images.
    pub(super) fn index(&self, layout: &Layout) -> Result<Vec<u8>, ImageError> {
        let wrong = || ImageError::Layout { path: super::error::cut(&layout.path), why: "it has no index.json".into() };
        self.whole(Path::new(INDEX)).ok_or_else(wrong)
    }

    /// A document by its digest, which is compared.
    pub(super) fn document(&self, layout: &Layout, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let bytes = self.whole(&blob_path(digest)).ok_or_else(|| missing(layout, digest))?;
        super::unpack::compare(&pan_image::digest(&bytes), digest)?;
        Ok(bytes)
    }

    /// The bytes of a layer, whose digest is not compared here.
    pub(super) fn blob(&self, layout: &Layout, digest: &Digest) -> Result<Box<dyn Read + '_>, ImageError> {
        self.read(&blob_path(digest)).ok_or_else(|| missing(layout, digest))
    }

    fn whole(&self, path: &Path) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read(path)?.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= DOCUMENT_MAX).then_some(bytes)
    }

    fn read(&self, path: &Path) -> Option<Box<dyn Read + '_>> {
        match self {
            Self::Folder(folder) => Some(Box::new(folder.file(path).ok()?)),
            Self::Archive(file, members) => {
                let (at, left) = *members.get(path)?;
                Some(Box::new(Part { file, at, left }))
            }
        }
    }
}

fn blob_path(digest: &Digest) -> PathBuf {
    Path::new("blobs/sha256").join(digest.hex())
}

fn missing(layout: &Layout, digest: &Digest) -> ImageError {
    ImageError::Layout { path: super::error::cut(&layout.path), why: format!("it has no {digest}") }
}

/// A part of a file.
struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
