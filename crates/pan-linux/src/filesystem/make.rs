//! Making a file system on a device that has none.
//!
//! A power cut while it is made would leave a device that is neither empty nor good. So the last block says what is going on,
//! from before the first byte until all is durable; no server has had the device in that time, and it can be made anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::contents::{BEING_MADE, Condition, Contents, Kind, LOOKED_AT};
use super::tool::run;
use super::{FilesystemError, tool};

/// Bytes of the block that the mark is in: the largest block of a device here.
pub(super) const BLOCK: usize = 4096;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was there and is fine, as far as it knows.
    Found,
    /// It was there, said it had errors, and was repaired by what repairs without asking.
    Repaired,
    /// The device was empty.
    New,
    /// It had been begun before and not finished.
    Anew,
}

/// Sees to it that a device, which nobody else uses, holds a file system of a kind.
///
/// # Errors
/// [`FilesystemError`]; a device that holds anything else is not touched.
pub fn ensure(device: &Path, wanted: Kind) -> Result<Made, FilesystemError> {
    let failed = |action| move |source| FilesystemError::Device { action, device: device.to_path_buf(), source };
    let mut file = OpenOptions::new().read(true).write(true).open(device).map_err(failed("open"))?;
    let found = look(&mut file).map_err(failed("read"))?;
    match found {
        Contents::Filesystem(kind, Condition::Fine) if kind == wanted => return Ok(Made::Found),
        Contents::Filesystem(kind, Condition::Errors) if kind == wanted => {
            drop(file);
            return tool::repair(device, &[]).map(|()| Made::Repaired);
        }
        Contents::Filesystem(..) | Contents::Other(_) | Contents::Unknown => {
            return Err(FilesystemError::Taken { device: device.to_path_buf(), found, wanted });
        }
        Contents::Empty | Contents::Unfinished => {}
    }
    mark(&mut file).map_err(failed("mark"))?;
    // The program must have the device for itself.
    drop(file);
    run_mkfs(device, wanted, found == Contents::Unfinished)?;
    let mut file = OpenOptions::new().read(true).write(true).open(device).map_err(failed("open"))?;
    unmark(&mut file).map_err(failed("unmark"))?;
    Ok(if found == Contents::Empty { Made::New } else { Made::Anew })
}

/// What is on a device.
fn look(file: &mut File) -> io::Result<Contents> {
    let size = file.seek(SeekFrom::End(0))?;
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(LOOKED_AT);
    let (mut first, mut last) = (vec![0; length], vec![0; length]);
    file.rewind()?;
    file.read_exact(&mut first)?;
    file.seek(SeekFrom::Start(size - length as u64))?;
    file.read_exact(&mut last)?;
    Ok(Contents::of(&first, &last))
}

fn mark(file: &mut File) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    block[..BEING_MADE.len()].copy_from_slice(BEING_MADE);
    seek_last(file)?;
    file.write_all(&block)?;
    file.sync_all()
}

/// What the program itself has put into the last block stays.
fn unmark(file: &mut File) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    seek_last(file)?;
    file.read_exact(&mut block)?;
    if block.starts_with(BEING_MADE) {
        seek_last(file)?;
        file.write_all(&vec![0; BLOCK])?;
    }
    file.sync_all()
}

fn seek_last(file: &mut File) -> io::Result<u64> {
    let size = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(size.checked_sub(BLOCK as u64).ok_or(io::ErrorKind::FileTooLarge)?))
}

fn run_mkfs(device: &Path, kind: Kind, unclean: bool) -> Result<(), FilesystemError> {
    let path = device.to_string_lossy();
    let arguments: Vec<&str> = match (kind, unclean) {
        // A device that reads as zeros needs neither discarding nor a journal of zeros.
        (Kind::Ext4, false) => vec!["-q", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0", &path],
        (Kind::Ext4, true) => vec!["-q", "-F", "-m", "0", "-E", "discard,root_owner=0:0", &path],
        (Kind::Xfs, false) => vec!["-q", "-K", &path],
        (Kind::Xfs, true) => vec!["-q", "-f", &path],
    };
    match kind {
        Kind::Ext4 => run(&tool::MKFS_EXT4, &arguments, device),
        Kind::Xfs => run(&tool::MKFS_XFS, &arguments, device),
    }
}
