//! What is tried.

use super::frames::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Words of the metric, and what they stand for.
pub const REASONS: [(&str, &str); 7] = [
    ("ethernet", "another Ethernet address"),
    ("address", "another IP address"),
    ("arp", "ARP in another's name"),
    ("neighbour", "neighbour discovery in another's name"),
    ("route", "a route of its own"),
    ("protocol", "neither IP nor ARP"),
    ("host", "the node itself"),
];

/// Of the gateway, which follows from its address as others do.
pub const GATEWAY: Mac = [2, 0x70, 10, 0, 0, 1];
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// What an attacker calls itself.
const FORGED: Mac = [2, 0x66, 0, 0, 0, 1];
/// As many source addresses as would fill the tables of a switch that learns.
const FLOOD: u16 = 2000;

/// Hosts, by their own addresses, on both fabrics, and outside: no server has any business with them.
pub fn beyond() -> Vec<String> {
    let internal = [1, 11, 12, 101, 201].into_iter().flat_map(|last| ["10.200", "10.201", "10.202"].map(|net| format!("{net}.0.{last}")));
    internal.chain(["10.203.0.1", "198.18.0.241", "198.18.0.254", "169.254.169.254"].map(str::to_owned)).collect()
}

/// An attempt: what it is, as what it is refused at the port (`None`: it is the server's own to send, and gets nowhere), and its frames.
pub type Attempt = (&'static str, Option<&'static str>, Vec<Vec<u8>>);

pub fn at_the_port(me: &End, near: &End, far: &End, vni: u32) -> Vec<Attempt> {
    [
        from_others(me, near, far),
        in_the_name_of_others(me, near, far),
        of_other_kinds(me, near),
        to_the_host(me, vni),
        beyond_the_network(me),
    ]
    .concat()
}

fn from_others(me: &End, near: &End, far: &End) -> Vec<Attempt> {
    let flood = |number: u16| datagram(near.mac, [2, 0x66, 1, 0, (number >> 8) as u8, number as u8], me.v4, near.v4, 9, "");
    let v4 = |source: Ipv4Addr, target: &End| datagram(target.mac, me.mac, source, target.v4, 9, "");
    let v6 = |source: Ipv6Addr, target: &End| datagram(target.mac, me.mac, source, target.v6, 9, "");
    vec![
        (
            "a neighbour's Ethernet address",
            Some("ethernet"),
            vec![datagram(far.mac, near.mac, near.v4, far.v4, 9, ""), datagram(near.mac, far.mac, me.v4, near.v4, 9, "")],
        ),
        (
            "the gateway's Ethernet address",
            Some("ethernet"),
            vec![datagram(near.mac, GATEWAY, me.v4, near.v4, 9, ""), datagram(BROADCAST, GATEWAY, me.v4, near.v4, 9, "")],
        ),
        ("a flood of Ethernet addresses", Some("ethernet"), (0..FLOOD).map(flood).collect()),
        ("a multicast source", None, vec![datagram(near.mac, BROADCAST, me.v4, near.v4, 9, "")]),
        ("a neighbour's IPv4 address", Some("address"), vec![v4(far.v4, near), v4(near.v4, far)]),
        ("the gateway's IPv4 address", Some("address"), vec![v4(GATEWAY_V4, near), v4(GATEWAY_V4, far)]),
        (
            "addresses of hosts and of nobody",
            Some("address"),
            vec![v4(Ipv4Addr::new(10, 200, 0, 1), near), v4(Ipv4Addr::LOCALHOST, near), v4(Ipv4Addr::new(10, 0, 0, 99), far)],
        ),
        ("DHCP", Some("address"), vec![datagram(BROADCAST, me.mac, Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, 67, "")]),
        ("a neighbour's IPv6 address", Some("address"), vec![v6(far.v6, near), v6(near.v6, far)]),
        (
            "IPv6 addresses of the link and of nobody",
            Some("address"),
            vec![v6("fe80::1".parse().unwrap(), near), v6(Ipv6Addr::LOCALHOST, near), v6(Ipv6Addr::UNSPECIFIED, near)],
        ),
        (
            "IPv4 options with another's address",
            Some("address"),
            vec![ethernet(near.mac, me.mac, 0x0800, &ip4(far.v4, near.v4, &[7, 3, 4, 0], 0, &udp(9, b"")))],
        ),
    ]
}

fn in_the_name_of_others(me: &End, near: &End, far: &End) -> Vec<Attempt> {
    let all: Ipv6Addr = "ff02::1".parse().unwrap();
    vec![
        (
            "an answer that a neighbour is here",
            Some("arp"),
            vec![arp(near.mac, me.mac, 2, (me.mac, far.v4), near.v4), arp(far.mac, me.mac, 2, (me.mac, near.v4), far.v4)],
        ),
        (
            "an answer that the gateway is here",
            Some("arp"),
            vec![arp(near.mac, me.mac, 2, (me.mac, GATEWAY_V4), near.v4), arp(BROADCAST, me.mac, 2, (me.mac, GATEWAY_V4), GATEWAY_V4)],
        ),
        ("gratuitous ARP for a neighbour", Some("arp"), vec![arp(BROADCAST, me.mac, 1, (me.mac, far.v4), far.v4)]),
        ("ARP from nobody", Some("arp"), vec![arp(BROADCAST, me.mac, 1, (me.mac, Ipv4Addr::UNSPECIFIED), near.v4)]),
        ("its own address elsewhere", Some("arp"), vec![arp(near.mac, me.mac, 2, (FORGED, me.v4), near.v4)]),
        (
            "reverse ARP and lengths that lie",
            Some("arp"),
            vec![
                arp(BROADCAST, me.mac, 3, (me.mac, me.v4), me.v4),
                ethernet(BROADCAST, me.mac, 0x0806, &[0, 1, 8, 0, 16, 4, 0, 2, 1, 2, 3, 4, 10, 0, 0, 1]),
            ],
        ),
        (
            "an advertisement of a neighbour",
            Some("neighbour"),
            vec![
                neighbour(near.mac, me, near.v6, &advertisement(far.v6, me.mac)),
                neighbour(ALL_NODES, me, all, &advertisement(near.v6, me.mac)),
            ],
        ),
        (
            "the same behind other headers",
            Some("neighbour"),
            [0, 60, 44].map(|kind| hidden(near.mac, me, near.v6, kind, &advertisement(far.v6, me.mac))).to_vec(),
        ),
        (
            "a router",
            Some("neighbour"),
            vec![
                neighbour(ALL_NODES, me, all, &router(me.mac)),
                neighbour(near.mac, me, near.v6, &router(me.mac)),
                hidden(ALL_NODES, me, all, 0, &router(me.mac)),
            ],
        ),
        ("a redirect", Some("neighbour"), vec![neighbour(near.mac, me, near.v6, &redirect(me.v6, far.v6))]),
        (
            "an advertisement of its own in a fragment",
            Some("neighbour"),
            vec![hidden(near.mac, me, near.v6, 44, &advertisement(me.v6, FORGED))],
        ),
    ]
}

fn of_other_kinds(me: &End, near: &End) -> Vec<Attempt> {
    let packet = ip4(me.v4, near.v4, &[], 0, &udp(9, b""));
    let tagged = |tags: &[u16]| {
        let tags: Vec<u8> = tags.iter().flat_map(|kind| [kind.to_be_bytes(), 5u16.to_be_bytes()].concat()).collect();
        let frame = [&tags[2..], &[8, 0], &packet].concat();
        ethernet(near.mac, me.mac, u16::from_be_bytes([tags[0], tags[1]]), &frame)
    };
    let kinds = [0x88b5, 0x8863, 0x8864, 0x8847, 0x88cc, 0x8906, 0x22f0, 3];
    vec![
        (
            "frames for a VLAN",
            Some("protocol"),
            vec![tagged(&[0x8100]), tagged(&[0x88a8]), tagged(&[0x88a8, 0x8100]), tagged(&[0x8100, 0x8100])],
        ),
        ("other protocols", Some("protocol"), kinds.map(|kind| ethernet(near.mac, me.mac, kind, &packet)).to_vec()),
        ("a bridge's own words", Some("host"), vec![ethernet([1, 0x80, 0xc2, 0, 0, 0], me.mac, 38, &[0x42, 0x42, 3, 0, 0, 0, 0, 0, 0, 0])]),
        (
            "source routes",
            Some("route"),
            vec![
                routed4(near.mac, me, 131, near.v4),
                routed4(near.mac, me, 137, near.v4),
                routed4(GATEWAY, me, 131, Ipv4Addr::new(10, 200, 0, 1)),
            ],
        ),
        ("a routing header", Some("route"), vec![routed6(near.mac, me, near.v6, near.v6)]),
    ]
}

/// Frames for the node itself, by its bridge, which every node has at the same address, and by groups that bridges do not pass on.
fn to_the_host(me: &End, vni: u32) -> Vec<Attempt> {
    let [_, a, b, c] = vni.to_be_bytes();
    let bridge = [0x0e, 0x50, 0x42, a, b, c];
    let hosts = [[10, 200, 0, 11], [10, 200, 0, 12], [10, 201, 0, 11], [10, 201, 0, 12]].map(Ipv4Addr::from);
    let to = |mac: Mac| {
        hosts.iter().flat_map(|host| [9, 7444, 4789].map(|port| datagram(mac, me.mac, me.v4, *host, port, HOSTILE))).collect::<Vec<_>>()
    };
    vec![
        ("the node, by its bridge", Some("host"), to(bridge)),
        ("the node, by groups of bridges", Some("host"), [3, 0x0e].into_iter().flat_map(|last| to([1, 0x80, 0xc2, 0, 0, last])).collect()),
    ]
}

/// Honest frames for addresses that are not in the network.
fn beyond_the_network(me: &End) -> Vec<Attempt> {
    let hosts: Vec<Ipv4Addr> = beyond().iter().map(|one| one.parse().unwrap()).collect();
    // An identifier of nobody's, with a frame for everybody in it.
    let injected = String::from_utf8_lossy(&vxlan(7, &datagram(BROADCAST, FORGED, me.v4, Ipv4Addr::BROADCAST, 9, HOSTILE))).into_owned();
    let to = |mac: Mac, port: u16, text: &str| hosts.iter().map(|host| datagram(mac, me.mac, me.v4, *host, port, text)).collect::<Vec<_>>();
    let fragment = |host: &Ipv4Addr| ethernet(GATEWAY, me.mac, 0x0800, &ip4(me.v4, *host, &[], 0x2000, &udp(9, HOSTILE.as_bytes())));
    vec![
        ("hosts, by the gateway", None, [to(GATEWAY, 9, HOSTILE), to(GATEWAY, 7445, HOSTILE), to(GATEWAY, 7450, HOSTILE)].concat()),
        ("VXLAN to hosts", None, to(GATEWAY, 4789, &injected)),
        ("fragments to hosts", None, hosts.iter().map(fragment).collect()),
        (
            "hosts, by the Ethernet address of one",
            None,
            hosts.iter().map(|host| datagram([2, 1, 10, 201, 0, 12], me.mac, me.v4, *host, 9, HOSTILE)).collect(),
        ),
        ("Ethernet addresses of nobody", None, vec![datagram(FORGED, me.mac, me.v4, Ipv4Addr::new(10, 0, 0, 99), 9, HOSTILE)]),
    ]
}
