//! The control group of a volume's two processes: neither the agent's, for what ends that must not end them, nor any server's, for what
//! a server has to write when its memory is short goes through them.
//!
//! They touch no disk, so there is nothing to say about I/O. Their memory is locked, which keeps more of it than a group can.

use std::path::Path;
use std::time::Duration;

use pan_linux::cgroup::{CGROUP_ROOT, CgroupError, CgroupTree, Layout};
use pan_model::VolumeId;

/// Beside that of the servers.
const ALL: &str = "panloom-volumes";
/// What a worker holds is bounded (8 MiB of each connection's answers, 16 MiB of what is read, 1 MiB for each large write): together
/// with the program some 100 MiB. Whoever needs several times that has a fault, and had better be replaced than take the host's memory.
const MEMORY_MAX: u64 = 512 << 20;
/// As much as four servers: its own waits for it, and so may the kernel.
const WEIGHT: u32 = 4;
/// Killed processes leave their group some moments after they were told.
const GONE_MAX: Duration = Duration::from_secs(1);

fn of(volume: VolumeId) -> Result<CgroupTree, CgroupError> {
    Ok(CgroupTree::new(Layout::detect(Path::new(CGROUP_ROOT))?, Path::new(ALL).join(volume.to_string())))
}

/// Moves processes there. What they start afterwards is born there.
pub(super) fn join(volume: VolumeId, processes: impl IntoIterator<Item = i32>) -> Result<(), CgroupError> {
    let group = of(volume)?;
    group.create()?;
    group.weigh(WEIGHT)?;
    group.limit_memory(MEMORY_MAX)?;
    processes.into_iter().try_for_each(|process| group.join(process))
}

/// Removes it, with what is still in it: processes that could not be spoken to any more. Nothing there is fine.
///
/// # Errors
/// A process in it does not die.
pub(crate) fn remove(volume: VolumeId) -> Result<(), CgroupError> {
    let group = of(volume)?;
    if !group.exists() {
        return Ok(());
    }
    group.kill_all(GONE_MAX)?;
    group.remove_recursive(GONE_MAX)
}

/// The volumes that have one.
///
/// # Errors
/// Nobody can tell how control groups are mounted.
pub(crate) fn all() -> Result<Vec<VolumeId>, CgroupError> {
    match Layout::detect(Path::new(CGROUP_ROOT)) {
        Ok(layout) => Ok(CgroupTree::new(layout, ALL).children().iter().filter_map(|name| name.parse().ok().map(VolumeId)).collect()),
        // A machine without has none.
        Err(CgroupError::NotMounted(_)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
