//! Removing everything of a server that has ended, or that nobody knows any more.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::{ApplyError, cable, rootfs};
use crate::error::{FileError, chain};
use crate::host::Host;
use crate::names;
use crate::server::record::{Bound, Record, Stage};
use pan_model::ServerKey;

/// Removes container, cable and root file system. Kills what still runs. Left are its volumes, of which nobody makes use any more;
/// its record, see [`forget_record`]; and the log, which goes with the server's last binding here, see [`forget`].
pub(crate) fn release(host: &Host, bound: &Bound) -> Result<(), ApplyError> {
    let key = &bound.order.key;
    let at = host.paths.server(&names::id(key));
    Record::new(bound.clone(), Stage::Releasing).write(&at.record())?;
    super::end(host, key)?;
    host.meter.close(key);
    host.network.detach(&names::port(key));
    cable::remove(host, &bound.order)?;
    rootfs::unmount(&at)?;
    // Nothing of the server is left that could speak or write. Its layer is rubbish; a disk that refuses to take that away must
    // not keep the server here. The next start of it here, or of the agent, tries again.
    if let Err(error) = rootfs::wipe(&at) {
        tracing::error!(server = %key, error = chain(&error), "its writable layer stays behind");
    }
    Ok(())
}

/// Removes the record of a server of which nothing else is left, and its partition's user namespace if that was the last one.
pub(crate) fn forget_record(host: &Host, key: &ServerKey) -> Result<(), ApplyError> {
    let at = host.paths.server(&names::id(key));
    gone(fs::remove_dir_all(&at.run), "remove", &at.run)?;
    host.users.leave(&key.partition, &host.paths.records())
}

/// Removes a server's log.
pub(crate) fn forget(host: &Host, id: &str) -> Result<(), ApplyError> {
    let at = host.paths.server(id);
    gone(fs::remove_file(&at.log), "remove", &at.log)?;
    gone(fs::remove_file(at.log_old()), "remove", &at.log_old())
}

fn gone(done: std::io::Result<()>, action: &'static str, path: &Path) -> Result<(), ApplyError> {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::of(action, path)(error))?,
        _ => Ok(()),
    }
}
