//! Frames by hand: what a program with a packet socket can send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub type Mac = [u8; 6];

/// In every frame that nobody may get.
pub const HOSTILE: &str = "HOSTILE!";
/// In frames that a server may send within its own network.
pub const INSIDE: &str = "INSIDE!!";

pub const BROADCAST: Mac = [0xff; 6];
pub const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Whom a frame is from or for.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub mac: Mac,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An Ethernet frame with a mark at its end, past what any header counts.
pub fn ethernet(to: Mac, from: Mac, kind: u16, body: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), body, HOSTILE.as_bytes()].concat()
}

pub fn udp(port: u16, text: &[u8]) -> Vec<u8> {
    let length = 8 + text.len() as u16;
    [&40_000u16.to_be_bytes()[..], &port.to_be_bytes(), &length.to_be_bytes(), &[0, 0], text].concat()
}

/// An IPv4 packet; `options` are whole words, `fragment` is the field of that name.
pub fn ip4(from: Ipv4Addr, to: Ipv4Addr, options: &[u8], fragment: u16, body: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend(((header + body.len()) as u16).to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, UDP, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(options);
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(body);
    packet
}

pub fn ip6(from: Ipv6Addr, to: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((body.len() as u16).to_be_bytes());
    packet.extend([kind, 255]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(body);
    packet
}

/// The pseudo header is not summed: the guard does not look at sums, and receivers that do would only hide what came through.
pub fn icmp6(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0][..], rest].concat()
}

/// A datagram, as a whole frame.
pub fn datagram(to: Mac, from: Mac, source: impl Into<IpAddr>, target: impl Into<IpAddr>, port: u16, text: &str) -> Vec<u8> {
    match (source.into(), target.into()) {
        (IpAddr::V4(source), IpAddr::V4(target)) => ethernet(to, from, 0x0800, &ip4(source, target, &[], 0, &udp(port, text.as_bytes()))),
        (IpAddr::V6(source), IpAddr::V6(target)) => ethernet(to, from, 0x86dd, &ip6(source, target, UDP, &udp(port, text.as_bytes()))),
        (source, target) => panic!("{source} and {target} are of one family"),
    }
}

/// A datagram that may be sent: nothing in it is the mark of a hostile one.
pub fn honest(to: Mac, from: &End, target: Ipv4Addr, text: &str) -> Vec<u8> {
    let packet = ip4(from.v4, target, &[], 0, &udp(9, format!("{INSIDE}{text}").as_bytes()));
    [&to[..], &from.mac, &[8, 0], &packet].concat()
}

/// ARP: `operation` 1 asks, 2 answers.
pub fn arp(to: Mac, from: Mac, operation: u8, said: (Mac, Ipv4Addr), asked: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    ethernet(to, from, 0x0806, &[&head[..], &said.0, &said.1.octets(), &[0; 6], &asked.octets()].concat())
}

/// A neighbour advertisement that `target` has the Ethernet address `is`.
pub fn advertisement(target: Ipv6Addr, is: Mac) -> Vec<u8> {
    icmp6(136, &[&[0x20, 0, 0, 0][..], &target.octets(), &[2, 1], &is].concat())
}

/// A router advertisement with a prefix, and its sender's Ethernet address.
pub fn router(is: Mac) -> Vec<u8> {
    let prefix = [&[3, 4, 64, 0xc0][..], &[0, 0, 0x70, 0x80, 0, 0, 0x70, 0x80, 0, 0, 0, 0], &[0xfd, 0x66], &[0; 14]].concat();
    icmp6(134, &[&[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1][..], &is, &prefix].concat())
}

/// A redirect: `target` is better reached by `by`.
pub fn redirect(by: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    icmp6(137, &[&[0; 4][..], &by.octets(), &target.octets()].concat())
}

/// An ICMPv6 message in an IPv6 packet of hop limit 255, as a frame.
pub fn neighbour(to: Mac, from: &End, target: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    ethernet(to, from.mac, 0x86dd, &ip6(from.v6, target, ICMPV6, message))
}

/// The same behind an extension header: `kind` 0 is hop-by-hop, 60 for the target, 44 a fragment that is the whole.
pub fn hidden(to: Mac, from: &End, target: Ipv6Addr, kind: u8, message: &[u8]) -> Vec<u8> {
    let header = if kind == 44 { [ICMPV6, 0, 0, 0, 0, 0, 0, 7] } else { [ICMPV6, 0, 1, 4, 0, 0, 0, 0] };
    ethernet(to, from.mac, 0x86dd, &ip6(from.v6, target, kind, &[&header[..], message].concat()))
}

/// An IPv6 routing header of type 0 by way of `by`.
pub fn routed6(to: Mac, from: &End, by: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let header = [&[UDP, 2, 0, 1, 0, 0, 0, 0][..], &by.octets()].concat();
    ethernet(to, from.mac, 0x86dd, &ip6(from.v6, target, 43, &[&header[..], &udp(9, b"")].concat()))
}

/// An IPv4 source route, loose (131) or strict (137).
pub fn routed4(to: Mac, from: &End, kind: u8, target: Ipv4Addr) -> Vec<u8> {
    let option = [&[kind, 7, 4][..], &target.octets(), &[0]].concat();
    ethernet(to, from.mac, 0x0800, &ip4(from.v4, target, &option, 0, &udp(9, b"")))
}

/// What is in a VXLAN datagram.
pub fn vxlan(vni: u32, inner: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes(), inner].concat()
}
