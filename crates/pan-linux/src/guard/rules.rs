//! The rules as `nft` reads them, and the elements they look up. Pure.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use super::keeper::GuardedPort;
use super::refusal::Refusal;
use crate::nft::{Batch, Element, Family, Value};

pub(super) const FAMILY: Family = Family::Bridge;
pub(super) const TABLE: &str = "pan_guard";
/// The chain that is looked for: who flushes rules takes all of them.
pub(super) const CHAIN: &str = "from_port";
/// Frames refused, by port and reason.
pub(super) const REFUSED: &str = "refused";
/// How long a count is kept in the kernel after the last refusal: whoever counts looks every second.
pub(super) const FORGOTTEN_AFTER: &str = "10m";
/// As many ports as a host has, with every reason; beyond, frames are dropped and not told apart.
const REFUSED_MAX: u32 = 8192;

/// The names and types of the sets.
const SETS: [(&str, &str); 4] = [
    ("macs", "type ifname . ether_addr"),
    ("v4", "type ifname . ipv4_addr"),
    ("v6", "type ifname . ipv6_addr"),
    // The same addresses as `v6`, where a neighbour advertisement has its target: 64 bits into ICMPv6 (RFC 4861, section 4.4).
    ("targets", "typeof iifname . @th,64,128"),
];

/// Keys by set, in the order of [`SETS`].
pub(super) type Keys = [BTreeSet<Value>; 4];

pub(super) fn elements(ports: &[GuardedPort]) -> Keys {
    let mut keys = Keys::default();
    for port in ports {
        let with = |value| Value::Concat(vec![Value::Interface(port.port.clone()), value]);
        keys[0].insert(with(Value::Ether(port.mac)));
        for address in &port.addresses {
            let sets: &[usize] = if address.is_ipv4() { &[1] } else { &[2, 3] };
            for set in sets {
                keys[*set].insert(with(Value::Ip(*address)));
            }
        }
    }
    keys
}

pub(super) fn difference(old: &Keys, new: &Keys) -> Batch {
    let mut batch = Batch::new(FAMILY, TABLE);
    for ((name, _), (old, new)) in SETS.iter().zip(old.iter().zip(new)) {
        batch.delete(name, old.difference(new).cloned());
        batch.add(name, new.difference(old).cloned().map(Element::of_set));
    }
    batch
}

/// The most frequent first: IPv4 without options is let through by the fourth rule.
///
/// What a server's kernel says by itself from no address, which is that it hears multicast groups and whether an address
/// is free, is dropped without being held against it. Fragments of neighbour discovery are those that hide what they are
/// (RFC 6980). `to_host` is where a bridge hands frames to the host; whoever asks all asks the host too, so only what is
/// meant for it alone counts as refused. Frames to the group addresses of bridges, 01:80:c2:00:00:0x (IEEE 802.1D, table
/// 7-10), come to `from_port` only where the port is told so, as an overlay's ports are; else most of them come to `to_host`, and those
/// of LLDP, ending in 0e, to neither.
const RULES: &str = "
  chain refuse {
    update @REFUSED { iifname . meta mark counter }
    counter drop
  }
  chain from_port {
    type filter hook prerouting priority -300; policy accept;
    iifname != \"OWN*\" accept
    iifname . ether saddr != @macs meta mark set ETHERNET goto refuse
    ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 meta mark set HOST goto refuse
    ether type ip ip hdrlength 5 iifname . ip saddr @v4 accept
    ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation { request, reply } \
iifname . arp saddr ether @macs iifname . arp saddr ip @v4 accept
    ether type arp meta mark set ARP goto refuse
    ether type ip ip option lsrr exists meta mark set ROUTE goto refuse
    ether type ip ip option ssrr exists meta mark set ROUTE goto refuse
    ether type ip iifname . ip saddr @v4 accept
    ether type ip meta mark set ADDRESS goto refuse
    ether type ip6 ip6 saddr :: icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report, nd-neighbor-solicit } drop
    ether type ip6 icmpv6 type { nd-router-advert, nd-redirect } meta mark set NEIGHBOUR goto refuse
    ether type ip6 icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @targets meta mark set NEIGHBOUR goto refuse
    ether type ip6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } exthdr frag exists meta mark set NEIGHBOUR goto refuse
    ether type ip6 exthdr rt exists meta mark set ROUTE goto refuse
    ether type ip6 iifname . ip6 saddr @v6 accept
    ether type ip6 meta mark set ADDRESS goto refuse
    meta mark set PROTOCOL goto refuse
  }
  chain to_host {
    type filter hook input priority -300; policy accept;
    iifname != \"OWN*\" accept
    ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 meta mark set HOST goto refuse
    ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 meta mark set HOST goto refuse
    drop
  }
}
";

/// Replaces the table by one for these ports, whatever was there. `own` is what the names of all guarded ports begin with.
pub(super) fn script(own: &str, ports: &[GuardedPort]) -> String {
    let mut script = format!("add table bridge {TABLE}\ndelete table bridge {TABLE}\ntable bridge {TABLE} {{\n");
    for ((name, kind), keys) in SETS.iter().zip(elements(ports)) {
        writeln!(script, "  set {name} {{\n    {kind}").expect("a string takes all");
        if !keys.is_empty() {
            let raw = kind.contains('@');
            let keys: Vec<String> = keys.iter().map(|key| if raw { number(key) } else { key.to_string() }).collect();
            writeln!(script, "    elements = {{ {} }}", keys.join(", ")).expect("a string takes all");
        }
        script.push_str("  }\n");
    }
    writeln!(
        script,
        "  set {REFUSED} {{\n    type ifname . mark\n    size {REFUSED_MAX}\n    flags dynamic, timeout\n    timeout {FORGOTTEN_AFTER}\n  }}"
    )
    .expect("a string takes all");
    let words = [
        ("ETHERNET", Refusal::Ethernet),
        ("ADDRESS", Refusal::Address),
        ("ARP", Refusal::Arp),
        ("NEIGHBOUR", Refusal::Neighbour),
        ("ROUTE", Refusal::Route),
        ("PROTOCOL", Refusal::Protocol),
        ("HOST", Refusal::Host),
    ];
    let rules = RULES.replace("OWN", own).replace("@REFUSED", &format!("@{REFUSED}"));
    script
        .push_str(&words.iter().fold(rules, |rules, (word, why)| rules.replace(&format!("set {word} "), &format!("set {} ", why.mark()))));
    script
}

/// An interface and an address, the address as the number that it is.
fn number(key: &Value) -> String {
    match key {
        Value::Concat(parts) => parts.iter().map(number).collect::<Vec<_>>().join(" . "),
        Value::Ip(IpAddr::V6(address)) => format!("{:#034x}", address.to_bits()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, last: u8, addresses: &[&str]) -> GuardedPort {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        GuardedPort { port: name.into(), mac: [2, 0, 0, 0, 0, last], addresses }
    }

    #[test]
    fn a_script_has_every_reason_and_address() {
        let script = script("ps", &[port("ps1", 1, &["10.0.0.1", "fd00::1"])]);
        for why in Refusal::ALL {
            assert!(script.contains(&format!("meta mark set {} goto refuse", why.mark())), "{why:?} in\n{script}");
        }
        assert!(script.contains("iifname != \"ps*\" accept") && !script.contains("OWN") && !script.contains("REFUSED"), "{script}");
        for element in ["\"ps1\" . 02:00:00:00:00:01", "\"ps1\" . 10.0.0.1", "\"ps1\" . fd00::1", "\"ps1\" . 0xfd00"] {
            assert!(script.contains(element), "{element} in\n{script}");
        }
        assert!(script.contains("0xfd000000000000000000000000000001"), "{script}");
    }

    #[test]
    fn a_port_that_comes_is_four_elements() {
        let (one, both) = ([port("ps1", 1, &["10.0.0.1"])], [port("ps1", 1, &["10.0.0.1"]), port("ps2", 2, &["10.0.0.2", "fd00::2"])]);
        assert_eq!(difference(&elements(&one), &elements(&both)).steps(), 4);
        assert!(difference(&elements(&both), &elements(&both)).is_empty());
        assert_eq!(difference(&elements(&both), &elements(&one)).steps(), 4);
    }
}
