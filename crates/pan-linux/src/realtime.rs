//! What a process needs that must keep time on a loaded machine: the clock that counts suspend, sleeping
//! until a point on it, real-time scheduling, locked memory, and sockets tied to one interface.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

/// The time since boot, suspend included (`CLOCK_BOOTTIME` of clock_gettime(2)).
///
/// # Panics
/// Never on Linux 2.6.39 or later, which all have this clock.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has a boot clock");
    Duration::from(now)
}

/// Sleeps until the boot clock shows `until`; returns at once if that has passed. An absolute sleep:
/// time lost before the call does not add up.
///
/// # Errors
/// The kernel refuses the clock.
pub fn sleep_until(until: Duration) -> io::Result<()> {
    let until = TimeSpec::from_duration(until);
    loop {
        let flags = ClockNanosleepFlags::TIMER_ABSTIME;
        match clock_nanosleep(ClockId::CLOCK_BOOTTIME, flags, &until) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Gives the calling thread first-in-first-out real-time scheduling, sched(7). Priorities go from 1 to
/// 99; all of them come before every ordinary process. Its children and new threads are ordinary again.
///
/// # Errors
/// Not permitted, or no such priority.
pub fn schedule_fifo(priority: i32) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameter outlives the call; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Keeps all memory of the process, present and future, from being paged out, mlockall(2).
///
/// # Errors
/// Not permitted, or more memory than may be locked.
pub fn lock_memory() -> io::Result<()> {
    Ok(mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)?)
}

/// Says that the calling thread, and every thread it starts, does the I/O that memory is freed by: what it allocates never
/// waits for such I/O, and it is not slowed down for making pages dirty, prctl(2) `PR_SET_IO_FLUSHER`.
///
/// # Errors
/// Not permitted (CAP_SYS_RESOURCE), or a kernel before 5.6.
pub fn set_io_flusher() -> io::Result<()> {
    const PR_SET_IO_FLUSHER: libc::c_int = 57;
    // SAFETY: this prctl takes numbers only.
    match unsafe { libc::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Opens a UDP socket that never blocks, is bound to `local`, and sends and receives over the interface
/// `device` only (`SO_BINDTODEVICE` of socket(7)).
///
/// # Errors
/// There is no such interface now, it does not have the address, or the port is taken.
pub fn udp_on_device(device: &str, local: SocketAddr) -> io::Result<UdpSocket> {
    let family = match local {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    setsockopt(&fd, sockopt::BindToDevice, &OsString::from(device))?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(local))?;
    Ok(UdpSocket::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_to_a_point_in_time() {
        let until = since_boot() + Duration::from_millis(5);
        sleep_until(until).unwrap();
        assert!(since_boot() >= until);
        sleep_until(Duration::ZERO).unwrap();
    }

    #[test]
    fn a_missing_interface_is_an_error() {
        let local = "127.0.0.1:0".parse().unwrap();
        assert!(udp_on_device("no-such-dev", local).is_err());
        let socket = udp_on_device("lo", local).unwrap();
        assert!(socket.local_addr().unwrap().ip().is_loopback());
    }
}
