//! UDP sockets with kernel receive timestamps (`SO_TIMESTAMPNS`, socket(7)), and the boot clock.

use crate::listen::{Over, explained};
use crate::realtime::udp_on_device;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, getsockname, recvmsg, setsockopt, socket,
    sockopt,
};
use nix::time::{ClockId, clock_gettime};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Kernel receive buffer: room for every host of a large PAN at once, so that a stall of ours drops nothing.
const BUFFER_BYTES: usize = 8 << 20;

/// Kernel send buffer: datagrams to a neighbour that does not answer wait for its address, for three seconds and up to
/// `net.ipv4.neigh.*.unres_qlen_bytes` (208 KiB) each, and count against the buffer of the socket that sent them. The usual 208 KiB are full when three
/// hosts are without power, and then nobody else gets anything either: this is room for eighty (the kernel doubles it, socket(7)).
const WAITING_BYTES: usize = 8 << 20;

/// Traffic class of membership, Class Selector 6 (RFC 2474, RFC 4594: network control), in the upper six bits: a switch that looks at it
/// lets these few small datagrams pass before what fills its queues.
const TRAFFIC_CLASS: i32 = 48 << 2;

/// The same for this host's own queues, socket(7): the highest that needs no right, `TC_PRIO_INTERACTIVE`; 7 is the kernel's.
const QUEUE_PRIORITY: i32 = 6;

/// A bound socket whose datagrams carry the time at which the kernel received them.
#[derive(Debug)]
pub struct BeatSocket {
    socket: UdpSocket,
}

/// Nanoseconds of `CLOCK_BOOTTIME` (clock_gettime(2)): monotonic, counts suspend.
#[must_use]
pub fn boot_clock() -> u64 {
    nanos(ClockId::CLOCK_BOOTTIME)
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("these clocks exist on every supported kernel");
    u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX)
}

fn cannot_hear(address: SocketAddr, error: nix::Error) -> io::Error {
    let why = explained(address, Over::Udp, error);
    io::Error::new(why.kind(), format!("cannot receive at {address}: {why}"))
}

impl BeatSocket {
    /// Binds a socket to an address, which need not be on an interface yet (ip(7): `IP_FREEBIND`; the same for IPv6): what is sent before
    /// is an error, and what is received begins to come when the address does.
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and setsockopt(2); the port is taken, for one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let made = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
        // One flag of the socket stands for both families; the kernel takes it at the level of IPv4 from both.
        setsockopt(&made, sockopt::IpFreebind, &true)?;
        bind(made.as_raw_fd(), &SockaddrStorage::from(address)).map_err(|error| cannot_hear(address, error))?;
        Self::equip(made.into())
    }

    /// Binds a socket to one interface as well (`SO_BINDTODEVICE`).
    ///
    /// # Errors
    /// There is no such interface now, it does not have the address, or the port is taken.
    pub fn on_device(device: &str, local: SocketAddr) -> io::Result<Self> {
        Self::equip(udp_on_device(device, local)?)
    }

    fn equip(socket: UdpSocket) -> io::Result<Self> {
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        // Without the right to exceed the limit the ordinary one has to do.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES);
        Ok(Self::adopt(socket.into()))
    }

    /// Takes over a socket that another process made so.
    #[must_use]
    pub fn adopt(socket: OwnedFd) -> Self {
        // The process that made it may be of an earlier release.
        let _ = setsockopt(&socket, sockopt::SndBufForce, &WAITING_BYTES);
        prefer(&socket);
        Self { socket: UdpSocket::from(socket) }
    }

    /// The next waiting datagram. `None`: none waits.
    ///
    /// # Errors
    /// Those of recvmsg(2) but for "none waits".
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Arrived>> {
        let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
        let mut slices = [IoSliceMut::new(buffer)];
        let message = match recvmsg::<SockaddrStorage>(self.socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_DONTWAIT) {
            Ok(message) => message,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => u64::try_from(Duration::from(stamp).as_nanos()).ok(),
            _ => None,
        });
        // The stamp is wall-clock time: what matters is how old it is, measured on the same clock.
        let age = stamp.map_or(0, |stamp| nanos(ClockId::CLOCK_REALTIME).saturating_sub(stamp));
        let from = message.address.and_then(|address| {
            address
                .as_sockaddr_in()
                .map(|v4| SocketAddr::V4((*v4).into()))
                .or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
        });
        Ok(Some(Arrived { bytes: message.bytes, at: boot_clock().saturating_sub(age), from }))
    }

    /// Sends a datagram, or drops it when the queue is full or nobody is there: whoever sends these sends again. False: it was dropped.
    ///
    /// # Errors
    /// Those of sendto(2) but for these.
    pub fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<bool> {
        match self.socket.send_to(datagram, to) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Lets a socket's datagrams pass before others where queues know them apart. A kernel that refuses only makes them ordinary.
fn prefer(socket: &OwnedFd) {
    let _ = match getsockname::<SockaddrStorage>(socket.as_raw_fd()).map(|own| own.as_sockaddr_in6().is_some()) {
        Ok(true) => setsockopt(socket, sockopt::Ipv6TClass, &TRAFFIC_CLASS),
        Ok(false) | Err(_) => setsockopt(socket, sockopt::Ipv4Tos, &TRAFFIC_CLASS),
    };
    // After the class, which sets a priority of its own.
    let _ = setsockopt(socket, sockopt::Priority, &QUEUE_PRIORITY);
}

impl AsFd for BeatSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A datagram that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// How many bytes of the buffer it fills.
    pub bytes: usize,
    /// When the kernel received it, in nanoseconds of the boot clock.
    pub at: u64,
    /// Who sent it.
    pub from: Option<SocketAddr>,
}

/// Ends a [`wait`] from another thread (eventfd(2)).
#[derive(Debug, Clone)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// Makes one.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new() -> io::Result<Self> {
        let made = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self(Arc::new(made)))
    }

    /// Ends the present wait, or the next one.
    pub fn wake(&self) {
        // It fails only when it was called 2^64 times unheard.
        let _ = self.0.write(1);
    }
}

/// Waits until a datagram is there, `waker` was called, or the time is up.
///
/// # Errors
/// Those of poll(2).
pub fn wait<'a>(sockets: impl IntoIterator<Item = &'a BeatSocket>, waker: &Waker, at_most: Duration) -> io::Result<()> {
    wait_for(sockets.into_iter().map(AsFd::as_fd), waker, at_most)
}

/// The same for whatever can be read from.
///
/// # Errors
/// Those of poll(2).
pub fn wait_for<'a>(sources: impl IntoIterator<Item = BorrowedFd<'a>>, waker: &Waker, at_most: Duration) -> io::Result<()> {
    let mut set: Vec<PollFd<'_>> = sources.into_iter().map(|source| PollFd::new(source, PollFlags::POLLIN)).collect();
    set.push(PollFd::new(waker.0.as_fd(), PollFlags::POLLIN));
    let at_most = nix::sys::time::TimeSpec::from_duration(at_most);
    match ppoll(&mut set, Some(at_most), None) {
        Ok(_) | Err(nix::Error::EINTR) => {
            // Empty already, unless somebody called.
            let _ = waker.0.read();
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
