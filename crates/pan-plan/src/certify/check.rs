//! The losses to try, and what each takes away.

use super::ground::Ground;
use super::pack::{Case, Item};
use crate::reason::show_broken;
use crate::snapshot::{Domain, Protect, ServerId, Snapshot};
use pan_model::HostName;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How many losses are tried: every pair of 600 domains.
const LOSSES_MAX: u64 = 200_000;

/// Proof, or the case in which a promise breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whether every promise holds.
    pub ok: bool,
    /// The largest number of simultaneous losses that was asked about.
    pub failures: u32,
    /// How many losses were tried.
    pub checked: u64,
    /// A loss that breaks a promise.
    pub counterexample: Option<Counterexample>,
    /// Why there is neither proof nor counterexample.
    pub unproved: Option<String>,
}

/// A loss that breaks a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterexample {
    /// The nodes lost; none if the server has no place even so.
    pub hosts: Vec<HostName>,
    /// The server that then has no place.
    pub object: ServerId,
    /// What it lacks.
    pub short: String,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_broken(&self.hosts, &self.object, &self.short))
    }
}

/// Tries every loss that protected clusters are promised to survive, each at its own level or, if
/// `failures` is given, all at that one.
#[must_use]
pub fn certify(snapshot: &Snapshot, failures: Option<u32>) -> Certificate {
    let ground = Ground::new(snapshot, failures);
    let protects: BTreeSet<(Domain, u32)> =
        ground.members.iter().filter_map(|member| member.protect).map(|protect| (protect.domain, protect.failures)).collect();
    let most = protects.iter().map(|(_, failures)| *failures).max().unwrap_or(0);
    let mut certificate = Certificate { ok: true, failures: failures.unwrap_or(most), checked: 0, counterexample: None, unproved: None };
    let mut checker = Checker { ground: &ground, case: Case::new(&ground) };
    if certificate.broken_by(checker.lose(Domain::Node, &[])) {
        return certificate;
    }
    for level in protects.iter().map(|(level, _)| *level).collect::<BTreeSet<_>>() {
        let failures = protects.iter().filter(|(other, _)| *other >= level).map(|(_, failures)| *failures).max().unwrap_or(0);
        let domains = ground.domains(level);
        let mut chosen = Vec::new();
        for size in 1..=(failures as usize).min(domains.len()) {
            if checker.lose_each(level, &domains, size, &mut chosen, &mut certificate) {
                return certificate;
            }
        }
    }
    certificate
}

impl Certificate {
    fn broken_by(&mut self, counterexample: Option<Counterexample>) -> bool {
        self.ok = counterexample.is_none();
        self.counterexample = counterexample;
        !self.ok
    }
}

struct Checker<'g, 'a> {
    ground: &'g Ground<'a>,
    case: Case<'g, 'a>,
}

impl Checker<'_, '_> {
    /// Tries every set of `size` domains; true ends the check.
    fn lose_each(&mut self, level: Domain, of: &[usize], size: usize, chosen: &mut Vec<usize>, certificate: &mut Certificate) -> bool {
        if chosen.len() == size {
            if certificate.checked == LOSSES_MAX {
                certificate.ok = false;
                certificate.unproved = Some(format!("{size} losses at once have more combinations than the {LOSSES_MAX} that are tried"));
                return true;
            }
            certificate.checked += 1;
            return certificate.broken_by(self.lose(level, chosen));
        }
        for (index, domain) in of.iter().enumerate() {
            chosen.push(*domain);
            let ends = self.lose_each(level, &of[index + 1..], size, chosen, certificate);
            chosen.pop();
            if ends {
                return true;
            }
        }
        false
    }

    /// Loses some domains; the counterexample if a protected server then has no place.
    fn lose(&mut self, level: Domain, failed: &[usize]) -> Option<Counterexample> {
        let dead: Vec<usize> = failed.iter().flat_map(|domain| self.ground.inside(level, *domain)).copied().collect();
        self.case.bury(&dead);
        let items = self.lost(level, failed.len(), &dead);
        let stuck = if items.is_empty() { None } else { self.case.pack(items) };
        self.case.raise(&dead);
        let (object, short) = stuck?;
        let mut hosts: Vec<HostName> = dead
            .iter()
            .filter(|machine| self.ground.machines[**machine].runs)
            .map(|machine| self.ground.machines[*machine].name.clone())
            .collect();
        hosts.sort();
        Some(Counterexample { hosts, object, short })
    }

    /// What needs a place: protected servers of the dead machines, and those that had none.
    fn lost(&self, level: Domain, size: usize, dead: &[usize]) -> Vec<Item> {
        let ground = self.ground;
        let mut items: BTreeMap<(usize, Option<usize>), Item> = BTreeMap::new();
        let covered = |protect: Protect| protect.domain >= level && protect.failures as usize >= size;
        for index in dead.iter().flat_map(|machine| &ground.machines[*machine].residents) {
            let member = &ground.members[*index];
            if member.protect.is_some_and(covered) {
                items.entry((member.group, member.home)).or_default().members.push(*index);
            }
        }
        for index in &ground.homeless {
            let member = &ground.members[*index];
            let mut homes = ground.groups.get(&member.group).into_iter().flatten().filter_map(|other| ground.members[*other].home);
            let survivor = homes.find(|home| !self.case.is_dead(*home));
            let joins = items.keys().find(|(group, home)| *group == member.group && home.is_some()).copied();
            let item = items.entry(joins.filter(|_| survivor.is_none()).unwrap_or((member.group, None))).or_default();
            item.members.push(*index);
            item.pin = item.pin.or(survivor);
        }
        let mut items: Vec<Item> = items.into_values().collect();
        for item in &mut items {
            item.need = ground.need(&item.members);
        }
        items
    }
}
