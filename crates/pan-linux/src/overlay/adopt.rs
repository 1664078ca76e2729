//! Reading from the kernel what is there, among it what an earlier life of this process left.

use std::collections::{BTreeMap, BTreeSet};

use super::spec::{bridge_name, vni_of_bridge, vxlan_name};
use super::table::{HALF, Place, Table};
use crate::rtnl::{FdbEntry, Link, Result, Rtnl};

/// The links of the namespace at one moment and, once somebody asked, its forwarding entries.
pub(super) struct View {
    links: Vec<Link>,
    fdb: Option<Vec<FdbEntry>>,
}

impl View {
    pub(super) fn read(rtnl: &Rtnl) -> Result<View> {
        Ok(View { links: rtnl.links()?, fdb: None })
    }

    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The networks that have a bridge.
    pub(super) fn networks(&self) -> BTreeSet<u32> {
        let names = self.links.iter().map(|link| link.name.as_str());
        names.filter_map(vni_of_bridge).collect()
    }

    /// The ports of a network's bridge, its VXLAN device left out.
    pub(super) fn ports(&self, vni: u32) -> Vec<&Link> {
        let Some(bridge) = self.link(&bridge_name(vni)) else {
            return Vec::new();
        };
        let vxlan = vxlan_name(vni);
        self.links.iter().filter(|link| link.master == Some(bridge.index) && link.name != vxlan).collect()
    }

    /// The entries of a network as the kernel has them, without those that point to ports of others: whose names
    /// do not begin with `own`.
    pub(super) fn read_table(&mut self, rtnl: &Rtnl, vni: u32, own: &str) -> Result<Table> {
        let vxlan = self.link(&vxlan_name(vni)).map(|link| link.index);
        let ports: BTreeMap<u32, String> =
            self.ports(vni).into_iter().filter(|link| link.name.starts_with(own)).map(|link| (link.index, link.name.clone())).collect();
        let fdb = match &mut self.fdb {
            Some(fdb) => fdb,
            empty => empty.insert(rtnl.fdb()?),
        };
        let mut table = Table { forward: read_forward(fdb, vxlan, &ports), ..Table::default() };
        for neighbour in rtnl.neighs(&bridge_name(vni))? {
            table.neighbours.insert(neighbour.address, neighbour.mac);
        }
        Ok(table)
    }
}

fn read_forward(fdb: &[FdbEntry], vxlan: Option<u32>, ports: &BTreeMap<u32, String>) -> BTreeMap<[u8; 6], Place> {
    let (mut forward, mut sent, mut bridged) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for entry in fdb {
        match *entry {
            FdbEntry::Remote { device, mac, dst } if Some(device) == vxlan => {
                sent.insert(mac, Place::Host(dst));
            }
            FdbEntry::Port { device, mac } if Some(device) == vxlan => {
                bridged.insert(mac);
            }
            FdbEntry::Port { device, mac } => {
                let place = ports.get(&device).cloned().map(Place::Port);
                forward.extend(place.map(|place| (mac, place)));
            }
            FdbEntry::Remote { .. } => {}
        }
    }
    for mac in &bridged {
        forward.insert(*mac, sent.remove(mac).unwrap_or(HALF));
    }
    for mac in sent.into_keys() {
        forward.entry(mac).or_insert(HALF);
    }
    forward
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn half_entries_are_seen_and_not_taken_for_whole_ones() {
        let dst: IpAddr = "10.200.0.2".parse().unwrap();
        let mac = |last| [2, 0, 0, 0, 0, last];
        let remote = |last| FdbEntry::Remote { device: 7, mac: mac(last), dst };
        let port = |device, last| FdbEntry::Port { device, mac: mac(last) };
        let fdb = [remote(1), port(7, 1), remote(2), port(7, 3), port(9, 4)];
        let ports = BTreeMap::from([(9, "v4".to_owned())]);
        let got = read_forward(&fdb, Some(7), &ports);
        assert_eq!(got[&mac(1)], Place::Host(dst));
        assert_ne!(got[&mac(2)], Place::Host(dst));
        assert_ne!(got[&mac(3)], Place::Host(dst));
        assert_eq!(got[&mac(4)], Place::Port("v4".to_owned()));
    }
}
