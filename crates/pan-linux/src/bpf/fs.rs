//! The file system in which maps and programs are pinned. Each mount is one of its own, so hosts that
//! share a kernel never see each other's pins, and the pins go with the mount namespace.

use std::path::Path;

use nix::sys::statfs::{FsType, statfs};

use super::BpfError;
use crate::mount;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: FsType = FsType(0xcafe_4a11);

/// True if the folder has one.
pub(crate) fn is_mounted(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// Mounts one on the folder unless it has one. The caller sees to it that nobody else does at the same time.
pub(crate) fn ensure(dir: &Path) -> Result<(), BpfError> {
    if is_mounted(dir) {
        return Ok(());
    }
    Ok(mount::kernel_fs("bpf", dir, Some("mode=0700"))?)
}
