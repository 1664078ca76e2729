//! TAP interfaces: Ethernet ports whose other side is a program, see tuntap.rst of the kernel's documentation.
//!
//! They offer no offloads, so that every frame the program reads is whole: checksummed and no longer than the MTU.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::netns::{Netns, NetnsError};

/// `TUNSETIFF` of linux/if_tun.h: `_IOW('T', 202, int)`.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

/// Why a TAP interface could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The kernel refused.
    #[error("make the TAP interface {name}")]
    Make {
        /// Its name.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

/// Makes a TAP interface in a namespace. Each read(2) of the descriptor, which does not block, gives one frame that was
/// sent to the interface; each write(2) is one frame that it receives. The interface is gone when the last copy of the
/// descriptor is closed.
///
/// # Errors
/// The name is taken or too long, or /dev/net/tun is missing.
pub fn open(netns: &Netns, name: &str) -> Result<OwnedFd, TapError> {
    netns.run(|| make(name))?.map_err(|source| TapError::Make { name: name.to_owned(), source })
}

fn make(name: &str) -> io::Result<OwnedFd> {
    let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: ifreq is plain data for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name has 1 to 15 bytes"));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte as libc::c_char;
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the request reads and writes one ifreq, which lives through the call.
    if unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(device.into())
}
