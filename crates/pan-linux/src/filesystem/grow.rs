//! Enlarging a file system to the size of its device.

use std::path::Path;

use super::FilesystemError;
use super::contents::Kind;
use super::tool::{self, run};

/// Where the file system is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// Mounted there. ext4 wants CAP_SYS_RESOURCE for this.
    Mounted(&'a Path),
    /// Not mounted, which only ext4 can be enlarged in; its journal must have been replayed.
    Unmounted,
}

/// Enlarges it. One that is as large as its device already is left alone.
///
/// # Errors
/// The program is missing or refuses, or it is an XFS that is not mounted.
pub fn grow(device: &Path, kind: Kind, place: Place<'_>) -> Result<(), FilesystemError> {
    let path = device.to_string_lossy();
    match (kind, place) {
        (Kind::Ext4, Place::Mounted(_)) => run(&tool::RESIZE_EXT4, &[&path], device),
        // It refuses what was not checked since it was last mounted.
        (Kind::Ext4, Place::Unmounted) => tool::repair(device, &["-f"]).and_then(|()| run(&tool::RESIZE_EXT4, &[&path], device)),
        (Kind::Xfs, Place::Mounted(target)) => run(&tool::GROW_XFS, &["-d", &target.to_string_lossy()], device),
        (Kind::Xfs, Place::Unmounted) => Err(FilesystemError::Refused {
            program: "xfs_growfs",
            device: device.to_path_buf(),
            message: "an xfs can only be enlarged while it is mounted".to_owned(),
        }),
    }
}
