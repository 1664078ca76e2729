//! Listening sockets: opened here or handed over at start (the LISTEN_FDS protocol, sd_listen_fds(3)), and how fast
//! a connection to a dead peer ends.
#![allow(unsafe_code)]

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockopt, setsockopt, socket, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The first descriptor handed over (sd_listen_fds(3)).
const FIRST: RawFd = 3;
/// More than any caller hands over; bounds what a stray variable can claim.
const COUNT_MAX: RawFd = 64;
/// Connections that wait to be accepted: a PAN's hosts all come back at once when a controller does.
const BACKLOG: i32 = 1024;
/// Keep-alive probes that may stay unanswered.
const PROBES: u32 = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The listening TCP sockets handed over in LISTEN_FDS, closed on exec from now on. Empty when there are none,
/// when LISTEN_PID names another process, and from the second call on: each socket is given out once.
///
/// Whoever set the variable must have handed over that many descriptors, since a listening socket that the process
/// opened itself could not be told from one of them. Descriptors that are not listening TCP sockets are left alone.
#[must_use]
pub fn inherited() -> Vec<TcpListener> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<RawFd>().ok());
    let foreign = std::env::var_os("LISTEN_PID").is_some()
        && number("LISTEN_PID").and_then(|pid| u32::try_from(pid).ok()) != Some(std::process::id());
    if foreign || TAKEN.swap(true, Ordering::AcqRel) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, COUNT_MAX);
    (FIRST..FIRST + count).filter_map(adopt).collect()
}

fn adopt(number: RawFd) -> Option<TcpListener> {
    // SAFETY: the borrow ends with this function's checks; fcntl and getsockopt on a closed number fail with EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let listening = getsockopt(&borrowed, sockopt::AcceptConn).ok()?;
    let kind = getsockopt(&borrowed, sockopt::SockType).ok()?;
    if !listening || kind != SockType::Stream {
        return None;
    }
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: the protocol makes this process the owner of the number, and TAKEN lets only one call come here.
    Some(unsafe { TcpListener::from_raw_fd(number) })
}

/// Listens on a TCP address, which need not be on an interface yet (ip(7): IP_FREEBIND; the same for IPv6): a host's
/// own addresses may come after its programs.
///
/// # Errors
/// What socket(2), bind(2) and listen(2) say; the address is in use, for one.
pub fn listen(address: SocketAddr) -> nix::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    // One flag of the socket stands for both families; the kernel takes it at the level of IPv4 from both.
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    nix::sys::socket::listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(TcpListener::from(socket))
}

/// Why an address cannot be listened on, with what to do if its port is taken.
#[must_use]
pub fn explained(address: SocketAddr, over: Over, error: nix::Error) -> io::Error {
    let source = io::Error::from(error);
    if error != nix::Error::EADDRINUSE {
        return source;
    }
    let flag = match over {
        Over::Tcp => "-ltnp",
        Over::Udp => "-lunp",
    };
    let port = address.port();
    io::Error::new(source.kind(), format!("{source}; another program has the port: `ss {flag} 'sport = :{port}'` shows which, stop it"))
}

/// What is listened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Makes an idle connection end about `dead` (whole seconds, at least one a probe) after its peer is gone (tcp(7): SO_KEEPALIVE).
///
/// # Errors
/// What setsockopt(2) says; not a TCP socket, for one.
pub fn probe_when_idle(socket: &impl AsFd, dead: Duration) -> nix::Result<()> {
    let between = u32::try_from(dead.as_secs() / u64::from(PROBES)).unwrap_or(u32::MAX).max(1);
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &between)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &between)?;
    setsockopt(socket, sockopt::TcpKeepCount, &PROBES)
}

/// As [`probe_when_idle`], and ends the connection also when data was not taken for that long (tcp(7): TCP_USER_TIMEOUT):
/// by a peer that is gone, and just as well by one that is there but does not read.
///
/// # Errors
/// As [`probe_when_idle`].
pub fn end_when_dead(socket: &impl AsFd, dead: Duration) -> nix::Result<()> {
    probe_when_idle(socket, dead)?;
    setsockopt(socket, sockopt::TcpUserTimeout, &u32::try_from(dead.as_millis()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_connection_can_be_told_to_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        end_when_dead(&stream, Duration::from_secs(3)).unwrap();
        assert_eq!(getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(), 3000);
        assert!(end_when_dead(&std::fs::File::open("/dev/null").unwrap(), Duration::from_secs(3)).is_err());
    }

    #[test]
    fn an_address_may_come_later() {
        // TEST-NET-1 and the documentation prefix: on no machine's interfaces.
        for address in ["192.0.2.1:0", "[2001:db8::1]:0", "127.0.0.1:0"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(listen(address).unwrap().local_addr().unwrap().ip(), address.ip());
        }
        let taken = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        let error = listen(address).unwrap_err();
        assert_eq!(error, nix::Error::EADDRINUSE);
        let (said, port) = (explained(address, Over::Tcp, error).to_string(), address.port());
        assert!(said.contains(&format!("`ss -ltnp 'sport = :{port}'`")), "{said}");
        assert!(!explained(address, Over::Udp, nix::Error::EACCES).to_string().contains("ss "));
    }

    /// Child half of the next test: alone in its process, started with a listener at descriptor 3.
    #[test]
    #[ignore = "run by sockets_are_taken_over in a process of its own"]
    fn child_takes_over() {
        let sockets = inherited();
        let ports: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        println!("ports {ports:?} again {}", inherited().len());
    }

    #[test]
    fn sockets_are_taken_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // Descriptor 3 is the listener, 4 is not a socket: only the first may be taken.
        let script = "exec 3<&0 4</dev/null 0</dev/null; exec \"$@\"";
        let run = |pid: Option<&str>| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script, "sh"]).arg(std::env::current_exe().unwrap());
            command.args(["--exact", "--ignored", "--nocapture", "listen::tests::child_takes_over"]);
            command.env("LISTEN_FDS", "2").stdin(std::os::fd::OwnedFd::from(listener.try_clone().unwrap()));
            pid.map(|pid| command.env("LISTEN_PID", pid));
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        let told = run(None);
        assert!(told.contains(&format!("ports [{port}] again 0")), "{told}");
        let told = run(Some("1"));
        assert!(told.contains("ports [] again 0"), "{told}");
    }
}
