//! The disk of a running host: which device it is, and putting another one in its place.

use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use super::HostNsError;
use super::mounts::failed;
use crate::ext4;
use crate::mount::{self, Busy, MountError};
use crate::process::PidFd;

/// Where a new file system stands before the old one is gone; the host's /run is a file system of its own.
const ASIDE: &str = "/run/pan-new-disk";

/// The device that the host sees mounted at `target`: the newest mount there. `None` if there is none or the host is gone.
pub fn disk_of(init_pid: i32, target: &Path) -> Option<PathBuf> {
    let mounts = mount::mounts_of(init_pid);
    let top = mounts.into_iter().rfind(|entry| entry.target == target)?;
    top.source.starts_with("/dev/").then(|| top.source.into())
}

/// Mounts `device` at `target` in place of what is mounted there, and takes the folders `kept`, which are mounts beneath
/// it, along. Whoever has files open on the old file system keeps them there.
///
/// # Errors
/// The host is gone, or a mount was refused; the old file system is then still in place.
pub fn exchange_disk(init_pid: i32, device: &Path, target: &Path, kept: &[PathBuf]) -> Result<(), HostNsError> {
    let process = PidFd::open(init_pid).map_err(|_| HostNsError::NotRunning(init_pid))?;
    // A thread of its own, as entering a mount namespace needs a working directory that is not shared.
    let done = thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let enter = || unshare(CloneFlags::CLONE_FS).and_then(|()| setns(&process, CloneFlags::CLONE_NEWNS));
            enter().map_err(|error| failed("anything, from outside,", Path::new("/"))(error.into()))?;
            exchange(device, target, kept)
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    done.map_err(|source| HostNsError::Disk { init: init_pid, source })
}

fn exchange(device: &Path, target: &Path, kept: &[PathBuf]) -> Result<(), MountError> {
    let aside = Path::new(ASIDE);
    let made = |path: &Path| std::fs::create_dir_all(path).map_err(failed("a folder", path));
    made(aside)?;
    ext4::mount(device, aside)?;
    for folder in kept {
        let beneath = folder.strip_prefix(target).unwrap_or(folder);
        made(&aside.join(beneath))?;
        mount::move_to(folder, &aside.join(beneath))?;
    }
    mount::unmount(target, Busy::Detach)?;
    mount::move_to(aside, target)
}
