//! Effects on this host for one volume, all of which block. Whatever touches a device waits in the kernel for the head that serves
//! it, where no signal reaches it: so each ends the connection when its time is over, and then fails. Unmounting writes out what is left
//! in memory, and has no time of its own: the task sees to it that it ends ([`super::patience`]).

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pan_linux::blockdev::{self, AttachSpec, BlockDevice, Hung};
use pan_linux::cgroup::CgroupError;
use pan_linux::filesystem::{self, Kind, Made, MountSpec};
use pan_linux::fuse::{Connection, InTime};
use pan_linux::loopdev::{self, Access};
use pan_linux::mount::{self, Busy};
use pan_model::volume::Filesystem;

use super::error::VolumeError;
use super::patience::Progress;
use super::place::Place;
use crate::error::FileError;
use crate::head;

/// Blocks of the device: what a head and its replicas work in.
pub(super) const BLOCK: u32 = 4096;
/// An open head answers within the time that storage hosts have to be found dead, a second or two.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A large file system is checked for minutes after errors, and its journal replayed for seconds. If head or order
/// end meanwhile, that ends it sooner.
const MOUNT_MAX: Duration = Duration::from_secs(600);
/// The mount namespace of a killed container goes some moments after its last process.
const DETACH_MAX: Duration = Duration::from_secs(5);

/// What is on this host of a volume, beside processes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub device: Option<PathBuf>,
    pub mounted: bool,
    /// Its folder.
    pub folder: bool,
}

/// Looks, without touching what a head would have to answer for.
pub(super) fn look(at: &Place) -> Result<Found, VolumeError> {
    let mounted = mount::mounts_under(&at.folder)?.iter().any(|entry| entry.target == at.mnt());
    Ok(Found { device: loopdev::attached_to(&at.file).into_iter().next(), mounted, folder: at.folder.exists() })
}

/// Bytes of a device.
pub(super) fn bytes(device: &Path) -> Option<u64> {
    let name = device.file_name()?;
    // In sectors of 512 bytes, whatever the device's blocks are.
    let text = fs::read_to_string(Path::new("/sys/block").join(name).join("size")).ok()?;
    text.trim().parse::<u64>().ok()?.checked_mul(512)
}

/// What the head and a device have done, and whether something waits for them.
pub(super) fn progress(at: &Place, device: Option<&Path>) -> Progress {
    let stat = device.and_then(Path::file_name).map(|name| Path::new("/sys/block").join(name).join("stat"));
    let done = stat.and_then(|path| fs::read_to_string(path).ok()).map_or(0, |text| done(&text));
    let waits = match Connection::at(at.served()) {
        Ok(None) => false,
        // One that cannot be seen may be waited for.
        Ok(Some(connection)) => connection.waiting().map_or(true, |waiting| waiting > 0),
        Err(_) => true,
    };
    Progress { done, waits }
}

/// A number that grows with all that a device has done: requests and sectors of reads, writes and discards, and flushes, by
/// Documentation/block/stat.rst of the kernel.
fn done(stat: &str) -> u64 {
    let numbers: Vec<u64> = stat.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    [0, 2, 4, 6, 11, 13, 15].iter().filter_map(|field| numbers.get(*field)).sum()
}

/// Makes the folders of a volume, for root alone: what is in them is a server's.
pub(super) fn make_folders(at: &Place) -> Result<(), VolumeError> {
    for folder in [at.served(), &at.mnt()] {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(FileError::of("make", folder))?;
    }
    Ok(())
}

/// The connection of the head that serves, or served, the volume.
pub(super) fn connection(at: &Place) -> Result<Connection, VolumeError> {
    Connection::at(at.served())?.ok_or(VolumeError::NotMounted)
}

/// Makes a device of what the head serves. The only place that knows what kind of device it is: the kernel's own client of network
/// block devices would be the other one.
pub(super) fn attach(at: &Place) -> Result<BlockDevice, VolumeError> {
    let spec = AttachSpec { file: at.file.clone(), access: Access::ReadWrite, block: BLOCK, limit: ANSWER_MAX };
    Ok(BlockDevice::attach(&spec, connection(at)?)?)
}

/// Sees to it that there is a file system, and mounts it.
pub(super) fn mount(at: &Place, device: &Path, wanted: Filesystem) -> Result<Made, VolumeError> {
    let kind = kind(wanted);
    within(connection(at)?, MOUNT_MAX, "its file system was mounted", || {
        let made = filesystem::ensure(device, kind)?;
        filesystem::mount(device, &at.mnt(), &MountSpec { kind, access: Access::ReadWrite })?;
        Ok(made)
    })
}

/// Whether its file system has stopped writing. One that cannot be looked at has not, as far as anybody knows.
pub(super) fn has_stopped(at: &Place, device: &Path, wanted: Filesystem) -> bool {
    filesystem::has_stopped(device, &at.mnt(), kind(wanted)).unwrap_or(false)
}

/// Lets device and file system be as large as what the head serves now.
pub(super) fn grow(at: &Place, device: &Path, wanted: Filesystem) -> Result<(), VolumeError> {
    let connection = connection(at)?;
    blockdev::follow_size(device, &at.file, connection, ANSWER_MAX)?;
    within(connection, MOUNT_MAX, "its file system grew", || {
        Ok(filesystem::grow(device, kind(wanted), filesystem::Place::Mounted(&at.mnt()))?)
    })
}

/// Lets everything fail that waits for the head, or comes later.
pub(super) fn abort(at: &Place) -> Result<(), VolumeError> {
    Ok(Connection::at(at.served())?.map_or(Ok(()), Connection::abort)?)
}

/// Takes file system and device away. Nothing there is fine.
pub(super) fn detach(at: &Place, held: Option<BlockDevice>, hung: Hung) -> Result<(), VolumeError> {
    let connection = Connection::at(at.served())?;
    if let (Hung::Abort, Some(connection)) = (hung, connection) {
        connection.abort()?;
    }
    // Closing a device waits for its head as well.
    drop(held);
    unmount_all(&at.mnt())?;
    Ok(blockdev::detach(&at.file, hung, DETACH_MAX)?)
}

/// Removes what is left of it on the host: folder, the control group of its processes, what is noted of its sessions. Its keeper is gone.
pub(super) fn leave(at: &Place, state_dir: &Path) -> Result<(), VolumeError> {
    // A machine without control groups has none of it.
    match head::remove_group(at.volume) {
        Ok(()) | Err(CgroupError::NotMounted(_)) => {}
        Err(error) => return Err(error.into()),
    }
    // One that was killed leaves its mount.
    unmount_all(at.served())?;
    remove_folder(at)?;
    if let Err(error) = head::leave(state_dir, &[at.volume]) {
        tracing::warn!(volume = %at.volume, %error, "the note of its last session stays");
    }
    Ok(())
}

fn remove_folder(at: &Place) -> Result<(), VolumeError> {
    // Removing through a mount would remove what is on the volume.
    for folder in [at.mnt(), at.served().to_path_buf()] {
        if mount::mounts_under(&folder)?.is_empty() {
            gone(fs::remove_dir(&folder), &folder)?;
        }
    }
    match mount::mounts_under(&at.folder)?.first() {
        None => gone(fs::remove_dir_all(&at.folder), &at.folder),
        Some(entry) => Err(FileError::of("unmount", &entry.target)(ErrorKind::ResourceBusy.into()).into()),
    }
}

fn gone(done: std::io::Result<()>, folder: &Path) -> Result<(), VolumeError> {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::of("remove", folder)(error).into()),
        _ => Ok(()),
    }
}

/// A mount on a mount would leave the lower one.
fn unmount_all(mnt: &Path) -> Result<(), VolumeError> {
    let deadline = Instant::now() + DETACH_MAX;
    while mount::mounts()?.iter().any(|entry| entry.target == mnt) && Instant::now() < deadline {
        // Somebody who looks around in it keeps the device, of which detaching tells; nobody gets in any more.
        mount::unmount(mnt, Busy::Detach)?;
    }
    Ok(())
}

fn within<T>(
    connection: Connection,
    limit: Duration,
    action: &'static str,
    work: impl FnOnce() -> Result<T, VolumeError>,
) -> Result<T, VolumeError> {
    match connection.within(limit, work) {
        InTime::Yes(result) => result,
        InTime::Aborted(_) => Err(VolumeError::NotServed { action, limit }),
    }
}

const fn kind(wanted: Filesystem) -> Kind {
    match wanted {
        Filesystem::Ext4 => Kind::Ext4,
        Filesystem::Xfs => Kind::Xfs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_done_something_when_requests_end_and_not_when_they_begin() {
        let before = "   10  0  80  4  5  0  40  9  3  20  30  1  0  8  0  2  1";
        // More in flight, and more time spent on it.
        assert_eq!(done(before), done("   10  0  80  4  5  0  40  9  4  25  99  1  0  8  0  2  7"));
        for after in [
            "   10  0  80  4  6  0  48  9  3  20  30  1  0  8  0  2  1",
            "   10  0  80  4  5  0  40  9  3  20  30  1  0  8  0  3  1",
            "   10  0  80  4  5  0  40  9  3  20  30  2  0 16  0  2  1",
        ] {
            assert!(done(after) > done(before), "{after}");
        }
        assert_eq!(done(""), 0);
    }
}
