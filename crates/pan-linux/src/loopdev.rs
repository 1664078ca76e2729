//! Loop devices. They belong to the whole machine, so whoever leaves one behind leaves it for everybody.
//!
//! Source of all numbers and structures: linux/loop.h.
#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Detaches, now or when the last user closes it.
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
const LOOP_SET_STATUS64: libc::c_ulong = 0x4C04;
const LOOP_GET_STATUS64: libc::c_ulong = 0x4C05;
const LOOP_SET_CAPACITY: libc::c_ulong = 0x4C07;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LO_FLAGS_READ_ONLY: u32 = 1;
/// The device lets go of its file when its last user closes it.
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// What is written goes to the file without a second copy in the page cache.
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// Others take free devices at the same time; each round one of them gets its own.
const TRIES_MAX: u32 = 64;
/// How often a device is looked at while it is waited for: the kernel has no event for it.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A loop device that could not be attached or changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} a loop device for {}", backing.display())]
pub struct LoopError {
    /// What was tried.
    pub action: &'static str,
    /// The file behind it.
    pub backing: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl LoopError {
    fn of(action: &'static str, backing: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, backing: backing.to_path_buf(), source }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// What is written to a device may be done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anything.
    ReadWrite,
    /// Writes are refused.
    ReadOnly,
}

/// How the device reaches its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Through {
    /// Through the page cache.
    Cached,
    /// Past it, which the file's file system has to be able to do.
    Direct,
}

/// How a file becomes a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopSpec {
    /// What users may do.
    pub access: Access,
    /// How the file is reached.
    pub through: Through,
    /// Bytes of a block, for the device's users: a power of two from 512 to 4096.
    pub block: u32,
}

impl LoopSpec {
    /// As mount(8) would do it.
    pub const ORDINARY: Self = Self { access: Access::ReadWrite, through: Through::Cached, block: 512 };
}

/// An attached loop device. The kernel detaches it when this value is dropped and nobody else, such as a mount,
/// uses it any more.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    _open: File,
}

impl LoopDevice {
    /// Attaches a file to a free device.
    ///
    /// # Errors
    /// The file cannot be opened, or the machine has no loop devices (or gives none to this process).
    pub fn attach(file: &Path, spec: &LoopSpec) -> Result<Self, LoopError> {
        let failed = |action| LoopError::of(action, file);
        let write = spec.access == Access::ReadWrite;
        let backing = OpenOptions::new().read(true).write(write).open(file).map_err(failed("open the file behind"))?;
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control").map_err(failed("ask for"))?;
        for _ in 0..TRIES_MAX {
            // SAFETY: this request takes no argument.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
            if number < 0 {
                return Err(failed("find")(io::Error::last_os_error()));
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = OpenOptions::new().read(true).write(true).open(&path).map_err(failed("open"))?;
            match configure(&device, &backing, spec) {
                Ok(()) => return Ok(Self { path, _open: device }),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) => return Err(failed("attach")(error)),
            }
        }
        Err(failed("win")(io::Error::from_raw_os_error(libc::EBUSY)))
    }

    /// Lets the device be as large as its file is now.
    ///
    /// # Errors
    /// It is not attached any more.
    pub fn follow_size(&self) -> Result<(), LoopError> {
        follow_size(&self.path)
    }

    /// Such as `/dev/loop3`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn configure(device: &File, backing: &File, spec: &LoopSpec) -> io::Result<()> {
    // SAFETY: the structure is plain numbers, for which zeroes are valid.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = u32::try_from(backing.as_raw_fd()).expect("an open descriptor is not negative");
    config.block_size = spec.block;
    config.info.flags = LO_FLAGS_AUTOCLEAR;
    if spec.access == Access::ReadOnly {
        config.info.flags |= LO_FLAGS_READ_ONLY;
    }
    if spec.through == Through::Direct {
        config.info.flags |= LO_FLAGS_DIRECT_IO;
    }
    // SAFETY: the request reads one `loop_config`, which lives through the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets an attached device be as large as its file is now.
///
/// # Errors
/// There is no such device, or it is not attached.
pub fn follow_size(device: &Path) -> Result<(), LoopError> {
    let file = File::open(device).map_err(LoopError::of("open", device))?;
    // SAFETY: this request takes no argument.
    check(unsafe { libc::ioctl(file.as_raw_fd(), LOOP_SET_CAPACITY, 0) }).map_err(LoopError::of("enlarge", device))
}

/// Takes the medium out of a device that is in use: from now on it is one sector long, so that every read and write of its
/// users fails, for ever. What was written before has reached the file.
///
/// # Errors
/// There is no such device, or it is not attached.
pub fn pull(device: &Path) -> Result<(), LoopError> {
    let failed = |action| LoopError::of(action, device);
    let file = OpenOptions::new().read(true).write(true).open(device).map_err(failed("open"))?;
    // SAFETY: the structure is plain numbers, for which zeroes are valid.
    let mut info: LoopInfo = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes one `loop_info64`, which lives through the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) }).map_err(failed("look at"))?;
    info.size_limit = 512;
    // SAFETY: the request reads one `loop_info64`, which lives through the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), LOOP_SET_STATUS64, &raw const info) }).map_err(failed("shorten"))
}

/// Waits until no device has its file under `folder` (or is that file).
///
/// # Errors
/// One is still attached after `timeout`: something uses it.
pub fn wait_detached(folder: &Path, timeout: Duration) -> Result<(), LoopError> {
    let deadline = Instant::now() + timeout;
    loop {
        let Some((device, backing)) = attached_under(folder).into_iter().next() else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            let busy = format!("{} is still in use after {} s", device.display(), timeout.as_secs());
            return Err(LoopError { action: "wait for the end of", backing, source: io::Error::other(busy) });
        }
        sleep(LOOK_AGAIN);
    }
}

/// Detaches every loop device whose backing file lies (or lay) under `folder`. One that is in use goes when its last
/// user does, see [`wait_detached`].
///
/// # Errors
/// The first device that refuses; the ones before it are detached.
pub fn detach_under(folder: &Path) -> Result<(), LoopError> {
    for (device, backing) in attached_under(folder) {
        detach(&device).map_err(LoopError::of("detach", &backing))?;
    }
    Ok(())
}

/// The devices whose file is `file`, or was when it could still be seen: once its mount is gone the kernel shows a path
/// from the root of its file system only, so its name must be one that no other file behind a device has.
pub fn attached_to(file: &Path) -> Vec<PathBuf> {
    let bare = Path::new("/").join(file.file_name().unwrap_or_default());
    attached().filter(|(_, backing)| backing == file || *backing == bare).map(|(device, _)| device).collect()
}

/// Devices under a folder and the files behind them.
fn attached_under(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    attached().filter(|(_, backing)| backing.starts_with(folder)).collect()
}

/// Devices and the files behind them.
fn attached() -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let text = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        let text = text.trim_end();
        let backing = PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(text));
        Some((Path::new("/dev").join(entry.file_name()), backing))
    })
}

/// Detaches a device, now or when its last user closes it.
pub(crate) fn detach(device: &Path) -> io::Result<()> {
    let file = match File::open(device) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENOENT)) => return Ok(()),
        opened => opened?,
    };
    // SAFETY: this request takes no argument.
    match check(unsafe { libc::ioctl(file.as_raw_fd(), LOOP_CLR_FD, 0) }) {
        // Detached by somebody else meanwhile.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENOENT)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_structures_have_their_sizes() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 8 + 232 + 64);
    }
}
