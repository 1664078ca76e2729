//! Hosts that this director takes for silent, and what that means for its tables. Suspicion is cheap and can
//! be taken back: new connections go elsewhere for a moment, nothing else happens. Who is silent is found out
//! by whoever hears the heartbeats, and comes in through [`Suspicions`]; the rest is pure.

use crate::units::avoided;
use pan_api::desired::{Network, Unit};
use pan_model::service::BackendState;
use pan_model::{HostName, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The hosts that are suspected now. Cheap to clone; any thread may set it, without waiting.
#[derive(Debug, Clone)]
pub struct Suspicions {
    hosts: Arc<watch::Sender<BTreeSet<HostName>>>,
}

impl Default for Suspicions {
    fn default() -> Self {
        Self { hosts: Arc::new(watch::Sender::new(BTreeSet::new())) }
    }
}

impl Suspicions {
    /// Says who is suspected from now on: all of them, not only new ones. Does nothing if they are the same.
    pub fn set(&self, hosts: BTreeSet<HostName>) {
        self.hosts.send_if_modified(|old| {
            let news = *old != hosts;
            *old = hosts;
            news
        });
    }

    /// What was said last, and whenever that changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<BTreeSet<HostName>> {
        self.hosts.subscribe()
    }
}

/// A unit as the controller wants it, and where its servers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    unit: Unit,
    /// The host of each server, by number. Servers without a place are left out.
    hosts: BTreeMap<u32, HostName>,
}

impl Told {
    /// `network` is the unit's; `here` is this host, which cannot be silent to itself.
    #[must_use]
    pub fn new(unit: &Unit, network: &Network, here: &HostName) -> Self {
        let others = network.entries.iter().filter(|entry| entry.host != *here);
        let host_of: BTreeMap<&IpAddr, &HostName> =
            others.flat_map(|entry| entry.addresses.iter().map(|address| (address, &entry.host))).collect();
        let backends = unit.all_services().flat_map(|service| &service.backends);
        let host = |addresses: &[IpAddr]| addresses.iter().find_map(|address| host_of.get(address).copied().cloned());
        let hosts = backends.filter_map(|backend| Some((backend.index, host(&backend.addresses)?))).collect();
        Self { unit: unit.clone(), hosts }
    }

    /// The unit with every server that would take connections, and is on a silent host, suspected.
    #[must_use]
    pub fn under(&self, silent: &BTreeSet<HostName>) -> Unit {
        let mut unit = self.unit.clone();
        for backend in unit.all_services_mut().flat_map(|service| &mut service.backends) {
            let on_silent = self.hosts.get(&backend.index).is_some_and(|host| silent.contains(host));
            if on_silent && backend.state == BackendState::Up {
                backend.state = BackendState::Suspect;
            }
        }
        unit
    }
}

/// By service, the numbers of the servers that get no new connections now. A service of whose servers more than
/// half are suspected avoids none.
#[must_use]
pub fn down(unit: &Unit) -> BTreeMap<ServiceName, BTreeSet<u32>> {
    unit.services.iter().map(|service| (service.name.clone(), avoided(service))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{backend, desired, service, unit};
    use BackendState::{Down, Draining, Suspect, Up};
    use pan_api::desired::NetworkEntry;
    use pan_model::{Epoch, Mac};
    use proptest::prelude::*;

    /// Server `i` of one service is on the host at place `i`, if any.
    fn told(servers: &[(BackendState, Option<&str>)]) -> Told {
        let backends = (1..).zip(servers).map(|(index, (state, _))| backend(index, *state)).collect();
        let unit = unit(vec![service("www", backends)]);
        let mut network = desired(vec![unit.clone()]).networks.remove(0);
        network.entries.clear();
        for (backend, (_, host)) in unit.services[0].backends.iter().zip(servers) {
            network.entries.extend(host.map(|host| NetworkEntry {
                mac: Mac::of(backend.addresses[0]),
                addresses: backend.addresses.clone(),
                host: host.parse().unwrap(),
                via: "10.200.0.9".parse().unwrap(),
                epoch: Epoch(1),
                cluster: None,
                by_service: false,
            }));
        }
        Told::new(&unit, &network, &"d1".parse().unwrap())
    }

    fn hosts(names: &[&str]) -> BTreeSet<HostName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn down_of(told: &Told, silent: &BTreeSet<HostName>) -> BTreeSet<u32> {
        down(&told.under(silent)).into_values().next().unwrap()
    }

    fn check(servers: &[(BackendState, Option<&str>)], silent: &[&str], expected: &[u32]) {
        assert_eq!(down_of(&told(servers), &hosts(silent)), expected.iter().copied().collect(), "{servers:?}, silent {silent:?}");
    }

    #[test]
    fn servers_on_silent_hosts_are_avoided() {
        let three = [(Up, Some("n1")), (Up, Some("n2")), (Up, Some("n3"))];
        check(&three, &[], &[]);
        check(&three, &["n2"], &[2]);
        check(&three, &["n9"], &[]);
        // Two of three are more than half: panic.
        check(&three, &["n2", "n3"], &[]);
        check(&[(Up, Some("n1")), (Up, Some("n1")), (Up, Some("n2")), (Up, Some("n3"))], &["n1"], &[1, 2]);
        // The controller's suspicions count as well, and together.
        check(&[(Suspect, Some("n1")), (Up, Some("n2"))], &[], &[1]);
        check(&[(Suspect, Some("n1")), (Up, Some("n2"))], &["n2"], &[]);
        // Who takes no connections anyway does not count.
        check(&[(Down, Some("n1")), (Up, Some("n2")), (Up, Some("n3"))], &["n1", "n2"], &[2]);
        check(&[(Draining, Some("n1")), (Up, Some("n2"))], &["n1"], &[]);
        // Nobody is silent to himself, and a server without a place is on no host.
        check(&[(Up, Some("d1")), (Up, None), (Up, Some("n3"))], &["d1"], &[]);
    }

    #[test]
    fn what_is_suspected_is_told_to_whoever_watches_and_only_news() {
        let suspicions = Suspicions::default();
        let mut seen = suspicions.clone().watch();
        suspicions.set(hosts(&["n1"]));
        assert!(seen.has_changed().unwrap());
        assert_eq!(*seen.borrow_and_update(), hosts(&["n1"]));
        suspicions.set(hosts(&["n1"]));
        assert!(!seen.has_changed().unwrap());
    }

    proptest! {
        #[test]
        fn suspicion_is_bounded_and_can_be_taken_back(
            servers in proptest::collection::vec((0..4_usize, proptest::option::of(0..5_usize)), 0..12),
            silent in proptest::collection::btree_set(0..5_usize, 0..5),
        ) {
            const NAMES: [&str; 5] = ["n0", "n1", "n2", "n3", "n4"];
            let servers: Vec<_> =
                servers.into_iter().map(|(state, host)| ([Up, Down, Suspect, Draining][state], host.map(|host| NAMES[host]))).collect();
            let told = told(&servers);
            let silent = hosts(&silent.into_iter().map(|host| NAMES[host]).collect::<Vec<_>>());
            let down = down_of(&told, &silent);
            // By counting.
            let takes = |state: BackendState| matches!(state, Up | Suspect);
            let candidates = servers.iter().filter(|(state, _)| takes(*state)).count();
            let suspects: BTreeSet<u32> = (1..)
                .zip(&servers)
                .filter(|(_, (state, host))| takes(*state) && (*state == Suspect || host.is_some_and(|host| silent.iter().any(|name| name.as_str() == host))))
                .map(|(index, _)| index)
                .collect();
            let expected = if suspects.len() * 2 > candidates { BTreeSet::new() } else { suspects };
            prop_assert_eq!(&down, &expected);
            prop_assert!(down.len() < candidates.max(1), "somebody is left");
            // Nothing but states differs, and nothing is left once the hosts are heard again.
            prop_assert_eq!(told.under(&BTreeSet::new()), told.unit.clone());
            let states = |unit: &Unit| unit.services[0].backends.iter().filter(|backend| backend.state == Up).count();
            prop_assert!(states(&told.under(&silent)) <= states(&told.unit));
        }
    }
}
