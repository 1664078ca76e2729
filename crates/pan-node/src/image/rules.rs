//! Which registries may be asked, and at which addresses. Pure.
//!
//! A partition chooses the name, so the name is not trusted: a node reaches more than a partition may. Whoever is not listed is not
//! asked; and a listed name that leads to an address of the PAN's own, of this host, or of its link is refused unless that very address
//! is listed. The same holds for wherever a registry sends on, and for whom it names to give out tokens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use pan_model::host_config::HostConfig;
use pan_model::registry::{Ports, RegistryRule, Security, split_host};

use super::error::ImageError;

/// The list, and addresses of the PAN.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    listed: Vec<RegistryRule>,
    own: Vec<IpNet>,
}

/// How to reach somebody who may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub security: Security,
    pub host: String,
    pub port: u16,
    /// Only by `*`.
    by_star: bool,
}

impl Way {
    /// As it stands in a `Host` header, and in words.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.security.port() { host } else { format!("{host}:{}", self.port) }
    }
}

impl Rules {
    pub(super) fn of(config: &HostConfig) -> Self {
        let fabrics = [config.fabrics.a.address, config.fabrics.b.address].map(|net| net.trunc());
        let peers = config.controllers.iter().chain(&config.lessors).chain(&config.directors);
        let hosts = peers.flat_map(|peer| [peer.address, peer.a, peer.b]).chain([config.address]).map(IpNet::from);
        let listed = config.node.as_ref().map(|node| node.images.registries.clone()).unwrap_or_default();
        Self { listed, own: fabrics.into_iter().chain(hosts).collect() }
    }

    #[cfg(test)]
    pub(super) fn listing(listed: &[RegistryRule]) -> Self {
        Self { listed: listed.to_vec(), own: Vec::new() }
    }

    /// Whether a registry may be asked that a reference names, and how: as its line in the list says.
    pub(super) fn registry(&self, registry: &str) -> Result<Way, ImageError> {
        let (host, port) = split_host(registry);
        let port = port.and_then(|port| port.parse::<u16>().ok());
        let way = |rule: &RegistryRule| self.fitting(rule, rule.security, &host, port.unwrap_or(rule.security.port()));
        self.best(way).ok_or_else(|| ImageError::NotListed(registry.to_owned()))
    }

    /// Whether somebody may be asked to whom a registry sends.
    pub(super) fn elsewhere(&self, security: Security, host: &str, port: Option<u16>) -> Result<Way, ImageError> {
        let (host, _) = split_host(&if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() });
        let port = port.unwrap_or(security.port());
        let way = |rule: &RegistryRule| if rule.security == security { self.fitting(rule, security, &host, port) } else { None };
        self.best(way).ok_or(ImageError::NotListed(host.clone()))
    }

    /// A line that names the host counts before one that names none.
    fn best(&self, way: impl Fn(&RegistryRule) -> Option<Way>) -> Option<Way> {
        self.listed.iter().filter_map(way).min_by_key(|way| way.by_star)
    }

    fn fitting(&self, rule: &RegistryRule, security: Security, host: &str, port: u16) -> Option<Way> {
        let host_fits = rule.host.as_deref().is_none_or(|listed| listed == host);
        let port_fits = match rule.ports {
            Ports::Any => true,
            Ports::One(listed) => listed == port,
        };
        (host_fits && port_fits).then(|| Way { security, host: host.to_owned(), port, by_star: rule.host.is_none() })
    }

    /// Whether that may be an address of it.
    pub(super) fn address(&self, way: &Way, address: IpAddr) -> bool {
        let address = plain(address);
        let is_listed = || way.host.parse::<IpAddr>().is_ok_and(|listed| !way.by_star && plain(listed) == address);
        let near = is_near(address) || self.own.iter().any(|net| net.contains(&address));
        let private = way.by_star && is_private(address);
        (!near && !private) || is_listed()
    }
}

/// An IPv4 address in whatever clothes.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    match v6.segments() {
        // Translated by whoever does that (RFC 6052), and 6to4 (RFC 3056).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Ipv4Addr::new(a, b, c, d).into()
        }
        _ => v6.into(),
    }
}

/// This host, its link, and what is no address of anybody: nobody's registry, and where clouds answer for machines' secrets.
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.octets()[0] == 0 || v4.octets()[0] >= 240,
        IpAddr::V6(v6) => {
            let unicast = v6.segments()[0];
            let compatible = v6.segments()[..6] == [0; 6];
            compatible || v6.is_multicast() || unicast & 0xffc0 == 0xfe80 || unicast & 0xffc0 == 0xfec0 || v6 == METADATA
        }
    }
}

/// Amazon's instance metadata service over IPv6.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Networks that are somebody's own (RFC 1918, 4193, 6598, 2544, 6890).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let further = [([100, 64, 0, 0], 10), ([198, 18, 0, 0], 15), ([192, 0, 0, 0], 24)];
            let within = |(net, length): ([u8; 4], u8)| Ipv4Net::new(net.into(), length).is_ok_and(|net| net.contains(&v4));
            v4.is_private() || further.into_iter().any(within)
        }
        IpAddr::V6(v6) => v6.segments()[0] & 0xfe00 == 0xfc00,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(listed: &[&str]) -> Rules {
        Rules { listed: listed.iter().map(|rule| rule.parse().unwrap()).collect(), own: vec!["10.201.0.0/16".parse().unwrap()] }
    }

    #[test]
    fn only_who_is_listed_is_asked_and_as_listed() {
        let rules = rules(&["r.example", "s.example:5000", "http://127.0.0.1:*"]);
        let way = |registry: &str| rules.registry(registry).map(|way| (way.security, way.port)).ok();
        assert_eq!(way("r.example"), Some((Security::Tls, 443)));
        assert_eq!(way("R.example:443"), Some((Security::Tls, 443)));
        assert_eq!(way("s.example:5000"), Some((Security::Tls, 5000)));
        assert_eq!(way("127.0.0.1:5001"), Some((Security::Clear, 5001)));
        for registry in ["r.example:80", "s.example", "evil.example", "r.example.evil", "127.0.0.2:5001", "[::1]:5000"] {
            assert_eq!(way(registry), None, "{registry}");
        }
        let sent = |security, host: &str, port| rules.elsewhere(security, host, port).is_ok();
        assert!(sent(Security::Tls, "r.example", None) && sent(Security::Clear, "127.0.0.1", Some(9)));
        assert!(!sent(Security::Clear, "r.example", None), "nobody is sent from TLS into the clear");
        assert!(!sent(Security::Tls, "evil.example", None) && !sent(Security::Tls, "r.example", Some(22)));
        assert!(super::tests::rules(&[]).registry("r.example").is_err());
    }

    #[test]
    fn a_name_leads_to_nobody_near() {
        let rules = rules(&["r.example", "*", "http://10.201.0.7:5000", "127.0.0.1:5000"]);
        let may = |registry: &str, address: &str| rules.address(&rules.registry(registry).unwrap(), address.parse().unwrap());
        for address in [
            "127.0.0.1",
            "::1",
            "169.254.169.254",
            "fe80::1",
            "10.201.3.4",
            "0.0.0.0",
            "::",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "::7f00:1",
            "fd00:ec2::254",
            "64:ff9b::a9fe:a9fe",
        ] {
            assert!(!may("r.example", address), "{address}");
            assert!(!may("other.example", address), "{address} by *");
        }
        assert!(may("r.example", "192.168.1.1") && may("r.example", "fd12::1"), "an operator's own registry");
        for address in ["192.168.1.1", "10.1.1.1", "100.64.0.1", "172.16.0.1", "fd12::1", "198.18.0.1"] {
            assert!(!may("other.example", address), "{address} by *");
        }
        assert!(may("other.example", "1.1.1.1") && may("other.example", "2606:4700::1111"));
        // That very address is listed.
        assert!(may("10.201.0.7:5000", "10.201.0.7") && may("127.0.0.1:5000", "127.0.0.1"));
        assert!(!may("10.201.0.7:5001", "10.201.0.7") && !may("127.0.0.1:443", "127.0.0.1"));
    }
}
