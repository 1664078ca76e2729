//! What an image may cost: bytes read, bytes on disk, files, the names that are kept while a layer is unpacked, and the ways that are gone.

use crate::Refusal;

/// A block of a file system: the least that anything in it takes.
const BLOCK: u64 = 4096;
/// As many files and folders as a whole distribution with everything installed has, several times over.
const ENTRIES_MAX: u64 = 1_000_000;
/// Paths of one image, in bytes: those of one layer are kept in memory while it is unpacked.
const NAMES_MAX: u64 = 64 << 20;

/// What is looked at, at the most, for marks of what is gone: each may be about a whole tree.
const WALKED_MAX: u64 = 4 * ENTRIES_MAX;

/// Names that the kernel looks up on the ways to things, for each entry that may be: several times the depth of the deepest trees that are
/// made (node_modules: some 20). Without it, two paths of 128 folders in turn cost 8,000 for each entry.
const STEPS_PER_ENTRY: u64 = 64;

/// What an image may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all its layers, unpacked: as they are read, and as they lie on disk.
    pub bytes: u64,
    /// Heads of archives: files, folders, links, what is skipped, and folders made on the way.
    pub entries: u64,
    /// Bytes of paths.
    pub names: u64,
    /// Files, folders and links that are made, each of which takes an inode.
    pub files: u64,
}

impl Bounds {
    /// The usual bounds of an image that may have that many bytes.
    #[must_use]
    pub const fn of(bytes: u64) -> Self {
        Self { bytes, entries: ENTRIES_MAX, names: NAMES_MAX, files: ENTRIES_MAX }
    }
}

/// What is left of it.
#[derive(Debug)]
pub struct Budget {
    bounds: Bounds,
    read: u64,
    disk: u64,
    entries: u64,
    names: u64,
    files: u64,
    walked: u64,
    steps: u64,
}

impl Budget {
    /// All of it.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self { bounds, read: 0, disk: 0, entries: 0, names: 0, files: 0, walked: 0, steps: 0 }
    }

    /// Bytes that come out of an archive, whatever becomes of them.
    pub(crate) fn read(&mut self, bytes: u64) -> Result<(), Refusal> {
        spend(&mut self.read, bytes, self.bounds.bytes, "bytes, unpacked")
    }

    /// A file's contents.
    pub(crate) fn contents(&mut self, bytes: u64) -> Result<(), Refusal> {
        spend(&mut self.disk, bytes.div_ceil(BLOCK).saturating_mul(BLOCK), self.bounds.bytes, "bytes, unpacked")
    }

    /// A head.
    pub(crate) fn entry(&mut self) -> Result<(), Refusal> {
        spend(&mut self.entries, 1, self.bounds.entries, "files and folders")
    }

    /// Something that is made, with its path.
    pub(crate) fn made(&mut self, path: &std::path::Path) -> Result<(), Refusal> {
        spend(&mut self.disk, BLOCK, self.bounds.bytes, "bytes, unpacked")?;
        spend(&mut self.files, 1, self.bounds.files, "files and folders")?;
        spend(&mut self.names, path.as_os_str().len() as u64, self.bounds.names, "bytes of paths")
    }

    /// Things that were looked at for a mark.
    pub(crate) fn walked(&mut self, count: u64) -> Result<(), Refusal> {
        spend(&mut self.walked, count, WALKED_MAX.min(self.bounds.entries.saturating_mul(4)), "files under marks for what is gone")
    }

    /// The way to a path, which the kernel goes name by name.
    pub(crate) fn way(&mut self, path: &std::path::Path) -> Result<(), Refusal> {
        let most = STEPS_PER_ENTRY.saturating_mul(self.bounds.entries);
        spend(&mut self.steps, path.components().count() as u64, most, "names on the ways to its files")
    }

    /// Files, folders and links that were made.
    #[must_use]
    pub const fn files(&self) -> u64 {
        self.files
    }

    /// What was used of the disk.
    #[must_use]
    pub const fn on_disk(&self) -> u64 {
        self.disk
    }
}

fn spend(used: &mut u64, more: u64, most: u64, what: &'static str) -> Result<(), Refusal> {
    *used = used.saturating_add(more);
    if *used > most { Err(Refusal::TooMuch { what, most }) } else { Ok(()) }
}
