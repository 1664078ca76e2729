//! The control socket's name: whose it is, and that it goes with whom it belongs to.

use socket2::{Domain, SockAddr, Type};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Why a control socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("cannot serve {}: another process does", path.display())]
    InUse {
        /// Its name.
        path: PathBuf,
    },
    /// There is something else of that name.
    #[error("cannot serve {}: it is there and no socket", path.display())]
    NoSocket {
        /// Its name.
        path: PathBuf,
    },
    /// The kernel says no.
    #[error("cannot serve {}", path.display())]
    Io {
        /// Its name.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// A control socket. Its name is taken away when this is dropped, if it is this one's still.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    identity: Identity,
}

/// Device and inode. No other file has them while the socket is open.
type Identity = (u64, u64);

impl Socket {
    /// Makes the socket, for its owner alone. One that an earlier process left behind is replaced, one that is being served is not.
    ///
    /// The folder has to be the owner's alone, too: until the socket's mode is set it has the one of the umask.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |source| BindError::Io { path: path.to_owned(), source };
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
            Ok(found) if !found.file_type().is_socket() => return Err(BindError::NoSocket { path: path.to_owned() }),
            Ok(_) if is_served(path).map_err(failed)? => return Err(BindError::InUse { path: path.to_owned() }),
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let identity = identity(path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), identity })
    }

    /// What connections come by.
    ///
    /// # Errors
    /// There are no descriptors, or the runtime cannot wait on it.
    pub(super) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The listener is open still: nobody else has replaced the name by a socket with the same number.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    path.symlink_metadata().map(|found| (found.dev(), found.ino()))
}

/// Whether somebody answers. One whose queue is full does, and is not waited for.
fn is_served(path: &Path) -> io::Result<bool> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn what_is_left_is_replaced_and_what_is_served_is_not() {
        let folder = folder();
        let path = folder.path().join("control");
        drop(UnixListener::bind(&path).unwrap());
        let served = Socket::bind(&path).unwrap();
        assert_eq!(path.symlink_metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Socket::bind(&path), Err(BindError::InUse { .. })));
        // It is asked as it was before.
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(served);
        assert!(!path.exists());
        let file = folder.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        assert!(matches!(Socket::bind(&file), Err(BindError::NoSocket { .. })));
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    }

    /// Nobody would wait for ever to be told that somebody is there.
    #[test]
    fn one_who_is_too_busy_to_answer_is_there() {
        let folder = folder();
        let path = folder.path().join("control");
        let busy = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        busy.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        busy.listen(0).unwrap();
        let _queued = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(BindError::InUse { .. })));
    }

    #[test]
    fn a_name_that_is_another_s_stays() {
        let folder = folder();
        let path = folder.path().join("control");
        let first = Socket::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = Socket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }
}
