//! The entries of one network, and the steps from one set of entries to another. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::spec::{LocalPort, RemoteEntry};
use crate::rtnl::Mac;

/// Where frames for an Ethernet address go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// To another host.
    Host(IpAddr),
    /// Out of a port of this host's bridge.
    Port(String),
}

/// The place of an Ethernet address with only one of its two lines: it is not in force. No map names this
/// place, so the entry is either put right or removed by the next apply.
pub(super) const HALF: Place = Place::Host(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

/// All entries of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub forward: BTreeMap<Mac, Place>,
    pub neighbours: BTreeMap<IpAddr, Mac>,
}

/// One change of the kernel's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    DropNeighbour(IpAddr),
    /// Both lines on the VXLAN device.
    DropRemote(Mac),
    DropLocal {
        mac: Mac,
        port: String,
    },
    /// Both lines on the VXLAN device.
    PointRemote {
        mac: Mac,
        host: IpAddr,
    },
    PointLocal {
        mac: Mac,
        port: String,
    },
    SetNeighbour {
        address: IpAddr,
        mac: Mac,
    },
}

/// The steps from `old` to `new`. Removals come first: the bridge has one line per Ethernet address,
/// and what it points to must be gone before the address appears elsewhere. Neighbours come last, so
/// that nobody is told an address before frames for it have a way.
pub(super) fn steps(old: &Table, new: &Table) -> Vec<Step> {
    let mut steps = Vec::new();
    for address in old.neighbours.keys() {
        if !new.neighbours.contains_key(address) {
            steps.push(Step::DropNeighbour(*address));
        }
    }
    for (mac, was) in &old.forward {
        match (was, new.forward.get(mac)) {
            (Place::Host(_), Some(Place::Host(_))) => {}
            (Place::Host(_), Some(Place::Port(_)) | None) => steps.push(Step::DropRemote(*mac)),
            (Place::Port(was), Some(Place::Port(is))) if was == is => {}
            (Place::Port(port), _) => steps.push(Step::DropLocal { mac: *mac, port: port.clone() }),
        }
    }
    for (mac, is) in &new.forward {
        let was = old.forward.get(mac);
        if was == Some(is) {
            continue;
        }
        steps.push(match is {
            Place::Host(host) => Step::PointRemote { mac: *mac, host: *host },
            Place::Port(port) => Step::PointLocal { mac: *mac, port: port.clone() },
        });
    }
    for (address, mac) in &new.neighbours {
        if old.neighbours.get(address) != Some(mac) {
            steps.push(Step::SetNeighbour { address: *address, mac: *mac });
        }
    }
    steps
}

/// What to believe of a network after another look at the kernel. Entries that are gone are gone, and for its own
/// ports this keeper knows best. A way to another host that is not the one it set is left alone: another keeper,
/// which may have heard of a later place, set it.
pub(super) fn seen(believed: &Table, present: &Table) -> Table {
    let mut seen = Table::default();
    for (mac, place) in &believed.forward {
        let Some(is) = present.forward.get(mac) else { continue };
        let put_right = matches!(place, Place::Port(_)) || *is == HALF;
        seen.forward.insert(*mac, if put_right { is } else { place }.clone());
    }
    let still = |address: &&IpAddr| present.neighbours.contains_key(address);
    seen.neighbours = believed.neighbours.keys().filter(still).map(|address| (*address, believed.neighbours[address])).collect();
    seen
}

/// What [`wanted`] makes of a map.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub table: Table,
    /// The epochs of the remote entries in force.
    pub epochs: BTreeMap<Mac, u64>,
    pub stale: usize,
}

/// The entries a network should have. `epochs` and `old` are what is in force; `attached` tells which
/// ports exist. A local port wins over a remote entry for the same Ethernet address.
pub(super) fn wanted(
    remote: &[RemoteEntry],
    local: &[LocalPort],
    here: IpAddr,
    old: &Table,
    epochs: &BTreeMap<Mac, u64>,
    attached: impl Fn(&str) -> bool,
) -> Wanted {
    let mut wanted = Wanted::default();
    let mut newest: BTreeMap<Mac, &RemoteEntry> = BTreeMap::new();
    for entry in remote {
        match newest.get(&entry.mac) {
            Some(other) if other.epoch >= entry.epoch => wanted.stale += 1,
            Some(_) => {
                wanted.stale += 1;
                newest.insert(entry.mac, entry);
            }
            None => {
                newest.insert(entry.mac, entry);
            }
        }
    }
    let table = &mut wanted.table;
    for (mac, entry) in newest {
        for address in &entry.addresses {
            table.neighbours.insert(*address, mac);
        }
        match epochs.get(&mac) {
            Some(in_force) if *in_force > entry.epoch => {
                wanted.stale += 1;
                wanted.epochs.insert(mac, *in_force);
                let place = old.forward.get(&mac).cloned();
                table.forward.extend(place.map(|place| (mac, place)));
            }
            _ => {
                wanted.epochs.insert(mac, entry.epoch);
                if entry.host != here {
                    table.forward.insert(mac, Place::Host(entry.host));
                }
            }
        }
    }
    for port in local.iter().filter(|port| attached(&port.port)) {
        let place = Place::Port(port.port.clone());
        table.forward.insert(port.mac, place);
        for address in &port.addresses {
            table.neighbours.insert(*address, port.mac);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: Mac = [2, 0, 0, 0, 0, 1];

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn remote(host: &str, epoch: u64) -> RemoteEntry {
        RemoteEntry { mac: M, addresses: vec![ip("10.0.0.1")], host: ip(host), epoch }
    }

    fn local(port: &str) -> LocalPort {
        LocalPort { mac: M, addresses: vec![ip("10.0.0.1")], port: port.into(), epoch: 1 }
    }

    fn want(remote: &[RemoteEntry], local: &[LocalPort], old: &Wanted) -> Wanted {
        let here = ip("10.200.0.1");
        wanted(remote, local, here, &old.table, &old.epochs, |_| true)
    }

    fn check(old: (&[RemoteEntry], &[LocalPort]), new: (&[RemoteEntry], &[LocalPort])) -> Vec<Step> {
        let old = want(old.0, old.1, &Wanted::default());
        let new = want(new.0, new.1, &old);
        assert_eq!(steps(&new.table, &new.table), []);
        steps(&old.table, &new.table)
    }

    #[test]
    fn a_server_arrives_here() {
        let got = check((&[remote("10.200.0.2", 1)], &[]), (&[], &[local("v1")]));
        let port = "v1".to_owned();
        let expected = [Step::DropRemote(M), Step::PointLocal { mac: M, port }];
        assert_eq!(got, expected);
    }

    #[test]
    fn a_server_leaves() {
        let got = check((&[], &[local("v1")]), (&[remote("10.200.0.2", 2)], &[]));
        let port = "v1".to_owned();
        let expected = [Step::DropLocal { mac: M, port }, Step::PointRemote { mac: M, host: ip("10.200.0.2") }];
        assert_eq!(got, expected);
    }

    #[test]
    fn a_server_moves_between_others_with_one_step() {
        let old = [remote("10.200.0.2", 1)];
        let got = check((&old, &[]), (&[remote("10.200.0.3", 2)], &[]));
        let expected = [Step::PointRemote { mac: M, host: ip("10.200.0.3") }];
        assert_eq!(got, expected);
    }

    #[test]
    fn an_older_entry_is_refused() {
        let new = [remote("10.200.0.3", 2)];
        let first = want(&new, &[], &Wanted::default());
        let second = want(&[remote("10.200.0.2", 1)], &[], &first);
        assert_eq!(second.stale, 1);
        assert_eq!(second.table, first.table);
        let both = want(&[remote("10.200.0.2", 1), new[0].clone()], &[], &first);
        assert_eq!(both.table, first.table);
    }

    #[test]
    fn an_entry_for_this_host_waits_for_its_port() {
        let got = want(&[remote("10.200.0.1", 1)], &[], &Wanted::default());
        assert!(got.table.forward.is_empty());
        assert_eq!(got.table.neighbours.len(), 1);
    }

    #[test]
    fn what_was_lost_is_made_again_and_what_another_keeper_set_is_left() {
        let (own, theirs) =
            (want(&[], &[local("v1")], &Wanted::default()).table, want(&[remote("10.200.0.3", 2)], &[], &Wanted::default()).table);
        let far = want(&[remote("10.200.0.2", 1)], &[], &Wanted::default()).table;
        assert_eq!(seen(&far, &far), far);
        assert_eq!(seen(&far, &Table::default()), Table::default());
        assert_eq!(seen(&far, &theirs), far, "a later place stays");
        let half = Table { forward: [(M, HALF)].into(), ..far.clone() };
        let mend = steps(&seen(&far, &half), &far);
        assert_eq!(mend, [Step::PointRemote { mac: M, host: ip("10.200.0.2") }]);
        let mend = steps(&seen(&own, &theirs), &own);
        assert_eq!(mend, [Step::DropRemote(M), Step::PointLocal { mac: M, port: "v1".into() }], "its own port is its own");
    }

    #[test]
    fn what_is_gone_is_removed_address_first() {
        let got = check((&[remote("10.200.0.2", 1)], &[]), (&[], &[]));
        let expected = [Step::DropNeighbour(ip("10.0.0.1")), Step::DropRemote(M)];
        assert_eq!(got, expected);
    }
}
