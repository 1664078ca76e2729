//! The addressing plan: the same inside every lab, so a host's addresses follow from its name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pan_linux::rtnl::Mac;

use crate::name::{HostKind, LabHost};

/// A network every lab has, as a bridge and as the name of the interface on each host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Net {
    FabricA,
    FabricB,
    Management,
    Outside,
}

impl Net {
    pub(crate) const ALL: [Self; 4] = [Self::FabricA, Self::FabricB, Self::Management, Self::Outside];

    /// The internal networks that carry traffic and heartbeats.
    pub(crate) const FABRICS: [Self; 2] = [Self::FabricA, Self::FabricB];

    /// The bridge's and the interface's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FabricA => "fa",
            Self::FabricB => "fb",
            Self::Management => "mgmt",
            Self::Outside => "out",
        }
    }

    /// The bridge's fixed Ethernet address.
    pub(crate) const fn bridge_mac(self) -> Mac {
        let last = match self {
            Self::FabricA => 1,
            Self::FabricB => 2,
            Self::Management => 3,
            Self::Outside => 4,
        };
        [0x02, 0xfe, 0, 0, 0, last]
    }
}

/// The outside network.
pub(crate) const OUTSIDE_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 24);
/// The outside network, IPv6.
pub(crate) const OUTSIDE_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd18, 0, 0, 0, 0, 0, 0, 0), 64);
/// The machine's own address on the outside network.
pub(crate) const MACHINE: u8 = 254;
/// Public addresses services are given: clear of hosts, above the low ones people pick by hand.
pub(crate) const POOL: (u8, u8) = (100, 199);

/// Directors, the client and the machine are among these.
pub(crate) const OTHERS: (u8, u8) = (240, MACHINE);

impl LabHost {
    /// The last byte of its addresses on the internal networks; `None` for the client, which has none.
    fn byte(self) -> Option<u8> {
        let base = match self.kind() {
            HostKind::Controller => 0,
            HostKind::Node => 10,
            HostKind::Storage => 100,
            HostKind::Director => 200,
            HostKind::Etcd => 220,
            HostKind::Outside => return None,
        };
        Some(base + self.ordinal())
    }

    /// Its own address, on `lo`.
    pub(crate) fn address(self) -> Option<IpAddr> {
        Some(Ipv4Addr::new(10, 200, 0, self.byte()?).into())
    }

    /// Its addresses on a network; empty if it is not on it.
    pub(crate) fn addresses_on(self, net: Net) -> Vec<IpNet> {
        let internal = |second: u8| {
            let address = self.byte().map(|byte| Ipv4Addr::new(10, second, 0, byte));
            address.map(|ip| Ipv4Net::new_assert(ip, 16).into()).into_iter().collect()
        };
        match net {
            Net::FabricA => internal(201),
            Net::FabricB => internal(202),
            Net::Management => internal(203),
            Net::Outside => match self.kind() {
                HostKind::Director => outside(240 + self.ordinal()),
                HostKind::Outside => outside(250),
                HostKind::Controller | HostKind::Node | HostKind::Storage | HostKind::Etcd => Vec::new(),
            },
        }
    }

    /// Its Ethernet address on a network. It follows from the IP address, so that it survives a power
    /// cut as a real card's does.
    pub(crate) fn mac_on(self, net: Net) -> Option<Mac> {
        let first = self.addresses_on(net).into_iter().next()?;
        let IpAddr::V4(ip) = first.addr() else {
            return None;
        };
        let [a, b, c, d] = ip.octets();
        Some([0x02, 0x01, a, b, c, d])
    }

    /// The name of the bridge's port for this host.
    pub(crate) fn port_on(self, net: Net) -> String {
        format!("{self}-{}", net.name())
    }
}

/// Address `byte` of the outside network in both families; IPv6 repeats the decimal digits.
pub(crate) fn outside(byte: u8) -> Vec<IpNet> {
    let v4 = Ipv4Addr::new(198, 18, 0, byte);
    let digits = u16::from_str_radix(&byte.to_string(), 16).expect("decimal digits are hex digits");
    let v6 = Ipv6Addr::new(0xfd18, 0, 0, 0, 0, 0, 0, digits);
    vec![Ipv4Net::new_assert(v4, 24).into(), Ipv6Net::new_assert(v6, 64).into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_plan() {
        let host = |text: &str| text.parse::<LabHost>().unwrap();
        let text = |nets: Vec<IpNet>| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(host("n1").addresses_on(Net::FabricA)), ["10.201.0.11/16"]);
        assert_eq!(text(host("s1").addresses_on(Net::FabricB)), ["10.202.0.101/16"]);
        assert_eq!(text(host("d1").addresses_on(Net::Outside)), ["198.18.0.241/24", "fd18::241/64"]);
        assert_eq!(text(LabHost::OUTSIDE.addresses_on(Net::Outside)), ["198.18.0.250/24", "fd18::250/64"]);
        assert!(LabHost::OUTSIDE.addresses_on(Net::FabricA).is_empty());
        assert!(host("n1").addresses_on(Net::Outside).is_empty());
        assert_eq!(host("c1").address().unwrap().to_string(), "10.200.0.1");
        assert_eq!(host("n1").mac_on(Net::FabricA), Some([2, 1, 10, 201, 0, 11]));
    }
}
