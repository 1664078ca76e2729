//! The rules of a partition: a pure function from a unit and the generations of its tables to an nftables
//! table.
//!
//! A connection to a public address is hashed by client address and port to a slot; `cur` gives the slot's
//! server, `alt` another one if that server is in `down`, `addr` the server's address. Only the first packet
//! of a connection comes here; the kernel's connection tracking pins the rest. A packet that begins nothing
//! and that no tracked connection owns is of a connection that another director, or an earlier life of this
//! one, accepted: it follows `prev`, whoever is suspected, because its server is settled. If the server
//! speaks first after such a change, `rev` says which public address it spoke for.

use crate::ruleset::{Chain, Elements, Map, Ruleset};
use crate::units::{Kept, decide, gone, spread_of};
use pan_api::desired::{ServiceOrder, Unit, WebOrder};
use pan_balance::{Generation, stable_hash};
use pan_linux::nft::{Data, Value};
use pan_model::ServiceName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Interface towards the clients, inside the partition's namespace.
pub const OUTSIDE: &str = "out";
/// Interface towards the servers, inside the partition's namespace.
pub const INSIDE: &str = "in";
/// Slots are numbered from here, so that no slot is taken for a server's number: those start at 1 and count the
/// servers a partition ever had.
const SLOT_BASE: u32 = 0x4000_0000;
/// IANA's number.
const TCP: u8 = 6;

/// An address family as nft needs it.
struct Family {
    digit: char,
    ip: &'static str,
    service: &'static str,
    address: &'static str,
    reverse: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        digit: '4',
        ip: "ip",
        service: "ipv4_addr . inet_proto . inet_service : verdict",
        address: "mark : ipv4_addr",
        reverse: "ipv4_addr . inet_service : ipv4_addr . inet_service",
    },
    Family {
        digit: '6',
        ip: "ip6",
        service: "ipv6_addr . inet_proto . inet_service : verdict",
        address: "mark : ipv6_addr",
        reverse: "ipv6_addr . inet_service : ipv6_addr . inet_service",
    },
];

impl Family {
    fn has(&self, address: &IpAddr) -> bool {
        address.is_ipv6() == (self.digit == '6')
    }
}

/// The set of a service's servers that get no new connections for now.
#[must_use]
pub fn down_set(service: &ServiceName) -> String {
    format!("s-{service}-down")
}

/// The rules of a unit.
#[must_use]
pub fn ruleset(kept: &Kept) -> Ruleset {
    let mut rules = Ruleset { maps: BTreeMap::new(), chains: fixed_chains(&kept.unit.web) };
    for family in &FAMILIES {
        add_addresses(&mut rules, family, &kept.unit.services);
    }
    for service in &kept.unit.services {
        let generations = kept.generations.get(&service.name).expect("every service of a unit has generations");
        let spread = spread_of(service);
        let former = generations.former_table(service.name.as_str(), &spread, &gone(service, &generations.prev));
        let mut slots = |suffix: &str, values: Vec<u32>| {
            let map = Map { types: "mark : mark", elements: Elements::Slots { base: SLOT_BASE, values } };
            rules.maps.insert(format!("s-{}-{suffix}", service.name), map);
        };
        slots("cur", spread.table.slots);
        slots("prev", former.slots);
        // Large and only of use while somebody is avoided, but then at once: it is always there.
        slots("alt", spread.second.slots);
        let down = Map { types: "mark", elements: Elements::Set(spread.avoided) };
        rules.maps.insert(down_set(&service.name), down);
        for family in &FAMILIES {
            add_service_chains(&mut rules, family, service, &generations.cur, &generations.prev);
        }
    }
    rules
}

/// The script of nft(8) by which a director loads the rules of a unit that it has never had.
#[must_use]
pub fn script(unit: &Unit) -> String {
    ruleset(&decide(None, unit, Duration::ZERO).kept).replace()
}

fn chain(hook: &'static str, rules: &[&str]) -> Chain {
    Chain { hook: Some(hook), rules: rules.iter().map(ToString::to_string).collect() }
}

/// The chains that do not depend on services. A partition is a closed world: only what a service brought in
/// goes back out.
fn fixed_chains(web: &[WebOrder]) -> BTreeMap<String, Chain> {
    let prerouting = chain(
        "type nat hook prerouting priority dstnat; policy accept;",
        &[
            r#"iifname "out" ip daddr . meta l4proto . th dport vmap @svc4"#,
            r#"iifname "out" ip6 daddr . meta l4proto . th dport vmap @svc6"#,
        ],
    );
    let postrouting = chain(
        "type nat hook postrouting priority srcnat; policy accept;",
        &[
            r#"iifname "in" meta l4proto tcp snat ip to ip saddr . tcp sport map @rev4"#,
            r#"iifname "in" meta l4proto tcp snat ip6 to ip6 saddr . tcp sport map @rev6"#,
            r#"iifname "in" drop"#,
        ],
    );
    let forward = chain(
        "type filter hook forward priority filter; policy drop;",
        &[
            "ct status dnat accept",
            "ct status snat accept",
            "ct state related accept",
            // The server spoke first after a takeover; what is not a service's is dropped in postrouting.
            r#"iifname "in" oifname "out" ct state new tcp flags & (syn | rst) == 0x0 accept"#,
            r#"iifname "in" goto beyond"#,
        ],
    );
    let (input, output) = (input_chain(web), output_chain(web));
    // What a server begins and may not is counted. What is left of a connection that is over is nobody's fault.
    let beyond = Chain {
        hook: None,
        rules: [
            "meta l4proto tcp tcp flags & (syn | ack | rst) != syn drop",
            "update @beyond4 { ip saddr counter }",
            "update @beyond6 { ip6 saddr counter }",
            "drop",
        ]
        .map(str::to_owned)
        .to_vec(),
    };
    [("prerouting", prerouting), ("postrouting", postrouting), ("forward", forward), ("input", input), ("beyond", beyond)]
        .into_iter()
        .chain(output.map(|chain| ("output", chain)))
        .map(|(name, chain)| (name.to_owned(), chain))
        .collect()
}

/// What the proxy may say, whoever tells it: answers to clients, and anything to its own partition. Resets are the kernel's.
fn output_chain(web: &[WebOrder]) -> Option<Chain> {
    let rules = [
        r#"oifname "lo" accept"#,
        "meta l4proto { icmp, ipv6-icmp } accept",
        r#"oifname "in" meta l4proto tcp accept"#,
        r#"oifname "out" meta l4proto tcp ct direction reply accept"#,
        r#"oifname "out" tcp flags & rst == rst accept"#,
    ];
    (!web.is_empty()).then(|| chain("type filter hook output priority filter; policy drop;", &rules))
}

/// What is for the gateway itself: nothing but requests for the proxy, and what servers answer it.
fn input_chain(web: &[WebOrder]) -> Chain {
    let mut input = chain(
        "type filter hook input priority filter; policy drop;",
        &[r#"iifname "lo" accept"#, "meta l4proto { icmp, ipv6-icmp } accept"],
    );
    for family in &FAMILIES {
        let ends = web.iter().flat_map(|web| {
            let addresses = web.service.addresses.iter().filter(|address| family.has(address));
            addresses.map(|address| format!("{address} . {}", web.service.port))
        });
        let ends: BTreeSet<String> = ends.collect();
        if !ends.is_empty() {
            let ends: Vec<String> = ends.into_iter().collect();
            input.rules.push(format!(r#"iifname "out" {} daddr . tcp dport {{ {} }} accept"#, family.ip, ends.join(", ")));
        }
    }
    if !web.is_empty() {
        input.rules.push(r#"iifname "in" meta l4proto tcp ct state established accept"#.to_owned());
    }
    let others = [
        r#"iifname "out" meta l4proto tcp reject with tcp reset"#,
        r#"iifname "out" reject"#,
        r#"iifname "in" meta pkttype host goto beyond"#,
    ];
    input.rules.extend(others.map(str::to_owned));
    input
}

/// The maps of one family that all services share.
fn add_addresses(rules: &mut Ruleset, family: &Family, services: &[ServiceOrder]) {
    let mut svc = BTreeMap::new();
    let mut addr = BTreeMap::new();
    let mut rev = BTreeMap::new();
    let end = |address: &IpAddr, port: u16| Value::Concat(vec![Value::Ip(*address), Value::Port(port)]);
    for service in services {
        let public: Vec<&IpAddr> = service.addresses.iter().filter(|address| family.has(address)).collect();
        for address in &public {
            let key = Value::Concat(vec![Value::Ip(**address), Value::Protocol(TCP), Value::Port(service.port)]);
            svc.entry(key).or_insert(Data::Goto(format!("s-{}-{}", service.name, family.digit)));
        }
        for backend in &service.backends {
            let Some(address) = backend.addresses.iter().find(|address| family.has(address)) else { continue };
            addr.entry(Value::Mark(backend.index)).or_insert(Data::Value(Value::Ip(*address)));
            if let Some(public) = public.first() {
                rev.entry(end(address, service.target_port)).or_insert(Data::Value(end(public, service.port)));
            }
        }
    }
    let mut add = |name: &str, types, pairs| {
        rules.maps.insert(format!("{name}{}", family.digit), Map { types, elements: Elements::Pairs(pairs) });
    };
    add("svc", family.service, svc);
    add("addr", family.address, addr);
    add("rev", family.reverse, rev);
}

fn add_service_chains(rules: &mut Ruleset, family: &Family, service: &ServiceOrder, cur: &Generation, prev: &Generation) {
    let (name, ip, digit) = (&service.name, family.ip, family.digit);
    let seed = stable_hash(&[name.as_str().as_bytes(), b"seed"]) & 0xffff_ffff;
    let slot =
        |generation: &Generation| format!("jhash {ip} saddr . tcp sport mod {} seed {seed:#x} offset {SLOT_BASE:#x}", generation.size);
    let send = format!("meta l4proto tcp dnat {ip} to meta mark map @addr{digit} : {}", service.target_port);
    let new = vec![
        format!("tcp flags & (syn | ack) != syn goto s-{name}-{digit}-old"),
        format!("ct mark set {}", slot(cur)),
        format!("meta mark set ct mark map @s-{name}-cur"),
        format!("meta mark @s-{name}-down meta mark set ct mark map @s-{name}-alt"),
        send.clone(),
        // No server to send to: the client tries again by itself, and is answered once there is one.
        "drop".to_owned(),
    ];
    let old = vec![format!("ct mark set {}", slot(prev)), format!("meta mark set ct mark map @s-{name}-prev"), send, "drop".to_owned()];
    rules.chains.insert(format!("s-{name}-{digit}"), Chain { hook: None, rules: new });
    rules.chains.insert(format!("s-{name}-{digit}-old"), Chain { hook: None, rules: old });
}
