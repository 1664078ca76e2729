//! How much room a file system has.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// All that it holds.
    pub all: u64,
    /// What is free for this process.
    pub free: u64,
}

/// The room of the file system that a path is on.
///
/// # Errors
/// What the kernel says.
pub fn of(path: &Path) -> io::Result<Room> {
    let found = statvfs(path)?;
    let unit = found.fragment_size();
    let free = if is_root() { found.blocks_free() } else { found.blocks_available() };
    Ok(Room { all: found.blocks() * unit, free: free * unit })
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
        assert!(room.all > 0 && room.free <= room.all, "{room:?}");
        assert!(of(Path::new("/does/not/exist")).is_err());
    }
}
