//! The source guard at servers' ports, and what it refused.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pan_api::report::{RefusedFrames, RefusedWhy, counted_since};
use pan_linux::guard::{Guard, GuardedPort, Refusal, Refused};
use pan_linux::overlay::NetworkSpec;
use pan_model::ServerKey;

use super::allowed::Allowed;
use super::spec::Port;
use crate::error::chain;

/// How often the kernel is asked for what it refused: as often as there is a report.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Frames refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    /// Of the servers that are here, since they came.
    pub servers: BTreeMap<(ServerKey, RefusedWhy), u64>,
    /// Of all that were ever here.
    pub total: BTreeMap<RefusedWhy, u64>,
}

impl Refusals {
    /// As a report has them.
    pub(crate) fn told(&self) -> Vec<RefusedFrames> {
        self.servers.iter().map(|((key, why), frames)| RefusedFrames { key: key.clone(), why: *why, frames: *frames }).collect()
    }

    /// Adds what the kernel has counted since `last`, which becomes what it has counted now.
    fn add(&mut self, ports: &BTreeMap<String, Port>, last: &mut BTreeMap<(String, RefusedWhy), u64>, read: Vec<Counted>) {
        self.servers.retain(|(key, _), _| ports.values().any(|port| port.key == *key));
        let mut now = BTreeMap::new();
        for Counted { port, why, frames } in read {
            // A count that was forgotten by the kernel begins anew.
            let more = counted_since(last.get(&(port.clone(), why)), frames);
            if more > 0 {
                *self.total.entry(why).or_default() += more;
                if let Some(port) = ports.get(&port) {
                    *self.servers.entry((port.key.clone(), why)).or_default() += more;
                }
            }
            now.insert((port, why), frames);
        }
        *last = now;
    }
}

/// What a port has refused for one reason, by the kernel's count.
struct Counted {
    port: String,
    why: RefusedWhy,
    frames: u64,
}

/// The guard, and what was seen of its counts.
#[derive(Debug)]
pub(super) struct Guarded {
    guard: Guard,
    refusals: Refusals,
    last: BTreeMap<(String, RefusedWhy), u64>,
    read: Option<Instant>,
}

impl Guarded {
    pub(super) fn new(guard: Guard) -> Self {
        Self { guard, refusals: Refusals::default(), last: BTreeMap::new(), read: None }
    }

    /// Lets every port speak for its server only. Where there is no guard at all, ports are taken off the list and
    /// returned: no server may be heard past it.
    pub(super) fn ports(
        &mut self,
        ports: &BTreeMap<String, Port>,
        networks: &mut [NetworkSpec],
        problems: &mut Vec<String>,
    ) -> Vec<String> {
        let guarded = |port: &Port| GuardedPort { port: port.name.clone(), mac: port.mac.0, addresses: port.addresses.clone() };
        let guarded: Vec<GuardedPort> = ports.values().map(guarded).collect();
        let Err(error) = self.guard.apply(&guarded) else { return Vec::new() };
        problems.push(chain(&error));
        if self.guard.is_in_force().unwrap_or(false) {
            // Whoever it does not know says nothing.
            return Vec::new();
        }
        networks.iter_mut().flat_map(|network| network.local.drain(..)).map(|local| local.port).collect()
    }

    /// What was refused so far, by it and by what servers themselves are closed with.
    pub(super) fn refused(&mut self, ports: &BTreeMap<String, Port>, allowed: &mut Allowed) -> Refusals {
        if self.read.is_none_or(|read| read.elapsed() >= READ_EVERY) {
            self.read = Some(Instant::now());
            match self.guard.refused() {
                Ok(read) => {
                    let frames = read.into_iter().map(|Refused { port, why, frames }| Counted { port, why: word(why), frames });
                    let begun = allowed.refused().into_iter();
                    let begun = begun.map(|(port, frames)| Counted { port, why: RefusedWhy::Uninvited, frames });
                    self.refusals.add(ports, &mut self.last, frames.chain(begun).collect());
                }
                Err(error) => tracing::debug!(error = chain(&error), "what servers' ports refused cannot be read"),
            }
        }
        self.refusals.clone()
    }
}

const fn word(why: Refusal) -> RefusedWhy {
    match why {
        Refusal::Ethernet => RefusedWhy::Ethernet,
        Refusal::Address => RefusedWhy::Address,
        Refusal::Arp => RefusedWhy::Arp,
        Refusal::Neighbour => RefusedWhy::Neighbour,
        Refusal::Route => RefusedWhy::Route,
        Refusal::Protocol => RefusedWhy::Protocol,
        Refusal::Host => RefusedWhy::Host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_model::{Epoch, Mac};

    fn ports(names: &[&str]) -> BTreeMap<String, Port> {
        let port = |name: &str| Port {
            key: ServerKey { partition: "acme".parse().unwrap(), name: name.parse().unwrap() },
            name: format!("ps-{name}"),
            vni: 100,
            mac: Mac([2; 6]),
            addresses: vec![],
            epoch: Epoch(1),
        };
        names.iter().map(|name| (format!("ps-{name}"), port(name))).collect()
    }

    fn read(name: &str, frames: u64) -> Counted {
        Counted { port: format!("ps-{name}"), why: RefusedWhy::Arp, frames }
    }

    #[test]
    fn frames_are_counted_once_and_outlive_the_kernels_count() {
        let (mut refusals, mut last) = (Refusals::default(), BTreeMap::new());
        let mut check = |names: &[&str], read: Vec<Counted>, told: &[(&str, u64)], total: u64| {
            refusals.add(&ports(names), &mut last, read);
            let found: Vec<(String, u64)> = refusals.told().iter().map(|one| (one.key.name.to_string(), one.frames)).collect();
            let told: Vec<(String, u64)> = told.iter().map(|(name, frames)| ((*name).to_owned(), *frames)).collect();
            assert_eq!((found, refusals.total.get(&RefusedWhy::Arp).copied().unwrap_or(0)), (told, total));
        };
        check(&["web-1", "web-2"], vec![], &[], 0);
        check(&["web-1", "web-2"], vec![read("web-1", 5)], &[("web-1", 5)], 5);
        check(&["web-1", "web-2"], vec![read("web-1", 5)], &[("web-1", 5)], 5);
        check(&["web-1", "web-2"], vec![read("web-1", 7), read("web-2", 1)], &[("web-1", 7), ("web-2", 1)], 8);
        // The rules were loaded anew, or the count had not moved for long.
        check(&["web-1", "web-2"], vec![read("web-1", 2)], &[("web-1", 9), ("web-2", 1)], 10);
        check(&["web-1", "web-2"], vec![read("web-1", 3), read("web-2", 4)], &[("web-1", 10), ("web-2", 5)], 15);
        // One leaves; what is left in the kernel of it is nobody's.
        check(&["web-2"], vec![read("web-1", 4), read("web-2", 4)], &[("web-2", 5)], 16);
    }
}
