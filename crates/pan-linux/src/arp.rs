//! Telling the neighbours on a link that an address is here now: gratuitous ARP (RFC 5227, section 3)
//! for IPv4, unsolicited neighbour advertisements (RFC 4861, section 7.2.6) for IPv6. And asking who has one: ARP probes (RFC 5227,
//! section 2.1) and the solicitations of duplicate address detection (RFC 4862, section 5.4), neither of which changes what anybody knows.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::time::TimeSpec;

use crate::netns::{Netns, NetnsError};
use crate::rtnl::Mac;

const BROADCAST: Mac = [0xff; 6];
/// The Ethernet address of ff02::1, all nodes (RFC 2464, section 7).
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ICMPV6: u8 = 58;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const NA_OVERRIDE: u8 = 0x20;

/// Why an address could not be announced or asked for.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// Nobody could be asked for it, or no answer be heard.
    #[error("ask for {address} on {device}")]
    Ask {
        /// The address.
        address: IpAddr,
        /// The interface.
        device: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The frame could not be sent.
    #[error("announce {address} on {device}")]
    Send {
        /// The address.
        address: IpAddr,
        /// The interface.
        device: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

/// Sends one announcement that `ip` has the Ethernet address `mac` out of `dev`. One can be lost, so
/// callers repeat it. The interface must be up; it needs no address of its own.
///
/// # Errors
/// The interface is not there or down, or the process may not send raw frames.
pub fn announce(ns: &Netns, dev: &str, ip: IpAddr, mac: Mac) -> Result<(), AnnounceError> {
    let frame = match ip {
        IpAddr::V4(ip) => gratuitous_arp(ip, mac),
        IpAddr::V6(ip) => neighbour_advertisement(ip, mac),
    };
    ns.run(|| Link::open(dev, 0)?.send(&frame))?.map_err(|source| AnnounceError::Send { address: ip, device: dev.to_owned(), source })
}

/// Between two questions: one may be lost.
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// Who has `ip` on the link of `dev`, by its Ethernet address: whoever says so first, within `patience`, while it is asked for every 2 ms.
/// `own` is the interface's Ethernet address; it needs no other. `None`: nobody said anything.
///
/// # Errors
/// The interface is not there or down, or the process may not send raw frames.
pub fn ask(ns: &Netns, dev: &str, (ip, own): (IpAddr, Mac), patience: Duration) -> Result<Option<Mac>, AnnounceError> {
    let question = match ip {
        IpAddr::V4(ip) => arp_probe(ip, own),
        IpAddr::V6(ip) => neighbour_solicitation(ip, own),
    };
    let asked = ns.run(|| {
        let link = Link::open(dev, u16::from_be_bytes([question[12], question[13]]))?;
        let (begun, mut next) = (Instant::now(), Duration::ZERO);
        loop {
            let passed = begun.elapsed();
            if passed >= patience {
                return Ok(None);
            }
            if passed >= next {
                link.send(&question)?;
                next = passed + ASK_AGAIN;
            }
            if let Some(mac) = link.heard(next.min(patience).saturating_sub(passed), |frame| answer(frame, ip))? {
                return Ok(Some(mac));
            }
        }
    });
    asked?.map_err(|source| AnnounceError::Ask { address: ip, device: dev.to_owned(), source })
}

fn arp_probe(ip: Ipv4Addr, own: Mac) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, own, libc::ETH_P_ARP as u16);
    // As an announcement, but from no address.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(own);
    frame.extend([0; 10]);
    frame.extend(ip.octets());
    frame
}

fn neighbour_solicitation(ip: Ipv6Addr, own: Mac) -> Vec<u8> {
    let [.., a, b, c] = ip.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let mut body = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    body.extend(ip.octets());
    let mut frame = ethernet([0x33, 0x33, 0xff, a, b, c], own, libc::ETH_P_IPV6 as u16);
    put_icmpv6(&mut frame, (Ipv6Addr::UNSPECIFIED, group), body);
    frame
}

/// The Ethernet address of whoever says in a frame that it has `ip`.
fn answer(frame: &[u8], ip: IpAddr) -> Option<Mac> {
    let payload = frame.get(14..)?;
    match ip {
        IpAddr::V4(ip) => {
            let reply = payload.get(..8)? == [0, 1, 8, 0, 6, 4, 0, 2] && payload.get(14..18)? == ip.octets();
            reply.then(|| payload.get(8..14)?.try_into().ok())?
        }
        IpAddr::V6(ip) => {
            let body = payload.get(40..).filter(|_| payload[6] == ICMPV6)?;
            let said = body.first() == Some(&NEIGHBOUR_ADVERTISEMENT) && body.get(8..24)? == ip.octets();
            // Option 2 with the address, or the one that sent the frame.
            let option = body.get(24..32).filter(|option| option[..2] == [2, 1]).map(|option| &option[2..]);
            said.then(|| option.unwrap_or(&frame[6..12]).try_into().ok())?
        }
    }
}

fn gratuitous_arp(ip: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, libc::ETH_P_ARP as u16);
    // Ethernet, IPv4, address lengths 6 and 4, operation 1 (request).
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(ip.octets());
    frame.extend([0; 6]);
    frame.extend(ip.octets());
    frame
}

fn neighbour_advertisement(ip: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let mut body = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, NA_OVERRIDE, 0, 0, 0];
    body.extend(ip.octets());
    // Option 2, target link-layer address, length in units of 8 bytes.
    body.extend([2, 1]);
    body.extend(mac);
    let mut frame = ethernet(ALL_NODES_MAC, mac, libc::ETH_P_IPV6 as u16);
    put_icmpv6(&mut frame, (ip, ALL_NODES), body);
    frame
}

/// Adds an IPv6 packet with this body, whose checksum is filled in.
fn put_icmpv6(frame: &mut Vec<u8>, (from, to): (Ipv6Addr, Ipv6Addr), mut body: Vec<u8>) {
    let sum = icmpv6_checksum(from, to, &body);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let length = u16::try_from(body.len()).expect("these have 32 bytes at most");
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    // The receiver insists on hop limit 255: proof that no router forwarded it.
    frame.extend([ICMPV6, 255]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(body);
}

fn ethernet(to: Mac, from: Mac, protocol: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(96);
    frame.extend(to);
    frame.extend(from);
    frame.extend(protocol.to_be_bytes());
    frame
}

/// The Internet checksum over pseudo header and body (RFC 8200, section 8.1).
fn icmpv6_checksum(from: Ipv6Addr, to: Ipv6Addr, body: &[u8]) -> u16 {
    let length = u32::try_from(body.len()).expect("a packet is short");
    let mut bytes = Vec::with_capacity(40 + body.len());
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0, 0, ICMPV6]);
    bytes.extend(body);
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A raw socket on one interface (packet(7)).
struct Link {
    socket: OwnedFd,
    index: i32,
}

impl Link {
    /// On the interface `dev` of the calling thread's namespace. It hears frames of `protocol`; of 0 none.
    fn open(dev: &str, protocol: u16) -> io::Result<Self> {
        let index = if_nametoindex(dev)? as i32;
        // SAFETY: socket(2) takes no pointers; the result is checked before it is used.
        let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` is a descriptor just opened and owned by nobody else.
        let link = Self { socket: unsafe { OwnedFd::from_raw_fd(raw) }, index };
        if protocol != 0 {
            let at = link.address(protocol);
            // SAFETY: `at` lives through the call, and the length given is its own.
            let bound = unsafe { libc::bind(link.socket.as_raw_fd(), (&raw const at).cast(), mem::size_of_val(&at) as libc::socklen_t) };
            if bound < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(link)
    }

    fn address(&self, protocol: u16) -> libc::sockaddr_ll {
        // SAFETY: sockaddr_ll is plain data for which all zeroes is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = self.index;
        address
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let mut to = self.address(u16::from_be_bytes([frame[12], frame[13]]));
        to.sll_halen = 6;
        to.sll_addr[..6].copy_from_slice(&frame[..6]);
        // SAFETY: `frame` and `to` live through the call, and the lengths given are theirs.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// What `read` makes of the first frame that it makes something of; `None` after `at_most`.
    fn heard<T>(&self, at_most: Duration, read: impl Fn(&[u8]) -> Option<T>) -> io::Result<Option<T>> {
        let mut set = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut set, Some(TimeSpec::from_duration(at_most)), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 256];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => match read(&buffer[..length]) {
                    None => {}
                    some => return Ok(some),
                },
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correct_checksum_sums_to_zero() {
        let ip: Ipv6Addr = "fd00::10".parse().unwrap();
        let frame = neighbour_advertisement(ip, [2, 0, 0, 0, 0, 1]);
        let body = &frame[14 + 40..];
        assert_eq!(body.len(), 32);
        assert_eq!(icmpv6_checksum(ip, ALL_NODES, body), 0);
    }

    #[test]
    fn an_answer_is_one_for_the_address_and_says_whose_it_is() {
        const MAC: Mac = [2, 0, 0, 0, 0, 1];
        let (v4, v6): (Ipv4Addr, Ipv6Addr) = ("198.18.0.10".parse().unwrap(), "fd00::10".parse().unwrap());
        let mut reply = gratuitous_arp(v4, MAC);
        assert_eq!(answer(&reply, v4.into()), None, "a question");
        reply[21] = 2;
        assert_eq!(answer(&reply, v4.into()), Some(MAC));
        assert_eq!(answer(&reply, "198.18.0.11".parse().unwrap()), None);
        let advertisement = neighbour_advertisement(v6, MAC);
        assert_eq!(answer(&advertisement, v6.into()), Some(MAC));
        assert_eq!(answer(&advertisement, "fd00::11".parse().unwrap()), None);
        assert_eq!(answer(&neighbour_solicitation(v6, MAC), v6.into()), None);
        for frame in [&reply, &advertisement] {
            for cut in 0..frame.len() {
                let _is_no_panic = (answer(&frame[..cut], v4.into()), answer(&frame[..cut], v6.into()));
            }
        }
    }
}
