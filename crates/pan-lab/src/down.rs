//! Taking a lab away, also one whose processes were all killed or whose records are damaged:
//! everything is found by the lab's name.

use std::fs;
use std::path::{Path, PathBuf};

use pan_linux::loopdev;
use pan_linux::mount::{self, Busy};
use pan_linux::netns::{NETNS_DIR, Netns};

use crate::boot::{self, DEATH_WAIT, GROUP_WAIT};
use crate::error::LabError;
use crate::lab::{Lab, data_of, unregister};
use crate::lock::LabLock;
use crate::machine;
use crate::name::LabName;
use crate::up::Disks;

/// What a lab keeps in its data folder; nothing else in there is ever removed.
const OURS: [&str; 7] = ["lab.json", "lab.new", "pki", "hosts", "bin", "disk.img", "disk.new"];

impl Lab {
    /// Stops and removes every process, namespace, mount, link, loop device and control group of a
    /// lab, and its data. A lab that is not there is fine; `true` if there was anything.
    ///
    /// # Errors
    /// Something resisted; everything else is gone, and calling it again tries again.
    pub fn down(name: &LabName) -> Result<bool, LabError> {
        if !nix::unistd::Uid::effective().is_root() {
            return Err(LabError::NotRoot);
        }
        let lock = LabLock::of(name)?;
        let data = data_of(name);
        let found = exists(name, &data);
        let mut left = sweep(name, &data);
        if left.is_empty()
            && let Err(error) = remove_data(&data)
        {
            left.push(error.chain());
        }
        if !left.is_empty() {
            return Err(LabError::Leftover { name: name.clone(), left });
        }
        unregister(name)?;
        lock.remove();
        forget_empty_netns_dir();
        Ok(found)
    }
}

/// Takes back what bringing a lab up made, and says what became of it. The caller holds the lab's lock.
pub(crate) fn take_back(name: &LabName, data: &Path, disks: Disks) -> LabError {
    let mut left = sweep(name, data);
    let kept = (disks == Disks::Earlier).then(|| data.to_path_buf());
    if left.is_empty() {
        let removed = if kept.is_none() { remove_data(data).and_then(|()| unregister(name)) } else { Ok(()) };
        left.extend(removed.err().map(|error| error.chain()));
        forget_empty_netns_dir();
    }
    LabError::Interrupted { name: name.clone(), kept, left }
}

fn exists(name: &LabName, data: &Path) -> bool {
    let namespaces = Netns::list().unwrap_or_default();
    boot::lab_group(name).is_ok_and(|group| group.exists())
        || namespaces.iter().any(|netns| name.owns_netns(netns))
        || data.join("pki").exists()
}

/// Removes everything of a lab but its data. Goes on after a failure, and says what is left and why.
pub(crate) fn sweep(name: &LabName, data: &Path) -> Vec<String> {
    let mut left = Vec::new();
    let mut note = |outcome: Result<(), LabError>| {
        if let Err(error) = outcome {
            left.push(error.chain());
        }
    };
    // Processes first: they hold everything else.
    note(remove_processes(name));
    note(machine::disconnect(name));
    note(remove_mounts(data));
    note(loopdev::detach_under(data).map_err(LabError::kernel("detach loop devices")));
    note(loopdev::wait_detached(data, DEATH_WAIT).map_err(LabError::kernel("detach loop devices")));
    match Netns::list() {
        Ok(all) => {
            for netns in all.iter().filter(|netns| name.owns_netns(netns)) {
                let removed = Netns::remove(netns);
                note(removed.map_err(LabError::kernel(format!("remove network namespace {netns}"))));
            }
        }
        Err(error) => note(Err(LabError::kernel("list network namespaces")(error))),
    }
    left
}

fn remove_processes(name: &LabName) -> Result<(), LabError> {
    let group = boot::lab_group(name)?;
    group.kill_all(DEATH_WAIT).map_err(LabError::kernel("kill the laboratory's processes"))?;
    group.remove_recursive(GROUP_WAIT).map_err(LabError::kernel("remove the laboratory's control groups"))
}

fn remove_mounts(data: &Path) -> Result<(), LabError> {
    let step = || format!("unmount what is under {}", data.display());
    for entry in mount::mounts_under(data).map_err(LabError::kernel(step()))?.iter().rev() {
        mount::unmount(&entry.target, Busy::Detach).map_err(LabError::kernel(step()))?;
    }
    Ok(())
}

/// Removes a lab's data, and the folder itself if nothing foreign is in it.
pub(crate) fn remove_data(data: &Path) -> Result<(), LabError> {
    let mounted = mount::mounts_under(data).map_err(LabError::kernel("look for mounts"))?;
    if let Some(entry) = mounted.first() {
        // Removing through a mount would delete what somebody else keeps there.
        return Err(LabError::NotOurs(entry.target.clone()));
    }
    for path in OURS.map(|entry| data.join(entry)) {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LabError::file("remove", &path)(error));
            }
            _ => {}
        }
    }
    let _ = fs::remove_dir(data);
    Ok(())
}

/// Making the first named namespace mounts the folder of names on itself. With the last name gone,
/// that mount is a leftover too.
fn forget_empty_netns_dir() {
    let dir = PathBuf::from(NETNS_DIR);
    let empty = fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_none());
    if empty {
        let _ = mount::unmount(&dir, Busy::Refuse);
    }
}
