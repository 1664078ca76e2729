//! What the two namespaces of an import have to be: addresses, links and rules. Pure.
//!
//! A connection to the import's address is rewritten twice in each, and neither meets an address of the other partition: in the near one,
//! which is in the network of the import's partition, the destination becomes the far one's end of the pair and the source the near one's; in
//! the far one, which is in the network of the service's, the destination becomes one of the servers, found as in a partition's own
//! namespace, and the source the address that stands for the import there. What did not begin so goes nowhere.

use crate::rules::{INSIDE, OUTSIDE, ruleset};
use crate::ruleset::{Chain, Ruleset};
use crate::specs::{Seat, Wiring, wiring};
use crate::units::Kept;
use ipnet::IpNet;
use pan_api::desired::{ImportEnd, ImportOrder, ImportWay, Network, ServiceOrder, Unit};
use pan_linux::rtnl::{Hop, Mac, Route};
use pan_model::network::Cidr;
use pan_model::{Epoch, HostName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the names of near and far namespaces begin with; the numbers of imports and of their ways follow.
pub(crate) const NEAR: &str = "pani-";
/// See [`NEAR`].
pub(crate) const FAR: &str = "panx-";
/// The Ethernet addresses of the pair between them, which nobody else sees.
const NEAR_MAC: Mac = [0x02, 0x72, 0, 0, 0, 1];
const FAR_MAC: Mac = [0x02, 0x72, 0, 0, 0, 2];
const PAIR_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(169, 254, 0, 1), Ipv4Addr::new(169, 254, 0, 2)];
/// IPv6 networks of which at least one meets neither of two partitions': a private one, the one for documentation (RFC 3849) and the one
/// to be discarded (RFC 6666). Whatever contains two of them contains loopback, and no partition has that.
const PAIRS_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd70, 0x616e, 0xffff, 0, 0, 0, 0, 0),
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0),
    Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0),
];

/// The near namespace of an import.
pub(crate) fn near_seat(order: &ImportOrder) -> Seat {
    Seat { vni: order.near.vni, name: format!("{NEAR}{}", order.number), port: near_port(order.number) }
}

/// The far namespace of its way.
pub(crate) fn far_seat(way: &ImportWay) -> Seat {
    Seat { vni: way.far.vni, name: format!("{FAR}{}", way.number), port: far_port(way.number) }
}

/// What belongs to a namespace of that name, if it is one of an import, for taking it away.
pub(crate) fn seat_called(name: &str) -> Option<Seat> {
    let number = |prefix| name.strip_prefix(prefix)?.parse::<u32>().ok();
    let port = number(NEAR).map(near_port).or_else(|| number(FAR).map(far_port))?;
    Some(Seat { vni: 0, name: name.to_owned(), port })
}

/// The host's end of a near namespace's cable.
pub(crate) fn near_port(number: u32) -> String {
    format!("pgn{number}")
}

/// The host's end of a far namespace's cable.
pub(crate) fn far_port(number: u32) -> String {
    format!("pgx{number}")
}

/// The ends of the pair between the two namespaces of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The families that both partitions have.
    pub families: Vec<PairFamily>,
}

/// The addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PairFamily {
    /// The import's.
    import: IpAddr,
    /// The near end of the pair.
    near: IpAddr,
    /// The far end of the pair.
    pub far: IpAddr,
    /// What stands for the import in the service's partition.
    stands: IpAddr,
}

impl Pair {
    /// `subnets` are those of both partitions.
    pub(crate) fn new(near: &ImportEnd, way: &ImportWay, subnets: &[Cidr]) -> Self {
        let of = |end: &ImportEnd, v4: bool| end.addresses.iter().copied().find(|address| address.is_ipv4() == v4);
        let families = [true, false].into_iter().filter_map(|v4| {
            let (import, stands) = (of(near, v4)?, of(&way.far, v4)?);
            let (near, far) = ends(v4, subnets)?;
            Some(PairFamily { import, near, far, stands })
        });
        Self { families: families.collect() }
    }

    /// The addresses of the near end.
    pub(crate) fn near(&self) -> Vec<IpAddr> {
        self.families.iter().map(|family| family.near).collect()
    }

    /// The addresses of the far end.
    pub(crate) fn far(&self) -> Vec<IpAddr> {
        self.families.iter().map(|family| family.far).collect()
    }
}

/// Whatever the far end of a pair may be.
pub(crate) fn far_ends() -> BTreeSet<IpAddr> {
    let v6 = PAIRS_V6.iter().map(|prefix| IpAddr::V6(Ipv6Addr::from(u128::from(*prefix) + 2)));
    v6.chain([PAIR_V4[1].into()]).collect()
}

/// Link-local addresses of IPv4 are in no partition's network; with those of IPv6 nothing can be forwarded.
fn ends(v4: bool, subnets: &[Cidr]) -> Option<(IpAddr, IpAddr)> {
    if v4 {
        return Some((PAIR_V4[0].into(), PAIR_V4[1].into()));
    }
    let free = |prefix: &&Ipv6Addr| subnets.iter().all(|net| !net.0.contains(&IpAddr::V6(**prefix)));
    let prefix = u128::from(*PAIRS_V6.iter().find(free)?);
    Some((Ipv6Addr::from(prefix + 1).into(), Ipv6Addr::from(prefix + 2).into()))
}

fn link_routes(to: &[IpAddr]) -> Vec<Route> {
    let route = |address: &IpAddr| {
        let hops = vec![Hop { via: None, dev: OUTSIDE.to_owned() }];
        Route { dst: IpNet::from(*address), src: None, hops, mtu: None, rto_min: None }
    };
    to.iter().map(route).collect()
}

/// An end as the unit of its network, with what is served there.
fn unit(end: &ImportEnd, network: &Network, services: Vec<ServiceOrder>) -> Unit {
    Unit {
        partition: network.partition.clone(),
        vni: end.vni,
        owner: true,
        epoch: Epoch(1),
        gateways: end.addresses.clone(),
        gateway_mac: end.mac,
        subnets: network.subnets.clone(),
        public: Vec::new(),
        services,
        web: Vec::new(),
    }
}

/// How the near namespace is wired; without a pair it has no outer link.
pub(crate) fn near_wiring(host: &HostName, order: &ImportOrder, network: &Network, pair: Option<&Pair>) -> Wiring {
    let routes = pair.map(|pair| link_routes(&pair.far())).unwrap_or_default();
    Wiring { outside_mac: pair.map(|_| NEAR_MAC), ..wiring(host, &unit(&order.near, network, Vec::new()), network, &routes) }
}

/// How the far namespace is wired.
pub(crate) fn far_wiring(host: &HostName, way: &ImportWay, network: &Network, pair: &Pair) -> Wiring {
    Wiring { outside_mac: Some(FAR_MAC), ..wiring(host, &unit(&way.far, network, Vec::new()), network, &link_routes(&pair.near())) }
}

/// The service, as what the far namespace serves at its end of the pair.
pub(crate) fn far_unit(way: &ImportWay, network: &Network, pair: &Pair) -> Unit {
    let service = ServiceOrder { addresses: pair.far(), ..way.service.clone() };
    Unit { public: pair.far(), ..unit(&way.far, network, vec![service]) }
}

fn chain(hook: &'static str, rules: impl IntoIterator<Item = String>) -> Chain {
    Chain { hook: Some(hook), rules: rules.into_iter().collect() }
}

const fn word(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip6",
    }
}

/// What both have alike: nothing is forwarded but what was rewritten, nobody is answered but who asks whether the address is there, and
/// nobody learns of the way by what packets say of it: no router writes itself into one (RFC 791, record route, which servers send back), and
/// none counts a packet to its end, which would be told by who is on the way.
fn closed() -> [(String, Chain); 3] {
    let enter = chain(
        "type filter hook prerouting priority mangle; policy accept;",
        ["ip hdrlength > 5 drop", "meta l4proto tcp ip ttl set 64", "meta l4proto tcp ip6 hoplimit set 64"].map(str::to_owned),
    );
    let forward = chain(
        "type filter hook forward priority filter; policy drop;",
        ["ct status dnat accept", "ct state related accept"].map(str::to_owned),
    );
    let input = chain("type filter hook input priority filter; policy drop;", ["meta l4proto { icmp, ipv6-icmp } accept".to_owned()]);
    [("enter".to_owned(), enter), ("forward".to_owned(), forward), ("input".to_owned(), input)]
}

/// The rules of the near namespace: with a way, to the service's port by this pair. What is under way already began at another director, or
/// under a former consent: it goes on only where there was another director.
pub(crate) fn near_rules(way: Option<(&ImportWay, &Pair)>) -> Ruleset {
    let families = || way.into_iter().flat_map(|(way, pair)| pair.families.iter().map(move |family| (way, family)));
    let to = families().map(|(way, PairFamily { import, far, .. })| {
        let (ip, port) = (word(*import), way.service.port);
        let begins = if way.moved { "" } else { "tcp flags & (syn | ack) == syn " };
        format!(r#"iifname "{INSIDE}" {ip} daddr {import} tcp dport {port} {begins}dnat {ip} to {far}"#)
    });
    let from = families().map(|(_, PairFamily { near, far, .. })| {
        let ip = word(*near);
        format!(r#"oifname "{OUTSIDE}" {ip} daddr {far} meta l4proto tcp snat {ip} to {near}"#)
    });
    let mut chains = BTreeMap::from(closed());
    chains.insert("prerouting".to_owned(), chain("type nat hook prerouting priority dstnat; policy accept;", to));
    chains.insert("postrouting".to_owned(), chain("type nat hook postrouting priority srcnat; policy accept;", from));
    Ruleset { maps: BTreeMap::new(), chains }
}

/// The rules of the far namespace: those of a partition's own for the service, but that connections come from what stands for the import.
pub(crate) fn far_rules(kept: &Kept, pair: &Pair) -> Ruleset {
    let from = pair.families.iter().map(|PairFamily { near, stands, .. }| {
        let ip = word(*near);
        format!(r#"iifname "{OUTSIDE}" oifname "{INSIDE}" {ip} saddr {near} meta l4proto tcp snat {ip} to {stands}"#)
    });
    let mut rules = ruleset(kept);
    rules.chains.remove("beyond");
    rules.chains.extend(closed());
    rules.chains.insert("postrouting".to_owned(), chain("type nat hook postrouting priority srcnat; policy accept;", from));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{backend, desired, import, service, unit};
    use crate::units::decide;
    use pan_model::partition::networks;
    use pan_model::service::BackendState::Up;
    use std::time::Duration;

    #[test]
    fn the_pair_meets_neither_partition() {
        let own = |text: &str| {
            let spec = pan_model::PartitionSpec { networks: vec![text.parse().unwrap()], ..Default::default() };
            networks(&spec)
        };
        let all = ["fc00::/7", "2000::/3", "100::/8", "fd70:616e:ffff::/64", "128.0.0.0/3", "168.0.0.0/8", "10.0.0.0/24"];
        for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (one, other))) {
            let subnets: Vec<Cidr> = [own(one).unwrap(), own(other).unwrap()].concat();
            for v4 in [true, false] {
                let (near, far) = ends(v4, &subnets).unwrap();
                let meets = |net: &Cidr| net.0.contains(&near) || net.0.contains(&far);
                assert!(near != far && !subnets.iter().any(meets), "{one} and {other}: {near} {far}");
            }
        }
        assert!(own("8000::/1").is_err() && own("160.0.0.0/3").is_err(), "what holds more is no partition's");
    }

    #[test]
    fn what_leads_nowhere_rewrites_nothing() {
        let rules = near_rules(None);
        assert!(rules.chains["prerouting"].rules.is_empty() && rules.chains["postrouting"].rules.is_empty(), "{rules:?}");
        let enter = &rules.chains["enter"].rules;
        assert!(
            enter.iter().any(|rule| rule.contains("hdrlength > 5 drop")) && enter.iter().any(|rule| rule.contains("ttl set")),
            "{enter:?}"
        );
    }

    #[test]
    fn each_family_that_both_have_has_a_way() {
        let order = import(7, vec![backend(1, Up)]);
        let way = order.way.as_ref().unwrap();
        let pair = Pair::new(&order.near, way, &[]);
        assert_eq!(pair.families.len(), 2);
        let script = near_rules(Some((way, &pair))).replace();
        for part in [
            "ip daddr 10.0.0.50 tcp dport 80 tcp flags & (syn | ack) == syn dnat ip to 169.254.0.2",
            "ip6 daddr fd70:616e:ffff::2 meta l4proto tcp snat ip6 to fd70:616e:ffff::1",
        ] {
            assert!(script.contains(part), "{part} in\n{script}");
        }
        let moved = ImportWay { moved: true, ..way.clone() };
        let script = near_rules(Some((&moved, &pair))).replace();
        assert!(script.contains("ip daddr 10.0.0.50 tcp dport 80 dnat ip to 169.254.0.2"), "{script}");
        let mut narrow = order.clone();
        narrow.near.addresses.truncate(1);
        assert_eq!(Pair::new(&narrow.near, way, &[]).families.len(), 1);
        let network = &desired(vec![unit(vec![service("www", Vec::new())])]).networks[0];
        let kept = decide(None, &far_unit(way, network, &pair), Duration::ZERO).kept;
        let script = far_rules(&kept, &pair).replace();
        for part in ["ip saddr 169.254.0.1 meta l4proto tcp snat ip to 10.0.0.60", "169.254.0.2 . tcp . 80 : goto s-www-4"] {
            assert!(script.contains(part), "{part} in\n{script}");
        }
        assert!(!script.contains("goto beyond"), "{script}");
    }
}
