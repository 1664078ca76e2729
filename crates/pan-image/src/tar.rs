//! Tar archives as they are read: ustar, and what GNU and POSIX.1-2001 (pax) added for long names and large numbers.
//!
//! After tar(5) of libarchive and POSIX.1-2017, `pax`, "ustar Interchange Format".

mod head;
mod pax;

use std::io::{self, Read};

use crate::{Budget, Refusal};
use head::{BLOCK, Head};

/// Longest name or target of a link as GNU writes them: [`crate::path::PATH_MAX`] and its NUL.
const LONG_MAX: u64 = crate::path::PATH_MAX as u64 + 1;
/// Longest extended head. Extended attributes lie in there too, which a file system bounds by 64 KiB.
const PAX_MAX: u64 = 256 << 10;
/// Extended heads of one entry: one of each kind.
const EXTENDED_MAX: usize = 4;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// Another name of a file.
    Hardlink,
    /// A device, a pipe, or something that is not known here.
    Other,
}

/// An entry. Its contents are what the archive reads next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As it is written there.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Where a link leads.
    pub target: Vec<u8>,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of its contents.
    pub size: u64,
    /// Seconds since 1970; 0 for earlier.
    pub mtime: u64,
    /// Where its contents begin in the archive.
    pub position: u64,
}

/// What came before an entry's own head.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    pax: pax::Records,
}

/// An archive that is read from front to back.
pub struct Archive<'a, R> {
    from: R,
    pub(crate) budget: &'a mut Budget,
    /// Of the present entry.
    left: u64,
    padding: u64,
    position: u64,
}

impl<'a, R: Read> Archive<'a, R> {
    /// An archive whose bytes come from there, at the cost of that budget.
    pub fn new(from: R, budget: &'a mut Budget) -> Self {
        Self { from, budget, left: 0, padding: 0, position: 0 }
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// [`Refusal`]: it is broken, or costs too much.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Refusal> {
        let mut extended = Extended::default();
        for _ in 0..=EXTENDED_MAX {
            self.skip()?;
            let Some(head) = self.head()? else { return Ok(None) };
            self.budget.entry()?;
            match head.flag {
                b'L' => extended.path = Some(self.long(&head)?),
                b'K' => extended.target = Some(self.long(&head)?),
                b'x' => extended.pax = pax::read(&self.whole(&head, PAX_MAX)?)?,
                // What holds for all entries: nothing that is looked at here may.
                b'g' => pax::read(&self.whole(&head, PAX_MAX)?)?.refuse_any()?,
                b'S' => return Err(Refusal::Archive("sparse files are not supported")),
                _ => return self.entry(&head, extended).map(Some),
            }
        }
        Err(Refusal::Archive("an entry has too many heads"))
    }

    fn entry(&mut self, head: &Head, extended: Extended) -> Result<Entry, Refusal> {
        let Extended { path, target, pax } = extended;
        let path = pax.path.or(path).unwrap_or_else(|| head.path());
        let kind = match head.flag {
            // Before there was a flag for folders.
            b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Folder,
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::Hardlink,
            b'2' => Kind::Symlink,
            b'5' => Kind::Folder,
            _ => Kind::Other,
        };
        // Those that are all head have no contents, whatever size they name.
        let size = match head.flag {
            b'1'..=b'6' => 0,
            _ => pax.size.map_or_else(|| head.size(), Ok)?,
        };
        self.expect(size);
        Ok(Entry {
            path,
            kind,
            target: pax.target.or(target).unwrap_or_else(|| head.target()),
            mode: head.mode()?,
            uid: pax.uid.map_or_else(|| head.uid(), Ok)?,
            gid: pax.gid.map_or_else(|| head.gid(), Ok)?,
            size,
            mtime: pax.mtime.map_or_else(|| head.mtime(), Ok)?,
            position: self.position,
        })
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64).saturating_sub(size);
    }

    /// Leaves what was not read of the present entry.
    fn skip(&mut self) -> Result<(), Refusal> {
        let mut buffer = [0; 8192];
        self.left = self.left.saturating_add(std::mem::take(&mut self.padding));
        while self.left > 0 {
            self.read(&mut buffer).map_err(Refusal::read)?;
        }
        Ok(())
    }

    /// A head; `None` at the end of the archive, marked or not.
    ///
    /// The mark is two blocks of zeros. Of one that something follows, GNU tar says that it is alone and stops, `tar -i` reads on, and Go's
    /// `archive/tar`, by which Docker, containerd and podman read layers, refuses. Who reads further would have another image: refused.
    fn head(&mut self) -> Result<Option<Head>, Refusal> {
        let Some(block) = self.block()? else { return Ok(None) };
        if !is_blank(&block) {
            return Head::new(block).map(Some);
        }
        match self.block()? {
            Some(next) if !is_blank(&next) => Err(Refusal::Archive("something follows a lone block of zeros")),
            Some(_) | None => Ok(None),
        }
    }

    /// A block; `None` where nothing more comes.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Refusal> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.from.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(Refusal::Archive("it ends within a head")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Refusal::read(error)),
            }
        }
        self.budget.read(BLOCK as u64)?;
        self.position += BLOCK as u64;
        Ok(Some(block))
    }

    /// The contents of a head that is about the next one.
    fn whole(&mut self, head: &Head, most: u64) -> Result<Vec<u8>, Refusal> {
        let size = head.size()?;
        if size > most {
            return Err(Refusal::TooMuch { what: "bytes in the head of a file", most });
        }
        self.expect(size);
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(Refusal::read)?;
        Ok(bytes)
    }

    fn long(&mut self, head: &Head) -> Result<Vec<u8>, Refusal> {
        let mut name = self.whole(head, LONG_MAX)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }
}

fn is_blank(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// The contents of the present entry.
impl<R: Read> Read for Archive<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.from.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::other(Refusal::Archive("it ends within a file")));
        }
        self.left -= count as u64;
        self.position += count as u64;
        self.budget.read(count as u64).map_err(io::Error::other)?;
        Ok(count)
    }
}

#[cfg(test)]
#[path = "tar/tests.rs"]
mod tests;
