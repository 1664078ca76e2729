//! Loop devices. They belong to the whole machine, so whoever leaves one behind leaves it for everybody.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// `LOOP_CLR_FD` of linux/loop.h: detaches, now or when the last user closes it.
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;

/// A loop device that could not be detached.
#[derive(Debug, thiserror::Error)]
#[error("cannot detach {} from {}", device.display(), backing.display())]
pub struct LoopError {
    /// Such as `/dev/loop0`.
    pub device: PathBuf,
    /// The file behind it.
    pub backing: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Detaches every loop device whose backing file lies (or lay) under `folder`.
///
/// # Errors
/// The first device that refuses; the ones before it are detached.
pub fn detach_under(folder: &Path) -> Result<(), LoopError> {
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let Ok(text) = fs::read_to_string(entry.path().join("loop/backing_file")) else {
            continue;
        };
        let text = text.trim_end();
        let backing = PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(text));
        if backing.starts_with(folder) {
            let device = Path::new("/dev").join(entry.file_name());
            detach(&device).map_err(|source| LoopError { device, backing, source })?;
        }
    }
    Ok(())
}

fn detach(device: &Path) -> io::Result<()> {
    let file = File::open(device)?;
    // SAFETY: this request takes no argument.
    if unsafe { libc::ioctl(file.as_raw_fd(), LOOP_CLR_FD, 0) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // Detached by somebody else meanwhile.
        error if error.raw_os_error() == Some(libc::ENXIO) => Ok(()),
        error => Err(error),
    }
}
