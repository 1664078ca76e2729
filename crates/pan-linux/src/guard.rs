//! Source guard: what a port may claim to be. From a guarded port only frames with its own Ethernet
//! address and its own IP addresses pass; anything else (other protocols, VLAN tags, router
//! advertisements) is dropped before the bridge sees it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use crate::netns::Netns;
use crate::nft::{self, Batch, Element, ElementsError, Family, Nft, NftError, Value};
use crate::rtnl::Mac;

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
    nft: Nft,
    applied: Option<Vec<GuardedPort>>,
}

/// Why a guard is not as asked. What was in force before still is.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Its rules were refused.
    #[error("load the source guard")]
    Rules(#[from] NftError),
    /// Its elements were refused.
    #[error("change the source guard")]
    Elements(#[from] ElementsError),
}

impl Guard {
    /// Starts keeping the guard of a namespace. Nothing changes before [`Guard::apply`].
    ///
    /// # Errors
    /// The process has no free descriptor, or the kernel gives no socket.
    pub fn new(netns: &Netns) -> Result<Guard, GuardError> {
        let nft = Nft::open_in(netns)?;
        Ok(Guard { netns: netns.try_clone().map_err(ElementsError::from)?, nft, applied: None })
    }

    /// Guards exactly these ports, in one transaction, and tells whether anything had to change. A port
    /// need not exist yet: guard it first and attach it then, so that nothing slips through. The rules are
    /// loaded the first time and after an error; from then on only elements change.
    ///
    /// # Errors
    /// The rules or the elements are refused; the former ones stay in force.
    pub fn apply(&mut self, ports: &[GuardedPort]) -> Result<bool, GuardError> {
        if self.applied.as_deref() == Some(ports) {
            return Ok(false);
        }
        match self.applied.take() {
            Some(applied) => self.nft.commit(&difference(&elements(&applied), &elements(ports)), None)?,
            None => nft::load(Some(&self.netns), &script(ports))?,
        }
        self.applied = Some(ports.to_vec());
        Ok(true)
    }
}

/// The names and types of the sets.
const SETS: [(&str, &str); 4] =
    [("ports", "ifname"), ("macs", "ifname . ether_addr"), ("v4", "ifname . ipv4_addr"), ("v6", "ifname . ipv6_addr")];

/// Keys by set, in the order of [`SETS`].
type Keys = [BTreeSet<Value>; 4];

fn elements(ports: &[GuardedPort]) -> Keys {
    let mut keys = Keys::default();
    for port in ports {
        let with = |value| Value::Concat(vec![Value::Interface(port.port.clone()), value]);
        keys[0].insert(Value::Interface(port.port.clone()));
        keys[1].insert(with(Value::Ether(port.mac)));
        for address in &port.addresses {
            keys[if address.is_ipv4() { 2 } else { 3 }].insert(with(Value::Ip(*address)));
        }
    }
    keys
}

fn difference(old: &Keys, new: &Keys) -> Batch {
    let mut batch = Batch::new(Family::Bridge, TABLE);
    for ((name, _), (old, new)) in SETS.iter().zip(old.iter().zip(new)) {
        batch.delete(name, old.difference(new).cloned());
        batch.add(name, new.difference(old).cloned().map(Element::of_set));
    }
    batch
}

const TABLE: &str = "pan_guard";

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
    let mut script = format!("add table bridge {TABLE}\ndelete table bridge {TABLE}\ntable bridge {TABLE} {{\n");
    for ((name, kind), keys) in SETS.iter().zip(elements(ports)) {
        writeln!(script, "  set {name} {{\n    type {kind}").expect("a string takes all");
        if !keys.is_empty() {
            let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
            writeln!(script, "    elements = {{ {} }}", keys.join(", ")).expect("a string takes all");
        }
        script.push_str("  }\n");
    }
    script.push_str(RULES);
    script
}
