//! From a served file to a block device.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::BlockDeviceError;
use crate::fuse::{Connection, InTime};
use crate::loopdev::{self, Access, LoopDevice, LoopSpec, Through};

/// What is attached, and how.
#[derive(Debug, Clone)]
pub struct AttachSpec {
    /// The served file. Its name must be one that no other file behind a loop device of this machine has: it is what the
    /// device is found by when nothing else is left.
    pub file: PathBuf,
    /// What users may do.
    pub access: Access,
    /// Bytes of a block; the same as the server shows.
    pub block: u32,
    /// How long the server may take to answer.
    pub limit: Duration,
}

/// An attached device. Dropping it detaches it, unless it is mounted: then the end of that does.
#[derive(Debug)]
pub struct BlockDevice {
    device: LoopDevice,
    file: PathBuf,
    connection: Connection,
    limit: Duration,
}

impl BlockDevice {
    /// Attaches a file that is served over `connection`.
    ///
    /// # Errors
    /// [`BlockDeviceError`]. If the server does not answer in time the connection is ended: detach, and begin anew.
    pub fn attach(spec: &AttachSpec, connection: Connection) -> Result<Self, BlockDeviceError> {
        let options = LoopSpec { access: spec.access, through: Through::Direct, block: spec.block };
        let device = in_time(connection, spec.limit, &spec.file, || LoopDevice::attach(&spec.file, &options))??;
        Ok(Self { device, file: spec.file.clone(), connection, limit: spec.limit })
    }

    /// Such as `/dev/loop3`.
    pub fn path(&self) -> &Path {
        self.device.path()
    }

    /// Lets the device be as large as its file, after the server was told the new size.
    ///
    /// # Errors
    /// The server does not answer, or the device has gone.
    pub fn follow_size(&self) -> Result<u64, BlockDeviceError> {
        follow_size(self.path(), &self.file, self.connection, self.limit)
    }
}

/// The same for a device that another process attached.
///
/// # Errors
/// The server does not answer, or the device has gone.
pub fn follow_size(device: &Path, file: &Path, connection: Connection, limit: Duration) -> Result<u64, BlockDeviceError> {
    // The driver takes what the kernel knows; looking is what lets it know.
    let look = || fs::metadata(file);
    let found = in_time(connection, limit, file, look)?;
    let failed = |source| BlockDeviceError::Io { action: "look at", path: file.to_path_buf(), source };
    let size = found.map_err(failed)?.len();
    in_time(connection, limit, file, || loopdev::follow_size(device))??;
    Ok(size)
}

fn in_time<T>(connection: Connection, limit: Duration, file: &Path, work: impl FnOnce() -> T) -> Result<T, BlockDeviceError> {
    match connection.within(limit, work) {
        InTime::Yes(result) => Ok(result),
        InTime::Aborted(_) => Err(BlockDeviceError::NotServed { file: file.to_path_buf(), limit }),
    }
}
