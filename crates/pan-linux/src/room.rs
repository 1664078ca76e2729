//! How much room a file system has.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Bytes and inodes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// All that it holds.
    pub all: u64,
    /// What is free for this process.
    pub free: u64,
    /// All inodes; none where the file system makes them as they are needed.
    pub files: u64,
    /// Inodes that are free for this process; `u64::MAX` where the file system makes them as they are needed.
    pub files_free: u64,
}

/// The room of the file system that a path is on.
///
/// # Errors
/// What the kernel says.
pub fn of(path: &Path) -> io::Result<Room> {
    let found = statvfs(path)?;
    let unit = found.fragment_size();
    let (free, files) =
        if is_root() { (found.blocks_free(), found.files_free()) } else { (found.blocks_available(), found.files_available()) };
    // btrfs counts none.
    let files_free = if found.files() == 0 { u64::MAX } else { files };
    Ok(Room { all: found.blocks() * unit, free: free * unit, files: found.files(), files_free })
}

/// What is kept for root is free for root.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_room_and_no_more_than_all_of_it() {
        let room = of(Path::new("/")).unwrap();
        assert!(room.all > 0 && room.free <= room.all && room.files_free > 0, "{room:?}");
        assert!(of(Path::new("/does/not/exist")).is_err());
    }
}
