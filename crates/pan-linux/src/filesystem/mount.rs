//! Mounting.

use std::path::Path;

use nix::mount::MsFlags;

use super::FilesystemError;
use super::contents::Kind;
use crate::loopdev::Access;
use crate::mount::{self, MountError};

/// What is mounted, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountSpec {
    /// What is on the device.
    pub kind: Kind,
    /// What users may do.
    pub access: Access,
}

/// Mounts a device. A file system that was not unmounted replays its journal, which needs no check; after an error of
/// the device it is read-only (ext4) or shut down (XFS), so that nothing is written on top of what may be lost.
///
/// # Errors
/// [`FilesystemError::Damaged`] if the kernel finds it inconsistent, and others of mount(2).
pub fn mount(device: &Path, target: &Path, spec: &MountSpec) -> Result<(), FilesystemError> {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    // Without a journal to be replayed: there may be another user, and the device would refuse it.
    let options = match (spec.kind, spec.access) {
        (Kind::Ext4, Access::ReadWrite) => "errors=remount-ro",
        (Kind::Ext4, Access::ReadOnly) => "errors=remount-ro,noload",
        (Kind::Xfs, Access::ReadWrite) => "nouuid",
        (Kind::Xfs, Access::ReadOnly) => "nouuid,norecovery",
    };
    if spec.access == Access::ReadOnly {
        flags |= MsFlags::MS_RDONLY;
    }
    let fstype = spec.kind.to_string();
    mount::raw(&device.to_string_lossy(), target, Some(&fstype), flags, Some(options)).map_err(|error| damaged(error, device, spec.kind))
}

/// EUCLEAN is how both say that what they read makes no sense, EBADMSG that a checksum is wrong.
fn damaged(error: MountError, device: &Path, kind: Kind) -> FilesystemError {
    let MountError::Mount { source, .. } = &error else { return error.into() };
    if !matches!(source.raw_os_error(), Some(libc::EUCLEAN | libc::EBADMSG)) {
        return error.into();
    }
    let advice = match kind {
        Kind::Ext4 => format!("e2fsck -f {}", device.display()),
        Kind::Xfs => format!("xfs_repair {}", device.display()),
    };
    FilesystemError::Damaged { kind, device: device.to_path_buf(), advice }
}
