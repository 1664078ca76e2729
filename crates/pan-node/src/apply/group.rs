//! The control groups of servers: what the kernel knows of processes, whatever files tell of them or have forgotten.

use std::path::Path;
use std::time::Duration;

use pan_linux::cgroup::{CGROUP_ROOT, CgroupError, CgroupTree, Layout};

use crate::names;

/// A killed process that is not gone by then sits in the kernel (a dead disk): the caller must know.
const DEATH_WAIT: Duration = Duration::from_secs(10);
/// A group can be removed some moments after its last process.
const GONE_MAX: Duration = Duration::from_secs(1);

/// The group of all servers. `None` on a machine without control groups, which has started no container.
fn servers() -> Result<Option<CgroupTree>, CgroupError> {
    match Layout::detect(Path::new(CGROUP_ROOT)) {
        Ok(layout) => Ok(Some(CgroupTree::new(layout, names::CGROUPS))),
        Err(CgroupError::NotMounted(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The identifiers of the servers of which there is a group.
pub(super) fn all() -> Result<Vec<String>, CgroupError> {
    Ok(servers()?.map(|all| all.children()).unwrap_or_default())
}

/// Kills whatever is in a server's group, without waiting for it. Killing the first process alone would do, if it had its turn: among four thousand that
/// fork as fast as they may, with a small part of a processor for all of them, that takes minutes.
///
/// # Errors
/// The kernel's control groups cannot be used.
pub(super) fn kill(id: &str) -> Result<(), CgroupError> {
    let Some(group) = servers()?.map(|all| all.child(id)).filter(CgroupTree::exists) else { return Ok(()) };
    group.limit_processor(None)?;
    group.kill_once();
    Ok(())
}

/// Lets a server that runs have so many thousandths of a processor at most, or as much as nobody else wants.
///
/// # Errors
/// The kernel's control groups cannot be used, or refuse.
pub(super) fn limit(id: &str, cpu_max: Option<u64>) -> Result<(), CgroupError> {
    let Some(group) = servers()?.map(|all| all.child(id)).filter(CgroupTree::exists) else { return Ok(()) };
    group.limit_processor(cpu_max)
}

/// Kills whatever is in a server's group, and removes it once nothing is. Nothing there is fine.
///
/// # Errors
/// Something in it does not die.
pub(super) fn end(id: &str) -> Result<(), CgroupError> {
    let Some(group) = servers()?.map(|all| all.child(id)).filter(CgroupTree::exists) else { return Ok(()) };
    group.limit_processor(None)?;
    group.kill_all(DEATH_WAIT)?;
    group.remove_recursive(GONE_MAX)
}
