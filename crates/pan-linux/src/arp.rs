//! Telling the neighbours on a link that an address is here now: gratuitous ARP (RFC 5227, section 3)
//! for IPv4, unsolicited neighbour advertisements (RFC 4861, section 7.2.6) for IPv6.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;

use crate::netns::{Netns, NetnsError};
use crate::rtnl::Mac;

const BROADCAST: Mac = [0xff; 6];
/// The Ethernet address of ff02::1, all nodes (RFC 2464, section 7).
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const NA_OVERRIDE: u8 = 0x20;

/// Why an address could not be announced.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
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
    ns.run(|| send(dev, &frame))?.map_err(|source| AnnounceError::Send { address: ip, device: dev.to_owned(), source })
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
    let sum = icmpv6_checksum(ip, ALL_NODES, &body);
    body[2..4].copy_from_slice(&sum.to_be_bytes());

    let length = u16::try_from(body.len()).expect("an advertisement has 32 bytes");
    let mut frame = ethernet(ALL_NODES_MAC, mac, libc::ETH_P_IPV6 as u16);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    // The receiver insists on hop limit 255: proof that no router forwarded it.
    frame.extend([ICMPV6, 255]);
    frame.extend(ip.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(body);
    frame
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

fn send(dev: &str, frame: &[u8]) -> io::Result<()> {
    let index = if_nametoindex(dev)?;
    // SAFETY: socket(2) takes no pointers; the result is checked before it is used.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` is a descriptor just opened and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: sockaddr_ll is plain data for which all zeroes is a valid value.
    let mut to: libc::sockaddr_ll = unsafe { mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_protocol = u16::from_be_bytes([frame[12], frame[13]]).to_be();
    to.sll_ifindex = index as i32;
    to.sll_halen = 6;
    to.sll_addr[..6].copy_from_slice(&frame[..6]);
    // SAFETY: `frame` and `to` live through the call, and the lengths given are theirs.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
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
}
