//! The unix socket that is served.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why a socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot serve {}: another process does", path.display())]
    InUse { path: PathBuf },
    #[error("cannot serve {}: it is there and no socket", path.display())]
    NoSocket { path: PathBuf },
    #[error("cannot serve {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Makes the socket, for its owner alone. One that an earlier process left behind is replaced, one that is being served
/// is not.
///
/// The directory has to be the owner's alone, too: until the socket's mode is set it has the one of the umask.
///
/// # Errors
/// [`BindError`].
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed(source)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NoSocket { path: path.to_owned() }),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed)?,
            Ok(_) => return Err(BindError::InUse { path: path.to_owned() }),
            Err(source) => return Err(failed(source)),
        },
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}
