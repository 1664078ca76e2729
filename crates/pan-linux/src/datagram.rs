//! UDP sockets with kernel receive timestamps (`SO_TIMESTAMPNS`, socket(7)), and the boot clock.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Kernel receive buffer: room for every host of a large PAN at once, so that a stall of ours drops nothing.
const BUFFER_BYTES: usize = 8 << 20;

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

impl BeatSocket {
    /// Binds a socket.
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and setsockopt(2).
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        // Without the right to exceed the limit the ordinary one has to do.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES);
        Ok(Self { socket })
    }

    /// The next waiting datagram: its length, and when it arrived as nanoseconds of the boot clock. `None`: none waits.
    ///
    /// # Errors
    /// Those of recvmsg(2) but for "none waits".
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, u64)>> {
        let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
        let mut slices = [IoSliceMut::new(buffer)];
        let message = match recvmsg::<()>(self.socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_DONTWAIT) {
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
        Ok(Some((message.bytes, boot_clock().saturating_sub(age))))
    }
}

/// Waits until a datagram is there or the time is up.
///
/// # Errors
/// Those of poll(2).
pub fn wait(sockets: &[BeatSocket], at_most: Duration) -> io::Result<()> {
    let mut set: Vec<PollFd<'_>> = sockets.iter().map(|socket| PollFd::new(socket.socket.as_fd(), PollFlags::POLLIN)).collect();
    // Rounded up: waking before the deadline would only mean waking twice.
    let millis = u16::try_from(at_most.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
    match poll(&mut set, PollTimeout::from(millis)) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
