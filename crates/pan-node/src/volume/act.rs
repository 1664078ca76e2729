//! Effects on this host for one volume, all of which block. Whatever touches a device waits in the kernel for the head that serves
//! it, where no signal reaches it: so each ends the connection when its time is over, and then fails.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pan_linux::blockdev::{self, AttachSpec, BlockDevice, Hung};
use pan_linux::filesystem::{self, Kind, Made, MountSpec};
use pan_linux::fuse::{Connection, InTime};
use pan_linux::loopdev::{self, Access};
use pan_linux::mount::{self, Busy};
use pan_model::volume::Filesystem;

use super::error::VolumeError;
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
/// What is left in memory is written out when it is unmounted: seconds of what storage takes.
const FLUSH_MAX: Duration = Duration::from_secs(30);
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
    let unmount = || {
        // Closing a device waits for its head as well.
        drop(held);
        unmount_all(&at.mnt())
    };
    match connection {
        Some(connection) => within(connection, FLUSH_MAX, "it was unmounted", unmount)?,
        None => unmount()?,
    }
    Ok(blockdev::detach(&at.file, hung, DETACH_MAX)?)
}

/// Removes what is left in the file system of the host. Its keeper is gone.
pub(super) fn leave(at: &Place, state_dir: &Path) -> Result<(), VolumeError> {
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
