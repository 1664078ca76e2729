//! What a change of a takeover unit means: which tables its services now have, and which connections are to
//! be forgotten. Pure: the former state goes in, the new one comes out.

use pan_api::desired::{BackendOrder, ServiceOrder, Unit};
use pan_balance::pipeline::{eligible, guard, score};
use pan_balance::{Backend, Generation, Generations, Spread, spread, table_size};
use pan_model::service::BackendState;
use pan_model::{ServerName, ServiceName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// A unit as it was applied last; kept in a file, so that a restarted director sees what changed meanwhile
/// and computes the same tables as the other directors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What was wanted.
    pub unit: Unit,
    /// The tables' two generations by service.
    pub generations: BTreeMap<ServiceName, Generations>,
    /// When a service's generation changed, on the caller's clock.
    #[serde(skip)]
    changed: BTreeMap<ServiceName, Duration>,
}

/// What a change of a unit asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The new state.
    pub kept: Kept,
    /// Servers' addresses whose tracked connections are dead and must not hold new packets to them.
    pub forget: BTreeSet<IpAddr>,
    /// Servers' addresses and ports that new connections avoid from now on. Tracked connections there that
    /// nothing has answered would hold a client's further tries to a server that is silent; answered ones may
    /// be alive.
    pub unanswered: BTreeSet<(IpAddr, u16)>,
}

/// Goes from the state applied last, if any, to the wanted one.
#[must_use]
pub fn decide(before: Option<&Kept>, unit: &Unit, now: Duration) -> Decision {
    let mut generations = BTreeMap::new();
    let mut changed = BTreeMap::new();
    for service in &unit.services {
        let next = Generation { size: size_of(service), members: score(&eligible(&backends_of(service)).0) };
        let former = before.and_then(|before| Some((before.generations.get(&service.name)?, before)));
        let (entry, since) = match former {
            None => (Generations::first(next), now),
            Some((former, before)) => {
                let mut entry = former.clone();
                let since = if entry.advance(next) { now } else { before.changed.get(&service.name).copied().unwrap_or(now) };
                (entry, since)
            }
        };
        generations.insert(service.name.clone(), entry);
        changed.insert(service.name.clone(), since);
    }
    let forget = before.map_or_else(BTreeSet::new, |before| forgotten(&before.unit, unit));
    let unanswered = newly_avoided(before.map(|before| &before.unit), unit);
    Decision { kept: Kept { unit: unit.clone(), generations, changed }, forget, unanswered }
}

/// The numbers of a service's servers that get no new connections for now.
#[must_use]
pub fn avoided(service: &ServiceOrder) -> BTreeSet<u32> {
    guard(&eligible(&backends_of(service)).0)
}

/// Addresses and ports of the servers that `after` avoids and `before` did not.
fn newly_avoided(before: Option<&Unit>, after: &Unit) -> BTreeSet<(IpAddr, u16)> {
    let mut ends = BTreeSet::new();
    for service in &after.services {
        let former = before.and_then(|before| before.services.iter().find(|former| former.name == service.name));
        let former = former.map(avoided).unwrap_or_default();
        let avoided = avoided(service);
        let fresh = service.backends.iter().filter(|backend| avoided.contains(&backend.index) && !former.contains(&backend.index));
        ends.extend(fresh.flat_map(|backend| backend.addresses.iter().map(|address| (*address, service.target_port))));
    }
    ends
}

/// Addresses and ports of all servers that new connections avoid.
pub(crate) fn avoided_ends(unit: &Unit) -> BTreeSet<(IpAddr, u16)> {
    newly_avoided(None, unit)
}

impl Kept {
    /// Forgets former generations that are no longer needed. Says whether any was.
    pub fn retire(&mut self, now: Duration) -> bool {
        let mut any = false;
        for service in &self.unit.services {
            let Some(generations) = self.generations.get_mut(&service.name) else { continue };
            let since = *self.changed.entry(service.name.clone()).or_insert(now);
            any |= generations.retire(now.saturating_sub(since), &indices(service, |backend| backend.state == BackendState::Draining));
        }
        any
    }
}

/// The number of slots depends on all servers, whatever their state, and so is stable.
pub(crate) fn size_of(service: &ServiceOrder) -> u32 {
    table_size(service.backends.len())
}

pub(crate) fn spread_of(service: &ServiceOrder) -> Spread {
    spread(service.name.as_str(), size_of(service), &backends_of(service))
}

fn backends_of(service: &ServiceOrder) -> Vec<Backend> {
    let backend = |order: &BackendOrder| Backend { index: order.index, state: order.state, weight: order.weight };
    service.backends.iter().map(backend).collect()
}

/// Members of a generation whose connections are lost: their servers are down or no longer exist.
pub(crate) fn gone(service: &ServiceOrder, generation: &Generation) -> BTreeSet<u32> {
    let alive = indices(service, |backend| backend.state != BackendState::Down);
    generation.members.iter().map(|member| member.index).filter(|index| !alive.contains(index)).collect()
}

fn indices(service: &ServiceOrder, pick: impl Fn(&BackendOrder) -> bool) -> BTreeSet<u32> {
    service.backends.iter().filter(|backend| pick(backend)).map(|backend| backend.index).collect()
}

/// The addresses of servers that died, were removed or are bound anew. One that was draining ends its
/// connections itself, and keeps those that are still ending. One that is suspected may be alive.
fn forgotten(before: &Unit, after: &Unit) -> BTreeSet<IpAddr> {
    let now = servers(after);
    let mut addresses = BTreeSet::new();
    for (name, old) in servers(before) {
        let lost = match now.get(name) {
            None => true,
            Some(_) if old.state == BackendState::Draining => false,
            Some(new) => new.epoch > old.epoch || (new.state == BackendState::Down && old.state != BackendState::Down),
        };
        if lost {
            addresses.extend(old.addresses.iter().copied());
        }
    }
    addresses
}

fn servers(unit: &Unit) -> BTreeMap<&ServerName, &BackendOrder> {
    unit.services.iter().flat_map(|service| &service.backends).map(|backend| (&backend.server, backend)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{backend, service, unit};
    use pan_model::Epoch;
    use pan_model::service::BackendState::{Down, Draining, Suspect, Up};

    fn with(states: &[BackendState]) -> Unit {
        unit(vec![service("www", (1..).zip(states).map(|(index, state)| backend(index, *state)).collect())])
    }

    fn forgets(before: &[BackendState], after: &[BackendState]) -> Vec<String> {
        let before = decide(None, &with(before), Duration::ZERO).kept;
        let after = decide(Some(&before), &with(after), Duration::ZERO);
        after.forget.iter().filter(|address| address.is_ipv4()).map(ToString::to_string).collect()
    }

    #[test]
    fn connections_are_forgotten_when_their_server_is_dead_and_only_then() {
        assert_eq!(forgets(&[Up, Up], &[Up, Down]), ["10.0.0.12"]);
        assert_eq!(forgets(&[Up, Suspect], &[Up, Down]), ["10.0.0.12"]);
        assert_eq!(forgets(&[Up, Up], &[Up]), ["10.0.0.12"]);
        assert_eq!(forgets(&[Up, Up], &[Up, Suspect]), [""; 0]);
        assert_eq!(forgets(&[Up, Suspect], &[Up, Up]), [""; 0]);
        assert_eq!(forgets(&[Up, Up], &[Up, Draining]), [""; 0]);
        assert_eq!(forgets(&[Up, Draining], &[Up, Down]), [""; 0]);
        assert_eq!(forgets(&[Up, Down], &[Up, Up]), [""; 0]);
    }

    #[test]
    fn unanswered_connections_are_forgotten_when_their_server_is_newly_avoided() {
        let ends = |before: &[BackendState], after: &[BackendState]| -> Vec<String> {
            let before = decide(None, &with(before), Duration::ZERO).kept;
            let after = decide(Some(&before), &with(after), Duration::ZERO);
            let v4 = after.unanswered.iter().filter(|(address, _)| address.is_ipv4());
            v4.map(|(address, port)| format!("{address}:{port}")).collect()
        };
        assert_eq!(ends(&[Up, Up, Up], &[Up, Suspect, Up]), ["10.0.0.12:8080"]);
        assert_eq!(ends(&[Up, Suspect, Up, Up], &[Up, Suspect, Suspect, Up]), ["10.0.0.13:8080"]);
        assert_eq!(ends(&[Up, Suspect], &[Up, Suspect]), [""; 0]);
        assert_eq!(ends(&[Up, Suspect], &[Up, Up]), [""; 0]);
        assert_eq!(ends(&[Up, Down], &[Up, Suspect]), ["10.0.0.12:8080"]);
        // Panic: its slots stay, and another try would go to the same server.
        assert_eq!(ends(&[Up, Up], &[Suspect, Suspect]), [""; 0]);
        // A dead server's connections go whole.
        assert_eq!(ends(&[Up, Up], &[Up, Down]), [""; 0]);
        // What an earlier life left behind is not known.
        let first = decide(None, &with(&[Up, Suspect]), Duration::ZERO).unanswered;
        assert_eq!(first.len(), 2, "both families: {first:?}");
        assert_eq!(avoided_ends(&with(&[Up, Suspect])), first);
    }

    #[test]
    fn connections_are_forgotten_when_their_server_is_bound_anew() {
        let mut after = with(&[Up, Up]);
        after.services[0].backends[0].epoch = Epoch(2);
        let before = decide(None, &with(&[Up, Up]), Duration::ZERO).kept;
        let v4 = decide(Some(&before), &after, Duration::ZERO).forget;
        assert_eq!(v4.first().unwrap().to_string(), "10.0.0.11");
        let draining = decide(None, &with(&[Draining, Up]), Duration::ZERO).kept;
        assert!(decide(Some(&draining), &after, Duration::ZERO).forget.is_empty());
    }

    #[test]
    fn a_former_generation_retires_by_age_on_the_callers_clock() {
        let at = Duration::from_secs;
        let before = decide(None, &with(&[Up, Up, Up]), at(0)).kept;
        let mut kept = decide(Some(&before), &with(&[Up, Down, Up]), at(100)).kept;
        // A change that moves no slot does not begin a generation.
        kept = decide(Some(&kept), &with(&[Suspect, Down, Up]), at(150)).kept;
        assert!(!kept.retire(at(159)));
        assert!(kept.retire(at(160)));
        assert!(!kept.retire(at(161)));
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let kept = decide(None, &with(&[Up, Down]), Duration::ZERO).kept;
        let mut read: Kept = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
        assert_eq!((&read.unit, &read.generations), (&kept.unit, &kept.generations));
        // An unknown age counts from the first look.
        assert!(!read.retire(Duration::from_secs(1000)));
    }
}
