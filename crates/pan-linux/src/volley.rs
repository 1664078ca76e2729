//! Many datagrams with one system call, sendmmsg(2): for whoever speaks for thousands of hosts.
#![allow(unsafe_code, reason = "sendmmsg(2) takes pointers")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Sends all datagrams over a connected socket, in their order, and says how many the kernel took. One that it refuses
/// because its queue is full or nobody is there is left out: whoever sends these sends again.
///
/// # Errors
/// Those of sendmmsg(2) but for these.
pub fn send_all<'a>(socket: &UdpSocket, datagrams: impl IntoIterator<Item = &'a [u8]>) -> io::Result<usize> {
    let mut slices: Vec<libc::iovec> =
        datagrams.into_iter().map(|bytes| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }).collect();
    let mut messages: Vec<libc::mmsghdr> = slices.iter_mut().map(message).collect();
    let (mut next, mut taken) = (0, 0);
    while next < messages.len() {
        let left = &mut messages[next..];
        let count = libc::c_uint::try_from(left.len()).unwrap_or(libc::c_uint::MAX);
        // SAFETY: each message points to one slice, each slice to a datagram, and all of them outlive the call, which only
        // reads the datagrams and writes the lengths of the messages.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), count, 0) };
        match usize::try_from(sent) {
            Ok(sent) => (next, taken) = (next + sent, taken + sent),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused) => next += 1,
                error => return Err(error),
            },
        }
    }
    Ok(taken)
}

fn message(slice: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zeroes are a message without address, data, ancillary data and flags.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = slice;
    message.msg_hdr.msg_iovlen = 1;
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_arrive_in_order_and_whole() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let datagrams: Vec<Vec<u8>> = (0..50).map(|number| vec![number; usize::from(number) + 1]).collect();
        assert_eq!(send_all(&sender, datagrams.iter().map(Vec::as_slice)).unwrap(), 50);
        for expected in &datagrams {
            let mut buffer = [0; 64];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected.as_slice());
        }
        assert_eq!(send_all(&sender, []).unwrap(), 0);
    }

    #[test]
    fn that_nobody_listens_is_no_error() {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(gone).unwrap();
        for _ in 0..3 {
            assert!(send_all(&sender, [&b"a"[..], b"b"]).unwrap() <= 2);
        }
    }
}
