//! Local sockets that keep the bounds of messages and carry descriptors (unix(7): SOCK_SEQPACKET, SCM_RIGHTS), and files
//! that are only memory (memfd_create(2)): what processes of one host hand each other.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect,
    getsockopt, listen, recvmsg, sendmsg, socket, sockopt,
};

/// Connections that wait to be accepted: whoever finds it full tries again.
const BACKLOG: i32 = 8;
/// Descriptors in one message; more than anybody here hands over.
const DESCRIPTORS_MAX: usize = 16;

/// Waits for connections; never blocks.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// One connection.
#[derive(Debug)]
pub struct Connection(OwnedFd);

/// What a connection had.
#[derive(Debug)]
pub enum Received {
    /// Nothing yet.
    Nothing,
    /// The other end is gone, and with it everybody who had it.
    End,
    /// A whole message of so many bytes, and what came with it.
    Message(usize, Vec<OwnedFd>),
}

/// Who is at the other end, as of when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

impl Listener {
    /// Listens at a path, in place of whatever is there. Only this user gets in.
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and listen(2).
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let fd = make(SockFlag::SOCK_NONBLOCK)?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        listen(&fd, Backlog::new(BACKLOG)?)?;
        Ok(Self(fd))
    }

    /// The next connection that waits, if any.
    ///
    /// # Errors
    /// Those of accept(2) but for "none waits".
    pub fn accept(&self) -> io::Result<Option<Connection>> {
        match accept4(self.0.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            // SAFETY: accept4 returned a new descriptor that nobody else owns.
            Ok(raw) => Ok(Some(Connection(unsafe { OwnedFd::from_raw_fd(raw) }))),
            Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ECONNABORTED) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Connection {
    /// Connects to whoever listens at the path.
    ///
    /// # Errors
    /// Nobody does, or those of connect(2).
    pub fn to(path: &Path) -> io::Result<Self> {
        let fd = make(SockFlag::empty())?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self(fd))
    }

    /// Sends one message with descriptors, at once or not at all.
    ///
    /// # Errors
    /// The other end is gone, or does not take it now.
    pub fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[] } else { &rights[..] };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        sendmsg::<UnixAddr>(self.0.as_raw_fd(), &[IoSlice::new(message)], control, flags, None)?;
        Ok(())
    }

    /// Takes the next message if it is there. One that is longer than the buffer is an error.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(message) => message,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(Received::Nothing),
            Err(nix::Error::ECONNRESET) => return Ok(Received::End),
            Err(error) => return Err(error.into()),
        };
        let mut descriptors = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                // SAFETY: the kernel made these descriptors for this process just now, and nobody else owns them.
                descriptors.extend(raw.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
            }
        }
        if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is longer than any expected"));
        }
        Ok(match message.bytes {
            0 => Received::End,
            bytes => Received::Message(bytes, descriptors),
        })
    }

    /// Waits for something to receive.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait(&self, at_most: Duration) -> io::Result<()> {
        let mut set = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut set, Some(nix::sys::time::TimeSpec::from_duration(at_most)), None) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn peer(&self) -> io::Result<Peer> {
        let found = getsockopt(&self.0, sockopt::PeerCredentials)?;
        Ok(Peer { pid: found.pid(), uid: found.uid() })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

fn make(flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | flags, None)?)
}

/// A file that is only memory, with this in it: messages are bounded, files are not.
///
/// # Errors
/// Those of memfd_create(2) and write(2).
pub fn memory_file(content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"pan", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    Ok(file.into())
}

/// What is in such a file, of at most `bytes_max`.
///
/// # Errors
/// It is longer, or those of read(2).
pub fn read_memory_file(fd: OwnedFd, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = File::from(fd);
    let length = file.metadata()?.len();
    if length > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes; expected at most {bytes_max}")));
    }
    let mut content = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    // From its beginning, wherever the writer left the common position.
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_whole_and_the_end_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = Listener::bind(&path).unwrap();
        assert!(listener.accept().unwrap().is_none());
        let client = Connection::to(&path).unwrap();
        let server = listener.accept().unwrap().unwrap();
        assert_eq!(server.peer().unwrap().pid, i32::try_from(std::process::id()).unwrap());
        let mut buffer = [0; 64];
        assert!(matches!(server.receive(&mut buffer).unwrap(), Received::Nothing));
        let file = memory_file(b"what is remembered").unwrap();
        client.send(b"first", &[file.as_fd()]).unwrap();
        client.send(b"second", &[]).unwrap();
        drop((client, file));
        server.wait(Duration::from_secs(5)).unwrap();
        let Received::Message(5, mut descriptors) = server.receive(&mut buffer).unwrap() else { panic!("the first message") };
        assert_eq!(read_memory_file(descriptors.pop().unwrap(), 100).unwrap(), b"what is remembered");
        assert!(matches!(server.receive(&mut buffer).unwrap(), Received::Message(6, none) if none.is_empty()));
        assert!(matches!(server.receive(&mut buffer).unwrap(), Received::End));
        assert!(read_memory_file(memory_file(b"four").unwrap(), 3).is_err());
        // Whoever listens anew takes the place.
        drop(listener);
        assert!(Connection::to(&path).is_err());
        let _again = Listener::bind(&path).unwrap();
        assert!(Connection::to(&path).is_ok());
    }
}
