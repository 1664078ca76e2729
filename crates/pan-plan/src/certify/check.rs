//! The losses to try, and what each takes away.

use super::pack::{Case, Item};
use crate::reason::show_broken;
use crate::snapshot::{Domain, NodeState, Protect, ServerId, Snapshot, Spread};
use pan_model::{ClusterName, HostName, PartitionName, Resources, ServerName};
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

pub(super) struct Machine<'a> {
    pub(super) name: &'a HostName,
    pub(super) takes: bool,
    pub(super) runs: bool,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) free: Resources,
}

pub(super) struct Member<'a> {
    pub(super) id: ServerId,
    pub(super) need: &'a Resources,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) spread: Option<Domain>,
    pub(super) cluster: usize,
    pub(super) group: usize,
    pub(super) home: Option<usize>,
    pub(super) protect: Option<Protect>,
}

pub(super) struct Checker<'a> {
    pub(super) machines: Vec<Machine<'a>>,
    pub(super) members: Vec<Member<'a>>,
}

/// Tries every loss that protected clusters are promised to survive, each at its own level or, if
/// `failures` is given, all at that one.
#[must_use]
pub fn certify(snapshot: &Snapshot, failures: Option<u32>) -> Certificate {
    let checker = Checker::new(snapshot, failures);
    let protects: BTreeSet<(Domain, u32)> =
        checker.members.iter().filter_map(|member| member.protect).map(|protect| (protect.domain, protect.failures)).collect();
    let most = protects.iter().map(|(_, failures)| *failures).max().unwrap_or(0);
    let mut certificate = Certificate { ok: true, failures: failures.unwrap_or(most), checked: 0, counterexample: None, unproved: None };
    if certificate.broken_by(checker.lose(Domain::Node, &[])) {
        return certificate;
    }
    for level in protects.iter().map(|(level, _)| *level).collect::<BTreeSet<_>>() {
        let failures = protects.iter().filter(|(other, _)| *other >= level).map(|(_, failures)| *failures).max().unwrap_or(0);
        let domains: Vec<&str> = checker.domains(level);
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

impl<'a> Checker<'a> {
    fn new(snapshot: &'a Snapshot, failures: Option<u32>) -> Self {
        let mut machines: Vec<Machine<'a>> = snapshot
            .nodes
            .iter()
            .map(|(name, node)| Machine {
                name,
                takes: matches!(node.state, NodeState::Up | NodeState::Spare),
                runs: node.state != NodeState::Down,
                labels: &node.labels,
                free: node.capacity.clone(),
            })
            .collect();
        let running: BTreeMap<&HostName, usize> =
            machines.iter().enumerate().filter(|(_, machine)| machine.runs).map(|(id, machine)| (machine.name, id)).collect();
        let mut members: Vec<Member<'a>> = Vec::new();
        for (cluster, ((partition, _), spec)) in snapshot.clusters.iter().enumerate() {
            let protect = spec.protect.filter(|protect| protect.failures > 0);
            let protect = protect.map(|own| Protect { failures: failures.unwrap_or(own.failures), domain: own.domain });
            for (name, bound) in &spec.servers {
                let home = bound.as_ref().and_then(|host| running.get(host).copied());
                let spread = match spec.spread {
                    Spread::Require(level) => Some(level),
                    Spread::Prefer(_) | Spread::None => None,
                };
                let id = (partition.clone(), name.clone());
                members.push(Member {
                    id,
                    need: &spec.need,
                    labels: &spec.require_labels,
                    spread,
                    cluster,
                    group: members.len(),
                    home,
                    protect,
                });
            }
        }
        let mut used = vec![Resources::default(); machines.len()];
        for member in &members {
            if let Some(home) = member.home {
                used[home] = used[home].plus(member.need);
            }
        }
        machines.iter_mut().zip(&used).for_each(|(machine, used)| machine.free = machine.free.minus(used));
        let mut checker = Self { machines, members };
        checker.join(snapshot);
        checker
    }

    /// Joins servers that share a node, and gives all of a group the strongest promise in it.
    fn join(&mut self, snapshot: &Snapshot) {
        let ids: BTreeMap<ServerId, usize> = self.members.iter().enumerate().map(|(index, member)| (member.id.clone(), index)).collect();
        for ((partition, cluster), spec) in &snapshot.clusters {
            for (name, with) in spec.servers.keys().flat_map(|name| spec.with.iter().map(move |with| (name, with))) {
                let (Some(one), Some(other)) = (ids.get(&(partition.clone(), name.clone())), partner(&ids, partition, cluster, name, with))
                else {
                    continue;
                };
                let (from, to) = (self.members[*one].group, self.members[other].group);
                self.members.iter_mut().filter(|member| member.group == from).for_each(|member| member.group = to);
            }
        }
        let mut strongest: BTreeMap<(usize, Option<usize>), Protect> = BTreeMap::new();
        for member in &self.members {
            if let Some(protect) = member.protect {
                let most = strongest.entry((member.group, member.home)).or_insert(protect);
                *most = Protect { failures: most.failures.max(protect.failures), domain: most.domain.max(protect.domain) };
            }
        }
        self.members.iter_mut().for_each(|member| member.protect = strongest.get(&(member.group, member.home)).copied());
    }

    /// The domain of a machine; those without the label are in one together, named by the empty text.
    pub(super) fn domain(&self, machine: usize, level: Domain) -> &'a str {
        let machine = &self.machines[machine];
        match level {
            Domain::Node => machine.name.as_str(),
            Domain::Rack | Domain::Zone | Domain::Region => machine.labels.get(level.word()).map_or("", String::as_str),
        }
    }

    fn domains(&self, level: Domain) -> Vec<&'a str> {
        let running = (0..self.machines.len()).filter(|machine| self.machines[*machine].runs);
        running.map(|machine| self.domain(machine, level)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Tries every set of `size` domains; true ends the check.
    fn lose_each(&self, level: Domain, of: &[&'a str], size: usize, chosen: &mut Vec<&'a str>, certificate: &mut Certificate) -> bool {
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
            chosen.push(domain);
            let ends = self.lose_each(level, &of[index + 1..], size, chosen, certificate);
            chosen.pop();
            if ends {
                return true;
            }
        }
        false
    }

    /// Loses some domains; the counterexample if a protected server then has no place.
    fn lose(&self, level: Domain, failed: &[&str]) -> Option<Counterexample> {
        let dead: Vec<bool> = (0..self.machines.len()).map(|machine| failed.contains(&self.domain(machine, level))).collect();
        let items = self.lost(level, failed.len(), &dead);
        if items.is_empty() {
            return None;
        }
        let (object, short) = Case::new(self, &dead).pack(items)?;
        let hosts = (0..self.machines.len()).filter(|machine| dead[*machine] && self.machines[*machine].runs);
        Some(Counterexample { hosts: hosts.map(|machine| self.machines[machine].name.clone()).collect(), object, short })
    }

    /// What needs a place: protected servers of the dead machines, and those that had none.
    fn lost(&self, level: Domain, size: usize, dead: &[bool]) -> Vec<Item> {
        let mut items: BTreeMap<(usize, Option<usize>), Item> = BTreeMap::new();
        let covered = |protect: Protect| protect.domain >= level && protect.failures as usize >= size;
        for (index, member) in self.members.iter().enumerate() {
            let gone = member.home.is_some_and(|home| dead[home]) && member.protect.is_some_and(covered);
            if gone {
                items.entry((member.group, member.home)).or_default().members.push(index);
            }
        }
        for (index, member) in self.members.iter().enumerate().filter(|(_, member)| member.home.is_none() && member.protect.is_some()) {
            let survivor =
                self.members.iter().filter(|other| other.group == member.group).filter_map(|other| other.home).find(|home| !dead[*home]);
            let joins = items.keys().find(|(group, home)| *group == member.group && home.is_some()).copied();
            let item = items.entry(joins.filter(|_| survivor.is_none()).unwrap_or((member.group, None))).or_default();
            item.members.push(index);
            item.pin = item.pin.or(survivor);
        }
        let mut items: Vec<Item> = items.into_values().collect();
        for item in &mut items {
            item.need = item.members.iter().fold(Resources::default(), |sum, member| sum.plus(self.members[*member].need));
        }
        items
    }
}

/// The server of another cluster with the same number.
fn partner(
    ids: &BTreeMap<ServerId, usize>,
    partition: &PartitionName,
    cluster: &ClusterName,
    name: &ServerName,
    with: &ClusterName,
) -> Option<usize> {
    let number = name.as_str().strip_prefix(cluster.as_str())?.strip_prefix('-')?;
    let other = ServerName::new(format!("{with}-{number}")).ok()?;
    ids.get(&(partition.clone(), other)).copied()
}
