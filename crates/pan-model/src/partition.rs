//! Partition: a tenant's closed world.

use crate::network::Cidr;
use crate::{ByteSize, Resources};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// What a partition asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PartitionSpec {
    /// The partition's network; shorthand for `networks` with one entry. May overlap any other partition's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Cidr>,
    /// The partition's networks: at most one IPv4 and one IPv6. Without an IPv6 one a private one is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Cidr>,
    /// What is promised to the partition and what it may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacitySpec>,
    /// Limits on numbers of things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaSpec>,
    /// Whether servers may use the node's own root as their image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_image: Option<HostImage>,
}

/// Promise and limit of a partition's capacity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CapacitySpec {
    /// Kept free for the partition, whatever others do, also after one node failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guaranteed: Option<Resources>,
    /// Never exceeded: servers together ask for no more, and each takes no more processor time than it asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Resources>,
}

/// Limits on numbers of things in a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaSpec {
    /// Most servers of all clusters together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<u32>,
    /// Most public addresses; an IPv4 and an IPv6 address count once together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<u32>,
    /// Most storage: the sizes of volumes and of their snapshots, once for each copy, however little of them is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<ByteSize>,
    /// Most imports; 64 where nothing is said, and never more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imports: Option<u32>,
    /// Most requests a second to a controller, of all tokens of the partition together; 500 where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<NonZeroU32>,
}

/// Whether `image: host` is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostImage {
    /// Servers may use the node's root, read-only.
    Allow,
    /// They may not.
    Deny,
}

/// Networks that no server can have an address in (RFC 6890, RFC 5735).
const SPECIAL: [(&str, &str); 7] = [
    ("0.0.0.0/8", "hosts that do not know their address"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local addresses"),
    ("224.0.0.0/3", "multicast and reserved"),
    ("::/16", "loopback and special addresses"),
    ("fe80::/10", "link-local addresses"),
    ("ff00::/8", "multicast"),
];

fn overlaps(net: Cidr, special: &str) -> bool {
    let special: Cidr = special.parse().expect("the table is valid");
    let same_family = net.0.network().is_ipv4() == special.0.network().is_ipv4();
    same_family && (net.0.contains(&special.0.network()) || special.0.contains(&net.0.network()))
}

/// The networks of a spec with shorthand and default resolved: IPv4 first if there is one, then IPv6.
///
/// # Errors
/// A text naming the contradiction: both forms given, two of one family, none at all, or too small.
pub fn networks(spec: &PartitionSpec) -> Result<Vec<Cidr>, String> {
    if spec.network.is_some() && !spec.networks.is_empty() {
        return Err("both `network` and `networks` are given: keep one of them".into());
    }
    let given: Vec<Cidr> = spec.network.iter().chain(&spec.networks).copied().collect();
    let of = |v4: bool| given.iter().filter(move |net| net.0.network().is_ipv4() == v4).copied().collect::<Vec<_>>();
    let (v4, v6) = (of(true), of(false));
    if given.is_empty() {
        return Err("a partition needs a network: give `network: 10.0.0.0/24`, say".into());
    }
    if let Some(special) = given.iter().find_map(|net| {
        SPECIAL
            .iter()
            .find(|(text, _)| overlaps(*net, text))
            .map(|(text, what)| format!("network {} overlaps {text}, which is for {what}", net.0))
    }) {
        return Err(special);
    }
    if v4.len() > 1 || v6.len() > 1 {
        return Err("at most one IPv4 and one IPv6 network may be given".into());
    }
    if let Some(small) = given.iter().find(|net| crate::network::address_at(**net, crate::network::FIRST_SERVER_OFFSET).is_none()) {
        return Err(format!(
            "network {} is too small: addresses from the {}th on are for servers",
            small.0,
            crate::network::FIRST_SERVER_OFFSET
        ));
    }
    let v6 = v6.first().copied().unwrap_or_else(crate::network::default_v6);
    Ok(v4.first().copied().into_iter().chain([v6]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_may_ask_at_least_something() {
        let read = |requests: &str| {
            let text = format!("api: pan/v1\nkind: Partition\nname: p\nspec:\n  network: 10.0.0.0/24\n  quota: {{requests: {requests}}}\n");
            crate::manifest::parse(&[("p.yaml".to_owned(), text)], None)
        };
        assert!(read("1").is_ok());
        for bad in ["0", "-1", "many"] {
            let problems = read(bad).unwrap_err();
            assert!(problems.len() == 1 && problems[0].place.line == 6, "{problems:?}");
        }
    }

    #[test]
    fn a_network_must_be_one_that_servers_can_live_in() {
        let spec = |text: &str| PartitionSpec { network: Some(text.parse().unwrap()), ..PartitionSpec::default() };
        for good in ["10.0.0.0/24", "192.168.0.0/16", "fd00:1::/64"] {
            assert!(networks(&spec(good)).is_ok(), "{good}");
        }
        for bad in
            ["0.0.0.0/0", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "169.254.0.0/16", "ff00::/8", "fe80::/64", "::/0", "10.0.0.0/29"]
        {
            assert!(networks(&spec(bad)).is_err(), "{bad}");
        }
    }
}
