//! What the file system looks like: a folder with one file in it. Decides what is answered at once and what storage has to
//! do. Pure; it does not know storage.

use super::abi;
use super::reply::{Attributes, Reply};
use super::request::{Call, Request};

/// The file's node.
pub(super) const FILE_NODE: u64 = abi::ROOT_NODE + 1;

/// The one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TheFile {
    /// Its name in the folder.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes of a block: what reads and writes are multiples of, and the granularity of discards.
    pub block: u32,
}

/// A stretch of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

/// What a request leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Tell the kernel this.
    Answer(Reply),
    /// Nothing: no reply is wanted.
    Nothing,
    /// Storage has to read.
    Read(Extent),
    /// Storage has to write what came with the request.
    Write(Extent),
    /// Storage has to make everything durable.
    Flush,
    /// Storage may forget the stretch, which reads as zeros from then on.
    Discard(Extent),
    /// Storage has to keep the stretch, as zeros.
    Zero(Extent),
    /// The kernel has ended it.
    End,
}

impl TheFile {
    /// What becomes of a request.
    pub fn step(&self, request: &Request<'_>) -> Step {
        let unique = request.unique;
        let refuse = |errno| Step::Answer(Reply::refusal(unique, errno));
        match request.call {
            // It is answered by whoever mounts; a second one is out of place.
            Call::Init(_) => refuse(libc::EIO),
            Call::Lookup(name) if request.node == abi::ROOT_NODE && name == self.name.as_bytes() => {
                Step::Answer(Reply::entry(unique, &self.attributes(FILE_NODE)))
            }
            Call::Lookup(_) => refuse(libc::ENOENT),
            Call::GetAttributes => Step::Answer(Reply::attributes_of(unique, &self.attributes(request.node))),
            // Sizes are changed by whoever has the storage, other attributes by nobody.
            Call::SetAttributes(_) => refuse(libc::EPERM),
            Call::Statistics => Step::Answer(Reply::statistics(unique, self.size, self.block)),
            Call::Release => Step::Answer(Reply::done(unique)),
            Call::Note => Step::Nothing,
            Call::Destroy => Step::End,
            // The kernel remembers ENOSYS and asks no more: a FLUSH at the end of a file whose server is gone would hang.
            Call::Other(_) => refuse(libc::ENOSYS),
            _ if request.node != FILE_NODE => refuse(libc::EISDIR),
            Call::Open => Step::Answer(Reply::opened(unique)),
            Call::Read { offset, bytes } => {
                let bytes = u64::from(bytes).min(self.size.saturating_sub(offset));
                if bytes == 0 { Step::Answer(Reply::done(unique)) } else { Step::Read(Extent { offset, bytes }) }
            }
            Call::Write { offset, data } => self.checked(offset, data.len() as u64).map_or_else(|| refuse(libc::ENOSPC), Step::Write),
            Call::Sync => Step::Flush,
            Call::Allocate { offset, bytes, mode } => match self.checked(offset, bytes) {
                None => refuse(libc::ENOSPC),
                Some(extent) => allocate(mode, extent).unwrap_or_else(|| refuse(libc::EOPNOTSUPP)),
            },
        }
    }

    fn checked(&self, offset: u64, bytes: u64) -> Option<Extent> {
        let end = offset.checked_add(bytes)?;
        (end <= self.size && bytes > 0).then_some(Extent { offset, bytes })
    }

    fn attributes(&self, node: u64) -> Attributes {
        let (size, mode) = if node == FILE_NODE { (self.size, libc::S_IFREG | 0o600) } else { (0, libc::S_IFDIR | 0o700) };
        Attributes { node, size, mode, block: self.block }
    }
}

/// The loop driver sends PUNCH_HOLE for discards and for zeros that may be holes, ZERO_RANGE for zeros that may not.
fn allocate(mode: u32, extent: Extent) -> Option<Step> {
    const HOLE: u32 = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE).cast_unsigned();
    const ZERO: u32 = libc::FALLOC_FL_ZERO_RANGE.cast_unsigned();
    const ZERO_KEEP: u32 = (libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE).cast_unsigned();
    match mode {
        HOLE => Some(Step::Discard(extent)),
        ZERO | ZERO_KEEP => Some(Step::Zero(extent)),
        _ => None,
    }
}
