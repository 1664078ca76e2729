//! Hosts' disks. What a host's roles keep lies on a file system of its own, in a file of the lab: it can be full or broken
//! while the machine's, and the other hosts', are not. It is mounted in the host and nowhere else, so it goes with it.
//!
//! Programs, configuration and logs are not on it: they are the lab's, shown to the host as folders beneath.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nix::unistd::{Whence, lseek};
use pan_linux::ext4::{self, Space};
use pan_linux::hostns;
use pan_linux::loopdev::{self, LoopDevice, LoopSpec};
use serde::{Deserialize, Serialize};

use crate::boot::DEATH_WAIT;
use crate::config::{OF_THE_LAB, STATE_DIR, home};
use crate::error::LabError;
use crate::lab::Lab;
use crate::name::LabHost;
use crate::state::InitProcess;

/// Room on each disk. The file is sparse: it takes what is written, at most this.
const BYTES: u64 = 16 << 30;

/// How a host's disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disk {
    /// It works.
    #[default]
    Ok,
    /// Whatever needs more space is refused (ENOSPC).
    Full,
    /// Reads and writes fail (EIO).
    Failed,
}

impl Disk {
    /// Its name in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Full => "full",
            Self::Failed => "failed",
        }
    }
}

/// The file a host's disk lies in.
fn image(data: &Path, host: LabHost) -> PathBuf {
    home(data, host).join("disk.img")
}

/// Makes a host's disk if it has none yet. Each is a copy of one that was made once.
pub(crate) fn ensure(data: &Path, host: LabHost) -> Result<(), LabError> {
    let image = image(data, host);
    if image.exists() {
        return Ok(());
    }
    let template = data.join("disk.img");
    if !template.exists() {
        let fresh = data.join("disk.new");
        ext4::make(&fresh, BYTES).map_err(LabError::kernel("make a disk"))?;
        fs::rename(&fresh, &template).map_err(LabError::file("rename", &fresh))?;
    }
    let fresh = image.with_extension("new");
    copy_sparse(&template, &fresh).map_err(LabError::file("copy the empty disk to", &fresh))?;
    fs::rename(&fresh, &image).map_err(LabError::file("rename", &fresh))
}

/// Copies what is written of a file and leaves its holes.
fn copy_sparse(from: &Path, to: &Path) -> io::Result<()> {
    let (mut source, mut target) = (File::open(from)?, File::create(to)?);
    target.set_len(source.metadata()?.len())?;
    let mut at = 0;
    loop {
        let start = match lseek(&source, at, Whence::SeekData) {
            Ok(start) => start,
            Err(nix::Error::ENXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        at = lseek(&source, start, Whence::SeekHole)?;
        let (first, length) = (start.cast_unsigned(), (at - start).cast_unsigned());
        source.seek(SeekFrom::Start(first))?;
        target.seek(SeekFrom::Start(first))?;
        io::copy(&mut (&source).take(length), &mut target)?;
        target.flush()?;
    }
}

/// Makes the disk of a host that boots a device.
pub(crate) fn attach(data: &Path, host: LabHost) -> Result<LoopDevice, LabError> {
    LoopDevice::attach(&image(data, host), &LoopSpec::ORDINARY).map_err(LabError::kernel(format!("attach the disk of host {host}")))
}

/// Waits until nothing of the machine uses the disk of a host that is off: a file system that is mounted twice at a time
/// destroys itself.
pub(crate) fn wait_idle(data: &Path, host: LabHost) -> Result<(), LabError> {
    loopdev::wait_detached(&image(data, host), DEATH_WAIT).map_err(LabError::kernel(format!("let go of the disk of host {host}")))
}

/// Brings the disk of a running host from one state to another.
pub(crate) fn turn(data: &Path, host: LabHost, init: InitProcess, from: Disk, to: Disk) -> Result<(), LabError> {
    let step = || format!("let the disk of host {host} be {}", to.as_str());
    let inside = PathBuf::from(format!("/proc/{}/root{STATE_DIR}", init.pid));
    let device = || {
        let missing = || LabError::NoDisk(host);
        hostns::disk_of(init.pid, STATE_DIR.as_ref()).ok_or_else(missing)
    };
    match (from, to) {
        (Disk::Failed, Disk::Failed) => return Ok(()),
        (Disk::Failed, Disk::Ok | Disk::Full) => {
            let fresh = attach(data, host)?;
            let kept = OF_THE_LAB.map(|folder| Path::new(STATE_DIR).join(folder));
            hostns::exchange_disk(init.pid, fresh.path(), STATE_DIR.as_ref(), &kept).map_err(LabError::kernel(step()))?;
        }
        (Disk::Ok | Disk::Full, Disk::Failed) => {
            let device = device()?;
            ext4::shut_down(&inside).map_err(LabError::kernel(step()))?;
            // What the dead file system still had to write must not reach the file once another one is at work on it.
            return loopdev::pull(&device).map_err(LabError::kernel(step()));
        }
        (Disk::Ok | Disk::Full, Disk::Ok | Disk::Full) => {}
    }
    let space = if to == Disk::Full { Space::Full } else { Space::Free };
    ext4::set_space(&device()?, &inside, space).map_err(LabError::kernel(step()))
}

impl Lab {
    /// Lets a host's disk be full, fail, or work again, at once; it stays so over a power cut.
    ///
    /// A failed disk that works again holds what was synced before. Whoever had files open on it must open them again: roles do so
    /// when they are started again, servers' writable layers when the servers are, everything after a boot of the host.
    pub fn disk(&self, host: LabHost, wanted: Disk) -> Result<(), LabError> {
        self.change(|state| {
            let entry = state.host_mut(host)?;
            if let Some(init) = entry.running() {
                turn(self.data(), host, init, entry.disk, wanted)?;
            }
            entry.disk = wanted;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn copies_keep_their_holes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let source = File::create(&from).unwrap();
        source.set_len(1 << 30).unwrap();
        source.write_all_at(b"first", 0).unwrap();
        source.write_all_at(b"later", 700 << 20).unwrap();
        copy_sparse(&from, &to).unwrap();
        let copy = File::open(&to).unwrap();
        let mut read = [0; 5];
        copy.read_exact_at(&mut read, 700 << 20).unwrap();
        assert_eq!(&read, b"later");
        copy.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(&read, b"first");
        let about = copy.metadata().unwrap();
        assert_eq!(about.len(), 1 << 30);
        assert!(about.blocks() * 512 < 1 << 20, "{} blocks", about.blocks());
    }
}
