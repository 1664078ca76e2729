//! Addresses of servers: MACs, partition networks, and how a server gets its own.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The MAC that belongs to a server's first address: locally administered, and unique in its
    /// partition because the address is.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let tail = match address {
            IpAddr::V4(v4) => v4.octets(),
            IpAddr::V6(v6) => {
                let all = v6.octets();
                [all[12], all[13], all[14], all[15]]
            }
        };
        Self([0x02, 0x70, tail[0], tail[1], tail[2], tail[3]])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a MAC address: expected six pairs like 02:70:0a:00:00:0a");
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            *byte = parts.next().and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or_else(bad)?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(mac)) }
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Mac {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mac".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "description": "a MAC address like 02:70:0a:00:00:0a"})
    }
}

/// A network in CIDR form; the text is kept valid and its host bits zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(pub IpNet);

impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let net: IpNet = text.parse().map_err(|_| format!("{text:?} is not a network: expected one like 10.0.0.0/24 or fd00:1::/64"))?;
        if net.addr() == net.network() { Ok(Self(net)) } else { Err(format!("{text:?} has host bits set: did you mean {}?", net.trunc())) }
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Cidr {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Network".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "description": "a network like 10.0.0.0/24 or fd00:1::/64"})
    }
}

/// Offset of the gateway in each of a partition's networks.
pub const GATEWAY_OFFSET: u128 = 1;
/// Offset of the first server address; what lies below is kept for the network itself.
pub const FIRST_SERVER_OFFSET: u128 = 10;

/// The IPv6 network of a partition that names none. Partitions never meet, so all may share it.
#[must_use]
pub fn default_v6() -> Cidr {
    Cidr(IpNet::V6(ipnet::Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x70, 0x616e, 0, 0, 0, 0, 0), 64)))
}

/// The address `offset` behind the network's own; `None` past its end (the broadcast address is not given out).
#[must_use]
pub fn address_at(net: Cidr, offset: u128) -> Option<IpAddr> {
    let address = match net.0 {
        IpNet::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4.network()).checked_add(u32::try_from(offset).ok()?)?)),
        IpNet::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6.network()).checked_add(offset)?)),
    };
    let last = net.0.broadcast();
    let usable = net.0.contains(&address) && (matches!(net.0, IpNet::V6(_)) || address != last);
    usable.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_end_with_the_network() {
        let net: Cidr = "10.0.0.0/29".parse().unwrap();
        assert_eq!(address_at(net, 1), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(address_at(net, 6), Some("10.0.0.6".parse().unwrap()));
        assert_eq!(address_at(net, 7), None);
        assert!("10.0.0.1/24".parse::<Cidr>().unwrap_err().contains("10.0.0.0/24"));
    }

    #[test]
    fn a_mac_reads_what_it_prints() {
        let mac = Mac::of("10.0.0.10".parse().unwrap());
        assert_eq!(mac.to_string(), "02:70:0a:00:00:0a");
        assert_eq!(mac.to_string().parse::<Mac>(), Ok(mac));
        assert!("02:70".parse::<Mac>().is_err());
    }
}
