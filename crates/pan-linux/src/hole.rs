//! Holes in files: space of a file that is given back to its file system.

use std::fs::File;
use std::io;

use nix::fcntl::{FallocateFlags, fallocate};

/// Gives the space of a range back; it reads as zeros, and the file stays as long as it is (`fallocate(2)`,
/// `FALLOC_FL_PUNCH_HOLE`).
///
/// # Errors
/// The file system has no holes, or what the kernel says.
pub fn punch(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let number = |value: u64| i64::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(file, flags, number(offset)?, number(length)?).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn a_hole_reads_as_zeros_and_takes_no_space() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 1 << 20], 0).unwrap();
        file.sync_all().unwrap();
        let before = file.metadata().unwrap().blocks();
        punch(&file, 4096, (1 << 20) - 8192).unwrap();
        let mut byte = [1];
        file.read_exact_at(&mut byte, 5000).unwrap();
        assert_eq!(byte, [0]);
        assert_eq!(file.metadata().unwrap().len(), 1 << 20);
        assert!(file.metadata().unwrap().blocks() < before / 2);
    }
}
