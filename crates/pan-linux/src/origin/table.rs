//! What the map should hold, and what to change. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::code::{KEY_BYTES, VALUE_BYTES};
use crate::overlay::NetworkSpec;
use crate::rtnl::Mac;

/// Stands in a key for the network itself.
const EVERYBODY: Mac = [0; 6];
/// Where the servers of this very host come from, and what stands in a network's own entry: no packet has it.
const NOWHERE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Who is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who {
    pub vni: u32,
    pub mac: Mac,
}

/// Where it is, and since which binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub host: IpAddr,
    pub epoch: u64,
}

/// As the map or a keeper knows them.
pub(super) type Table = BTreeMap<Who, Origin>;

impl Who {
    pub(super) fn bytes(self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        bytes[..4].copy_from_slice(&(self.vni << 8).to_be_bytes());
        bytes[4..10].copy_from_slice(&self.mac);
        bytes
    }

    pub(super) fn of(bytes: &[u8; KEY_BYTES]) -> Self {
        let [v0, v1, v2, _, m0, m1, m2, m3, m4, m5, _, _] = *bytes;
        Self { vni: u32::from_be_bytes([0, v0, v1, v2]), mac: [m0, m1, m2, m3, m4, m5] }
    }
}

impl Origin {
    pub(super) fn bytes(self) -> [u8; VALUE_BYTES] {
        let address = match self.host {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let mut bytes = [0; VALUE_BYTES];
        bytes[..16].copy_from_slice(&address.octets());
        bytes[16..].copy_from_slice(&self.epoch.to_ne_bytes());
        bytes
    }

    pub(super) fn of(bytes: &[u8; VALUE_BYTES]) -> Self {
        let (address, epoch) = bytes.split_at(16);
        let address: [u8; 16] = address.try_into().expect("sixteen of 24 bytes");
        let epoch = u64::from_ne_bytes(epoch.try_into().expect("eight of 24 bytes"));
        Self { host: Ipv6Addr::from(address).to_canonical(), epoch }
    }
}

/// What the networks want. Of two entries for one address the newer counts; what is on this host comes from nowhere.
pub(super) fn wanted(networks: &[NetworkSpec], here: IpAddr) -> Table {
    let mut table = Table::new();
    for network in networks {
        let vni = network.vni;
        table.insert(Who { vni, mac: EVERYBODY }, Origin { host: NOWHERE, epoch: 0 });
        let remote = network.remote.iter().map(|entry| (entry.mac, if entry.host == here { NOWHERE } else { entry.host }, entry.epoch));
        let local = network.local.iter().map(|port| (port.mac, NOWHERE, port.epoch));
        for (mac, host, epoch) in remote.chain(local) {
            let known = table.entry(Who { vni, mac }).or_insert(Origin { host, epoch });
            // At the same epoch the local port is the server itself.
            if known.epoch <= epoch {
                *known = Origin { host, epoch };
            }
        }
    }
    table
}

/// What to put into the map. Nothing that is there under a later epoch is touched: another keeper, or an earlier life of
/// this one, knew better.
pub(super) fn changes<'a>(present: &'a Table, wanted: &'a Table) -> impl Iterator<Item = (Who, Origin)> + 'a {
    let newer = |who: &Who, origin: &Origin| present.get(who).is_none_or(|is| is.epoch <= origin.epoch && is != origin);
    wanted.iter().filter(move |(who, origin)| newer(who, origin)).map(|(who, origin)| (*who, *origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::{LocalPort, RemoteEntry};

    const S: Mac = [2, 0, 0, 0, 0, 1];
    const HERE: &str = "10.200.0.1";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn remote(host: &str, epoch: u64) -> RemoteEntry {
        RemoteEntry { mac: S, addresses: vec![], host: ip(host), epoch }
    }

    fn of(remote: &[RemoteEntry], local: Option<u64>) -> Table {
        let local = local.map(|epoch| LocalPort { mac: S, addresses: vec![], port: "v1".into(), epoch });
        let network = NetworkSpec { vni: 100, mtu: 1430, remote: remote.to_vec(), local: local.into_iter().collect() };
        wanted(&[network], ip(HERE))
    }

    /// The origin that is changed to; `None` if it stays.
    fn check(present: &Table, wanted: &Table) -> Option<(IpAddr, u64)> {
        let server = Who { vni: 100, mac: S };
        changes(present, wanted).find(|(who, _)| *who == server).map(|(_, origin)| (origin.host, origin.epoch))
    }

    #[test]
    fn only_a_later_binding_moves_an_origin() {
        let (first, moved) = (of(&[remote("10.200.0.2", 1)], None), of(&[remote("10.200.0.3", 2)], None));
        assert_eq!(check(&Table::new(), &first), Some((ip("10.200.0.2"), 1)));
        assert_eq!(check(&first, &moved), Some((ip("10.200.0.3"), 2)));
        assert_eq!(check(&moved, &first), None, "an older map");
        assert_eq!(check(&moved, &moved), None, "nothing new");
        let renumbered = of(&[remote("10.200.0.9", 2)], None);
        assert_eq!(check(&moved, &renumbered), Some((ip("10.200.0.9"), 2)), "the host has another address");
        assert_eq!(of(&[remote("10.200.0.3", 2), remote("10.200.0.2", 1)], None), moved, "both in one map");
    }

    #[test]
    fn what_is_here_comes_from_nowhere_and_stays_so_against_an_older_map() {
        let (far, here) = (of(&[remote("10.200.0.2", 1)], None), of(&[], Some(2)));
        assert_eq!(check(&far, &here), Some((NOWHERE, 2)));
        assert_eq!(check(&here, &far), None);
        assert_eq!(of(&[remote(HERE, 2)], None), here, "its port is not up yet");
    }

    #[test]
    fn keys_and_values_are_read_back() {
        for host in ["10.200.0.2", "fd10:200::2", "::"] {
            let origin = Origin { host: ip(host), epoch: u64::MAX - 1 };
            assert_eq!(Origin::of(&origin.bytes()), origin);
        }
        let who = Who { vni: 0x00ab_cdef, mac: S };
        assert_eq!(Who::of(&who.bytes()), who);
        assert_eq!(who.bytes()[..4], [0xab, 0xcd, 0xef, 0]);
    }
}
