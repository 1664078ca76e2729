//! The kernel's block devices over NBD connections: `/dev/nbdN`, attached by netlink.
//!
//! Sources of all numbers and layouts: linux/nbd-netlink.h, linux/nbd.h, linux/genetlink.h. It does not speak NBD: the
//! sockets it is given are past the handshake. Many kernels have no nbd, which is said at [`Nbd::open`] and is no failure
//! of the machine: there are other ways to a block device.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use netlink_packet_core::NLM_F_ACK;
use netlink_sys::protocols::NETLINK_GENERIC;

use crate::netlink::{Channel, Refusal, attributes, find};
use crate::nfnetlink::{Message, NFGENMSG_LEN};

const CONTROL_FAMILY: u16 = 0x10;
const CONTROL_VERSION: u8 = 2;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

const NAME: &str = "nbd";
const VERSION: u8 = 1;

const CONNECT: u8 = 1;
const DISCONNECT: u8 = 2;
const RECONFIGURE: u8 = 3;
const STATUS: u8 = 5;

const INDEX: u16 = 1;
const SIZE_BYTES: u16 = 2;
const BLOCK_SIZE_BYTES: u16 = 3;
const TIMEOUT: u16 = 4;
const SERVER_FLAGS: u16 = 5;
const SOCKETS: u16 = 7;
const DEAD_CONN_TIMEOUT: u16 = 8;
const DEVICE_LIST: u16 = 9;
const SOCK_ITEM: u16 = 1;
const SOCK_FD: u16 = 1;
const DEVICE_ITEM: u16 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_CONNECTED: u16 = 2;

/// A device's number: 3 is `/dev/nbd3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NbdIndex(pub u32);

impl NbdIndex {
    /// The device's node.
    #[must_use]
    pub fn path(self) -> PathBuf {
        PathBuf::from(format!("/dev/nbd{}", self.0))
    }
}

/// A device the kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NbdDevice {
    pub index: NbdIndex,
    pub state: NbdState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NbdState {
    Connected,
    Free,
}

/// How long the kernel waits, in whole seconds: it knows no less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NbdPatience {
    /// For the answer to one request, until its connection counts as dead.
    pub request: Duration,
    /// For a new connection ([`Nbd::reconfigure`]) after the last one died, until requests fail. Meanwhile they wait.
    pub reconnect: Duration,
}

/// A device to be.
#[derive(Debug)]
pub struct NbdConnect<'a> {
    /// In bytes.
    pub size: u64,
    /// The device's logical block size, in bytes.
    pub block_size: u32,
    /// The export's transmission flags.
    pub flags: u16,
    pub patience: NbdPatience,
    /// Past the handshake, for simple replies. More than one only if the export's flags say `CAN_MULTI_CONN`.
    pub sockets: &'a [BorrowedFd<'a>],
}

/// What did not work.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// The family is there only in the machine's own network namespace, so the same is said elsewhere.
    #[error("this kernel offers no nbd here: neither built in nor loadable, or this is not the machine's own network namespace")]
    Absent,
    #[error("cannot {action}: {detail}{source}")]
    Refused { action: &'static str, detail: String, source: io::Error },
    #[error("cannot {action}: {source}")]
    Io { action: &'static str, source: io::Error },
}

impl NbdError {
    fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    fn refused(action: &'static str, refusal: &Refusal) -> Self {
        let detail = if refusal.detail.is_empty() { String::new() } else { format!("{}: ", refusal.detail) };
        Self::Refused { action, detail, source: refusal.to_io() }
    }
}

/// A way to the kernel's nbd.
#[derive(Debug)]
pub struct Nbd {
    channel: Channel,
    family: u16,
}

impl Nbd {
    /// # Errors
    /// [`NbdError::Absent`] where there is none; the kernel has then tried to load it.
    pub fn open() -> Result<Self, NbdError> {
        let action = "look for nbd";
        let mut channel = Channel::open(NETLINK_GENERIC).map_err(NbdError::io(action))?;
        let mut request = Message::generic(CONTROL_FAMILY, NLM_F_ACK, GET_FAMILY, CONTROL_VERSION);
        request.push_text(FAMILY_NAME, NAME);
        match exchange(&mut channel, request, |body| find(body, FAMILY_ID).and_then(|id| id.try_into().ok()).map(u16::from_ne_bytes)) {
            Ok(Ok(Some(family))) => Ok(Self { channel, family }),
            Ok(Ok(None)) => Err(NbdError::Absent),
            Ok(Err(refusal)) if refusal.errno == libc::ENOENT => Err(NbdError::Absent),
            Ok(Err(refusal)) => Err(NbdError::refused(action, &refusal)),
            Err(source) => Err(NbdError::Io { action, source }),
        }
    }

    /// Attaches a device that was free.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn connect(&mut self, device: &NbdConnect<'_>) -> Result<NbdIndex, NbdError> {
        let action = "attach an nbd device";
        let index = self.ask(action, connect(self.family, device), |body| find(body, INDEX).and_then(number))?;
        index.map(NbdIndex).ok_or_else(|| NbdError::Io { action, source: io::Error::other("the kernel names no device") })
    }

    /// Gives a device whose connections died new ones; requests that waited are sent again.
    ///
    /// # Errors
    /// The kernel refuses: no such device, or none of its connections is dead.
    pub fn reconfigure(&mut self, index: NbdIndex, sockets: &[BorrowedFd<'_>], patience: NbdPatience) -> Result<(), NbdError> {
        let mut request = Message::generic(self.family, NLM_F_ACK, RECONFIGURE, VERSION);
        request.push(INDEX, &index.0.to_ne_bytes());
        push_patience(&mut request, patience);
        push_sockets(&mut request, sockets);
        self.ask("reconnect an nbd device", request, |_| None::<()>).map(|_| ())
    }

    /// Detaches a device; what waits in it fails.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn disconnect(&mut self, index: NbdIndex) -> Result<(), NbdError> {
        let mut request = Message::generic(self.family, NLM_F_ACK, DISCONNECT, VERSION);
        request.push(INDEX, &index.0.to_ne_bytes());
        self.ask("detach an nbd device", request, |_| None::<()>).map(|_| ())
    }

    /// All devices there are.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn status(&mut self) -> Result<Vec<NbdDevice>, NbdError> {
        let request = Message::generic(self.family, NLM_F_ACK, STATUS, VERSION);
        Ok(self.ask("list nbd devices", request, |body| Some(devices(body)))?.unwrap_or_default())
    }

    fn ask<T>(&mut self, action: &'static str, request: Message, read: impl FnMut(&[u8]) -> Option<T>) -> Result<Option<T>, NbdError> {
        let answer = exchange(&mut self.channel, request, read).map_err(NbdError::io(action))?;
        answer.map_err(|refusal| NbdError::refused(action, &refusal))
    }
}

/// Sends a request; what `read` finds in the attributes of the answers, the last of it.
fn exchange<T>(
    channel: &mut Channel,
    request: Message,
    mut read: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Result<Option<T>, Refusal>> {
    let mut found = None;
    let ack = channel.exchange(&mut request.finish(), |message| {
        if let Some(body) = message.payload().get(NFGENMSG_LEN..) {
            found = read(body).or(found.take());
        }
        Ok(())
    })?;
    Ok(ack.map(|()| found))
}

fn connect(family: u16, device: &NbdConnect<'_>) -> Message {
    let mut request = Message::generic(family, NLM_F_ACK, CONNECT, VERSION);
    request.push(SIZE_BYTES, &device.size.to_ne_bytes());
    request.push(BLOCK_SIZE_BYTES, &u64::from(device.block_size).to_ne_bytes());
    request.push(SERVER_FLAGS, &u64::from(device.flags).to_ne_bytes());
    push_patience(&mut request, device.patience);
    push_sockets(&mut request, device.sockets);
    request
}

fn push_patience(request: &mut Message, patience: NbdPatience) {
    // Zero would be for ever, so what is less than a second becomes one.
    let seconds = |duration: Duration| duration.as_millis().div_ceil(1000).max(1).min(u128::from(u32::MAX)) as u64;
    request.push(TIMEOUT, &seconds(patience.request).to_ne_bytes());
    request.push(DEAD_CONN_TIMEOUT, &seconds(patience.reconnect).to_ne_bytes());
}

fn push_sockets(request: &mut Message, sockets: &[BorrowedFd<'_>]) {
    request.nest(SOCKETS, |list| {
        for socket in sockets {
            list.nest(SOCK_ITEM, |item| {
                item.push(SOCK_FD, &socket.as_raw_fd().to_ne_bytes());
            });
        }
    });
}

fn devices(body: &[u8]) -> Vec<NbdDevice> {
    let list = find(body, DEVICE_LIST).unwrap_or_default();
    let items = attributes(list).filter(|(kind, _)| *kind == DEVICE_ITEM);
    let device = |(_, item)| {
        let index = NbdIndex(number(find(item, DEVICE_INDEX)?)?);
        let connected = find(item, DEVICE_CONNECTED)?.first()? != &0;
        Some(NbdDevice { index, state: if connected { NbdState::Connected } else { NbdState::Free } })
    };
    items.filter_map(device).collect()
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_kernel_without_nbd_says_so_and_one_with_it_lists_its_devices() {
        match Nbd::open() {
            Err(NbdError::Absent) => assert!(!std::path::Path::new("/sys/module/nbd").exists(), "said to be absent, and it is there"),
            Err(other) => panic!("{other}"),
            Ok(mut nbd) => drop(nbd.status().unwrap()),
        }
    }

    #[test]
    fn a_device_is_asked_for_as_the_header_has_it() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let patience = NbdPatience { request: Duration::from_millis(1500), reconnect: Duration::ZERO };
        let device = NbdConnect { size: 1 << 30, block_size: 4096, flags: 0x0d6d, patience, sockets: &[one.as_fd()] };
        let request = connect(0x22, &device).finish();
        let nested = 0x8000;
        let socket = attribute(SOCK_ITEM | nested, &attribute(SOCK_FD, &one.as_raw_fd().to_ne_bytes()));
        let expected = [
            attribute(2, &(1_u64 << 30).to_ne_bytes()),
            attribute(3, &4096_u64.to_ne_bytes()),
            attribute(5, &0x0d6d_u64.to_ne_bytes()),
            attribute(4, &2_u64.to_ne_bytes()),
            attribute(8, &1_u64.to_ne_bytes()),
            attribute(7 | nested, &socket),
        ]
        .concat();
        assert_eq!(request[16..20], [CONNECT, VERSION, 0, 0]);
        assert_eq!(request[20..], expected);
        assert_eq!(request[4..6], 0x22_u16.to_ne_bytes());
    }

    #[test]
    fn the_list_of_devices_is_read() {
        let item = |index: u32, connected: u8| {
            attribute(DEVICE_ITEM, &[attribute(DEVICE_INDEX, &index.to_ne_bytes()), attribute(DEVICE_CONNECTED, &[connected])].concat())
        };
        let body = attribute(DEVICE_LIST, &[item(0, 1), item(7, 0)].concat());
        let device = |index, state| NbdDevice { index: NbdIndex(index), state };
        assert_eq!(devices(&body), [device(0, NbdState::Connected), device(7, NbdState::Free)]);
        assert_eq!(devices(&[1, 2, 3]), []);
        assert_eq!(NbdIndex(7).path(), PathBuf::from("/dev/nbd7"));
    }
}
