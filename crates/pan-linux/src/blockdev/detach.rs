//! Taking away what attaching left, by whomever: it needs the path of the file and nothing that is remembered.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::BlockDeviceError;
use crate::fuse::{Connection, InTime};
use crate::loopdev::{self, LoopError};
use crate::mount::{self, Busy};

/// How often it is looked whether something is gone: the kernel lets go of files later than their users do, and tells nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What is done with a server that may not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hung {
    /// It answers; what is written goes out before the device goes. If it does not answer to what detaching itself writes,
    /// it is treated as the other one when the time is over; whoever else waits for it is left to wait.
    Wait,
    /// Whatever waits for it fails at once: it is fenced, or gone.
    Abort,
}

/// Detaches the device of a served file, unmounts the folder that the file is in, and makes sure that both are gone. File
/// systems on the device must have been unmounted, in every mount namespace. What is gone already is fine. Each of the
/// steps takes at most `limit`.
///
/// # Errors
/// Somebody still uses the device; it goes when they do, and a second call says whether it has. It is not harmed.
pub fn detach(file: &Path, hung: Hung, limit: Duration) -> Result<(), BlockDeviceError> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let connection = Connection::at(folder)?;
    if let (Hung::Abort, Some(connection)) = (hung, connection) {
        connection.abort()?;
    }
    let hung = clear(file, connection, hung, limit)?;
    // Held before it is unmounted: afterwards the number may be another's.
    let end = connection.map(Connection::end).transpose()?.flatten();
    unmount(folder, hung, limit)?;
    // A mount namespace that was copied meanwhile may have it still. Without a device nothing can be lost with it.
    end.map_or(Ok(()), |end| end.abort().map_err(Into::into))
}

/// Detaches every device of the file, waits until none is left, and says whether the server turned out to hang.
fn clear(file: &Path, connection: Option<Connection>, mut hung: Hung, limit: Duration) -> Result<Hung, BlockDeviceError> {
    let mut deadline = Instant::now() + limit;
    loop {
        let Some(device) = loopdev::attached_to(file).into_iter().next() else { return Ok(hung) };
        // This writes out what the device's own cache has, if nobody else uses it, and waits for that. Only this may end
        // the connection: a device that is merely in use is left to its users.
        let detached = match connection.map(|connection| connection.within(limit, || loopdev::detach(&device))) {
            None => loopdev::detach(&device),
            Some(InTime::Yes(result)) => result,
            Some(InTime::Aborted(result)) => {
                hung = Hung::Abort;
                deadline = Instant::now() + limit;
                result
            }
        };
        detached.map_err(|source| LoopError { action: "detach", backing: file.to_path_buf(), source })?;
        if loopdev::attached_to(file).is_empty() {
            return Ok(hung);
        }
        if Instant::now() >= deadline {
            return Err(BlockDeviceError::InUse { device, limit });
        }
        sleep(LOOK_AGAIN);
    }
}

fn unmount(folder: &Path, hung: Hung, limit: Duration) -> Result<(), BlockDeviceError> {
    let deadline = Instant::now() + limit;
    let busy = match hung {
        Hung::Wait => Busy::Refuse,
        Hung::Abort => Busy::Detach,
    };
    loop {
        if Connection::at(folder)?.is_none() {
            return Ok(());
        }
        match mount::unmount(folder, busy) {
            Err(mount::MountError::Unmount { source, .. }) if source.raw_os_error() == Some(libc::EBUSY) => {
                if Instant::now() >= deadline {
                    return Err(BlockDeviceError::InUse { device: folder.to_path_buf(), limit });
                }
                sleep(LOOK_AGAIN);
            }
            // Once more: there may be several, one on the other.
            result => result?,
        }
    }
}
