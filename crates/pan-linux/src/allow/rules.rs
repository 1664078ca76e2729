//! The rules as `nft` reads them, and the elements they look up. Pure.

use std::collections::BTreeSet;

use crate::nft::{Batch, Data, Element, Family, Value};
use crate::rtnl::Mac;

pub(super) const FAMILY: Family = Family::Inet;
pub(super) const TABLE: &str = "pan_allow";
/// The chain that is looked for. Whoever changes the rules gives it another name: who finds it takes the rules for these.
pub(super) const CHAIN: &str = "at_server";
/// What was refused, by the Ethernet address it came from.
pub(super) const REFUSED: &str = "refused";

/// Some who may begin the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callers {
    /// Their Ethernet addresses; nobody is among two kinds of callers.
    pub macs: BTreeSet<Mac>,
    /// Where to.
    pub ports: Ports,
}

/// What may be begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// Anything.
    All,
    /// TCP and datagrams to these ports, and nothing else.
    Only(BTreeSet<u16>),
}

/// Sixteen thousand conversations by datagrams at a time are more than a server of a few cores keeps up; beyond, answers of further
/// ones are refused. Three minutes are what RFC 4787 (REQ-5) wants of whoever remembers them, and some. They are conversations
/// that the server began: what it answers to those who may ask is none, or whoever may ask could fill the set with ports of its own.
/// So it is remembered who may ask anything, and which port of the server each of the others asks; by address, which nobody can make up, and
/// so never more than what is allowed by name.
///
/// `ct` and `notrack` track nothing: together they have fragments put together first, which hold no ports otherwise. What answers or
/// goes on is let through by flags alone: without SYN nothing begins (RFC 9293, section 3.10.7.2), and what is for no connection is
/// answered by a reset. Messages of errors are checked by the kernel against what they are about, and neighbours must be found.
const SCRIPT: &str = "add table inet pan_allow
delete table inet pan_allow
table inet pan_allow {
  map peers { type ether_addr : mark; }
  set every { type mark; }
  set ports { type mark . inet_service; }
  set began4 { type ipv4_addr . inet_service . inet_service; size 16384; flags dynamic, timeout; timeout 3m; }
  set began6 { type ipv6_addr . inet_service . inet_service; size 16384; flags dynamic, timeout; timeout 3m; }
  set asks_all4 { type ipv4_addr; size 16384; flags dynamic, timeout; timeout 3m; }
  set asks_all6 { type ipv6_addr; size 16384; flags dynamic, timeout; timeout 3m; }
  set asks4 { type ipv4_addr . inet_service; size 16384; flags dynamic, timeout; timeout 3m; }
  set asks6 { type ipv6_addr . inet_service; size 16384; flags dynamic, timeout; timeout 3m; }
  set refused { type ether_addr; size 1024; flags dynamic, timeout; timeout 10m; }
  chain whole_in {
    type filter hook prerouting priority raw; policy accept;
    notrack
  }
  chain whole_out {
    type filter hook output priority raw; policy accept;
    notrack
  }
  chain from_server {
    type filter hook output priority filter; policy accept;
    oifname \"lo\" accept
    meta l4proto udp ip daddr @asks_all4 accept
    meta l4proto udp ip6 daddr @asks_all6 accept
    ip daddr . udp sport @asks4 accept
    ip6 daddr . udp sport @asks6 accept
    ip protocol udp update @began4 { ip daddr . udp sport . udp dport }
    meta nfproto ipv6 meta l4proto udp update @began6 { ip6 daddr . udp sport . udp dport }
  }
  chain let_in_all {
    meta nfproto ipv4 meta l4proto udp update @asks_all4 { ip saddr }
    meta nfproto ipv6 meta l4proto udp update @asks_all6 { ip6 saddr }
    accept
  }
  chain let_in {
    meta nfproto ipv4 meta l4proto udp update @asks4 { ip saddr . udp dport }
    meta nfproto ipv6 meta l4proto udp update @asks6 { ip6 saddr . udp dport }
    accept
  }
  chain at_server {
    type filter hook input priority filter; policy accept;
    iifname \"lo\" accept
    ct state invalid drop
    tcp flags & (ack | rst) != 0 accept
    ip saddr . udp dport . udp sport @began4 update @began4 { ip saddr . udp dport . udp sport } accept
    ip6 saddr . udp dport . udp sport @began6 update @began6 { ip6 saddr . udp dport . udp sport } accept
    icmp type { echo-reply, destination-unreachable, time-exceeded, parameter-problem } accept
    icmpv6 type { echo-reply, destination-unreachable, packet-too-big, time-exceeded, parameter-problem, \
nd-neighbor-solicit, nd-neighbor-advert } accept
    meta mark set 0
    meta mark set ether saddr map @peers
    meta mark @every goto let_in_all
    meta l4proto { tcp, udp } meta mark . th dport @ports goto let_in
    icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report, nd-router-solicit } drop
    update @refused { ether saddr counter }
    drop
  }
}
";

/// Replaces the rules by ones that let nobody begin anything.
pub(super) fn closed() -> &'static str {
    SCRIPT
}

/// Takes the rules away.
pub(super) const OPEN: &str = "add table inet pan_allow\ndelete table inet pan_allow\n";

/// Lets exactly these begin what they may, at once for all.
pub(super) fn change(callers: &[Callers]) -> Batch {
    let mut batch = Batch::new(FAMILY, TABLE);
    batch.flush("peers").flush("every").flush("ports");
    // Whoever may not ask any more is answered as one that was asked.
    batch.flush("asks_all4").flush("asks_all6").flush("asks4").flush("asks6");
    let numbered = || callers.iter().zip(1..).map(|(callers, number)| (callers, Value::Mark(number)));
    let peers = numbered()
        .flat_map(|(callers, number)| callers.macs.iter().map(move |mac| Element::of_map(Value::Ether(*mac), Data::Value(number.clone()))));
    batch.add("peers", peers);
    batch.add("every", numbered().filter(|(callers, _)| callers.ports == Ports::All).map(|(_, number)| Element::of_set(number)));
    let ports = numbered().flat_map(|(callers, number)| {
        let ports = match &callers.ports {
            Ports::All => None,
            Ports::Only(ports) => Some(ports),
        };
        let at = move |port: &u16| Element::of_set(Value::Concat(vec![number.clone(), Value::Port(*port)]));
        ports.into_iter().flatten().map(at)
    });
    batch.add("ports", ports);
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_one_change_of_elements() {
        let nobody = change(&[]);
        assert_eq!(nobody.steps(), 7, "sets are emptied, nothing is added");
        let some = Callers { macs: [[2, 0, 0, 0, 0, 1]].into(), ports: Ports::Only([80, 443].into()) };
        let all = Callers { macs: [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3]].into(), ports: Ports::All };
        let steps = format!("{:?}", change(&[some, all]));
        for (set, part) in [
            ("peers", "key: Ether([2, 0, 0, 0, 0, 1]), data: Some(Value(Mark(1)))"),
            ("peers", "key: Ether([2, 0, 0, 0, 0, 3]), data: Some(Value(Mark(2)))"),
            ("every", "key: Mark(2)"),
            ("ports", "key: Concat([Mark(1), Port(443)])"),
        ] {
            assert!(steps.contains(part), "{part} of {set} in {steps}");
        }
        assert!(!steps.contains("Concat([Mark(2)"), "{steps}");
    }

    #[test]
    fn the_rules_have_the_names_that_are_looked_for() {
        for name in [CHAIN, REFUSED, TABLE] {
            assert!(SCRIPT.contains(&format!(" {name} {{")), "{name}");
        }
    }
}
