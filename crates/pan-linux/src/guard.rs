//! Source guard: what a port may claim to be. From a guarded port only frames with its own Ethernet
//! address and its own IP addresses pass; anything else (other protocols, VLAN tags, router
//! advertisements) is dropped before the bridge sees it.

use std::fmt::Write;
use std::net::IpAddr;

use crate::netns::{Netns, NetnsError};
use crate::nft::{self, NftError};
use crate::rtnl::{Mac, format_mac};

/// A bridge port and what it may send as. A gateway's port must not be guarded: it forwards for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardedPort {
    /// The interface on the bridge.
    pub port: String,
    /// The only Ethernet address it may use.
    pub mac: Mac,
    /// The only IP addresses it may use, besides IPv6 link-local ones.
    pub addresses: Vec<IpAddr>,
}

/// The keeper of one host's source guard.
#[derive(Debug)]
pub struct Guard {
    netns: Netns,
    applied: Option<Vec<GuardedPort>>,
}

impl Guard {
    /// Starts keeping the guard of a namespace. Nothing changes before [`Guard::apply`].
    ///
    /// # Errors
    /// The process has no free descriptor.
    pub fn new(netns: &Netns) -> Result<Guard, NetnsError> {
        Ok(Guard { netns: netns.try_clone()?, applied: None })
    }

    /// Guards exactly these ports, in one transaction, and tells whether anything had to change. A port
    /// need not exist yet: guard it first and attach it then, so that nothing slips through.
    ///
    /// # Errors
    /// The rule set is refused; the former one stays in force.
    pub fn apply(&mut self, ports: &[GuardedPort]) -> Result<bool, NftError> {
        if self.applied.as_deref() == Some(ports) {
            return Ok(false);
        }
        nft::load(Some(&self.netns), &script(ports))?;
        self.applied = Some(ports.to_vec());
        Ok(true)
    }
}

const RULES: &str = "
  chain from_port {
    type filter hook prerouting priority -300; policy accept;
    iifname != @ports accept
    iifname . ether saddr != @macs drop
    ether type ip iifname . ip saddr @v4 accept
    ether type arp arp saddr ip 0.0.0.0 accept
    ether type arp iifname . arp saddr ip @v4 accept
    ether type ip6 icmpv6 type nd-router-advert drop
    ether type ip6 ip6 saddr :: accept
    ether type ip6 ip6 saddr fe80::/10 accept
    ether type ip6 iifname . ip6 saddr @v6 accept
    counter drop
  }
}
";

fn script(ports: &[GuardedPort]) -> String {
    let quoted = |port: &GuardedPort| format!("\"{}\"", port.port);
    let names: Vec<String> = ports.iter().map(quoted).collect();
    let macs: Vec<String> = ports.iter().map(|port| format!("{} . {}", quoted(port), format_mac(port.mac))).collect();
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for port in ports {
        for address in &port.addresses {
            let list = if address.is_ipv4() { &mut v4 } else { &mut v6 };
            list.push(format!("{} . {address}", quoted(port)));
        }
    }
    let mut script = "add table bridge pan_guard\n\
                      delete table bridge pan_guard\n\
                      table bridge pan_guard {\n"
        .to_owned();
    let sets = [
        ("ports", "ifname", names),
        ("macs", "ifname . ether_addr", macs),
        ("v4", "ifname . ipv4_addr", v4),
        ("v6", "ifname . ipv6_addr", v6),
    ];
    for (name, kind, elements) in sets {
        writeln!(script, "  set {name} {{\n    type {kind}").expect("a string takes all");
        if !elements.is_empty() {
            let elements = elements.join(", ");
            writeln!(script, "    elements = {{ {elements} }}").expect("a string takes all");
        }
        script.push_str("  }\n");
    }
    script.push_str(RULES);
    script
}
