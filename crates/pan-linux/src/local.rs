//! Sockets of this machine, unix(7): reached without waiting, and whose they are.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Connects to a socket without waiting for whoever serves it.
///
/// # Errors
/// Nobody serves it (`NotFound`, `ConnectionRefused`), or who does takes no more connections (`WouldBlock`).
pub fn connect_at_once(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// The pid of the process that made the socket which a connection leads to, unix(7) `SO_PEERCRED`.
pub fn socket_owner(stream: &UnixStream) -> io::Result<i32> {
    Ok(getsockopt(stream, sockopt::PeerCredentials)?.pid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{Backlog, bind, listen};

    #[test]
    fn one_that_takes_nobody_up_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        assert_eq!(connect_at_once(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let server = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(server.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        assert_eq!(connect_at_once(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        listen(&server, Backlog::new(0).unwrap()).unwrap();
        let first = connect_at_once(&path).unwrap();
        assert_eq!(socket_owner(&first).unwrap(), i32::try_from(std::process::id()).unwrap());
        let full = (0..8).map(|_| connect_at_once(&path)).find_map(Result::err).expect("its queue has an end");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
