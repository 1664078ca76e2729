//! The checkers that look after every step. None of them asks the code that it checks.

use crate::mutant::Mutant;
use crate::options::Calm;
use crate::sim::{Phase, Sim};
use crate::store::{GUARDED, Write};
use pan_api::audit::Checker;
use pan_api::desired::Desired;
use pan_controller::core::audit::Entry;
use pan_controller::core::hosts::LifeChange;
use pan_controller::core::persist;
use pan_controller::core::record::{HostRecord, PanRecord, PartitionRecord, ServerRecord};
use pan_model::{Admission, Epoch, HostName, Mac, ServerKey, ServerName};
use std::collections::{BTreeMap, BTreeSet};

/// What was committed so far, and what follows from it.
pub struct Book {
    /// Addresses, epochs and hosts that ever belonged together.
    bindings: BTreeSet<(Mac, Epoch, HostName)>,
    /// Orders that were ever in force.
    orders: BTreeSet<(ServerKey, Epoch, u64)>,
    pub(crate) servers: BTreeMap<ServerKey, ServerRecord>,
    macs: BTreeMap<ServerKey, Mac>,
    /// The highest epoch of each server that there ever was.
    highest: BTreeMap<ServerKey, Epoch>,
    admissions: BTreeMap<HostName, Admission>,
    owner_epoch: Epoch,
    /// The audit logs so far, and what they tell of the user's labels.
    audit: BTreeMap<String, Checker>,
    told: BTreeSet<String>,
    /// The latest leadership.
    pub(crate) pan: PanRecord,
    /// Up to which number each host was said to be off the network.
    gone: Vec<Admission>,
    /// Servers of which there is more than one process.
    doubled: Vec<ServerKey>,
    /// Servers that were said to be protected when that was checked last.
    protected: BTreeSet<ServerKey>,
    /// What ran when the calm part began.
    pub(crate) calm: Option<BTreeMap<ServerKey, (usize, Epoch)>>,
    /// The controller that stood still last, and until when.
    pub(crate) stalled: Option<(usize, u64)>,
}

impl Book {
    pub(crate) fn new(hosts: usize) -> Self {
        Self {
            bindings: BTreeSet::new(),
            orders: BTreeSet::new(),
            servers: BTreeMap::new(),
            macs: BTreeMap::new(),
            highest: BTreeMap::new(),
            admissions: BTreeMap::new(),
            owner_epoch: Epoch(0),
            audit: BTreeMap::new(),
            told: BTreeSet::new(),
            pan: PanRecord::default(),
            gone: vec![Admission::NONE; hosts],
            doubled: Vec::new(),
            protected: BTreeSet::new(),
            calm: None,
            stalled: None,
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(key: &str, value: &[u8]) -> T {
    persist::read(key, value).expect("records were written by controllers")
}

impl Sim {
    /// After every step.
    pub(crate) fn check(&mut self) {
        if std::mem::take(&mut self.doubts) {
            self.look_for_doubles();
        }
        if !self.book.doubled.is_empty() {
            self.check_doubles();
        }
    }

    /// Finds servers with more than one process, and hosts that listen to what they know is over.
    fn look_for_doubles(&mut self) {
        let mut seen: BTreeMap<&ServerKey, u32> = BTreeMap::new();
        let mut stale = None;
        for (at, host) in self.hosts.iter().enumerate() {
            for (key, instance) in &host.instances {
                *seen.entry(key).or_default() += 1;
                let Some(mac) = self.book.macs.get(key) else { continue };
                for listener in self.hosts.iter().filter(|listener| listener.up) {
                    let known = listener.map.known.get(mac);
                    if known.is_some_and(|known| instance.epoch < *known) && self.accepts(listener, *mac, at, instance.epoch) {
                        stale = Some((key.clone(), at, instance.epoch, listener.name.clone()));
                    }
                }
            }
        }
        let doubled: Vec<ServerKey> = seen.into_iter().filter(|(_, count)| *count > 1).map(|(key, _)| key.clone()).collect();
        if !doubled.is_empty() && doubled != self.book.doubled {
            self.tally.orphans += 1;
        }
        self.book.doubled = doubled;
        if let Some((key, at, epoch, listener)) = stale {
            let name = &self.hosts[at].name;
            let text = format!("{listener} knew a later epoch of {key}, and takes frames of {name} under epoch {epoch}");
            self.violation("I3", text);
        }
    }

    /// Whether a host takes frames of an address from another host's server.
    fn accepts(&self, listener: &crate::host::Host, mac: Mac, from: usize, epoch: Epoch) -> bool {
        match listener.map.entries.get(&mac) {
            None => false,
            Some(_) if self.options.is(Mutant::EpochNotCompared) => true,
            Some((host, known)) => *host == self.hosts[from].name && *known == epoch,
        }
    }

    /// I3: of no server two processes reach anybody.
    fn check_doubles(&mut self) {
        let mut found = None;
        for key in &self.book.doubled {
            let Some(mac) = self.book.macs.get(key) else { continue };
            let with = self.hosts.iter().enumerate().filter_map(|(at, host)| Some((at, host.instances.get(key)?)));
            let open = with.filter(|(at, _)| self.hosts[*at].sends(self.now));
            let heard = |at: usize, epoch| self.hosts.iter().any(|listener| listener.up && self.accepts(listener, *mac, at, epoch));
            let heard: Vec<_> = open.filter(|(at, instance)| heard(*at, instance.epoch)).collect();
            if let [(one, first), (other, second), ..] = heard[..] {
                let names = (&self.hosts[one].name, &self.hosts[other].name);
                found =
                    Some(format!("{key} is heard from {} (epoch {}) and from {} (epoch {})", names.0, first.epoch, names.1, second.epoch));
            }
        }
        if let Some(text) = found {
            self.violation("I3", text);
        }
    }

    /// The lease: what was said to be off the network is.
    pub(crate) fn gate_written(&mut self, host: usize) {
        let h = &self.hosts[host];
        let Some(gate) = &h.gate else { return };
        if h.sends(self.now) && gate.under <= self.book.gone[host] {
            let text = format!("{} sends as number {}, and up to {} was said to be over", h.name, gate.under, self.book.gone[host]);
            self.violation("lease", text);
        }
    }

    /// A controller's ear noticed something.
    pub(crate) fn heard_changes(&mut self, host: usize, changes: &[LifeChange]) {
        for change in changes {
            let name = self.hosts[host].name.clone();
            crate::note!(self, "{name} notices {change:?}");
            let leads = self.hosts[host].controller.as_ref().is_some_and(crate::controller::Controller::leads);
            match change {
                LifeChange::Fenced(node, through) => {
                    if let Some(at) = self.index_of(node) {
                        self.book.gone[at] = self.book.gone[at].max(*through);
                        self.gate_written(at);
                    }
                }
                LifeChange::Dead(..) if leads => self.tally.deaths += 1,
                LifeChange::Brake(_) => self.tally.brakes += 1,
                _ => {}
            }
            let blames = matches!(change, LifeChange::Suspect(..) | LifeChange::Dead(..) | LifeChange::Brake(_));
            let own = self.book.stalled.is_some_and(|(at, until)| at == host && self.now < until + 500 * crate::time::MS);
            if blames && own && self.phase == Phase::Calm && self.options.calm == Calm::Stalls {
                self.violation("quiet", format!("{name} stood still itself, and says {change:?}"));
            }
        }
    }

    /// A leader begins to take a node's lease away.
    pub(crate) fn fencing_begins(&mut self, host: usize, node: &HostName) {
        crate::note!(self, "{} has {node} fenced", self.hosts[host].name);
        if self.phase == Phase::Calm {
            self.violation("quiet", format!("{} has {node} fenced, which is well", self.hosts[host].name));
        }
    }

    /// I4: what is published was committed before.
    pub(crate) fn check_published(&mut self, host: usize, desired: &Desired) {
        let book = &self.book;
        let macs: BTreeSet<&Mac> = book.macs.values().collect();
        let mut wrong = None;
        for entry in desired.networks.iter().flat_map(|network| &network.entries) {
            let known = match macs.contains(&entry.mac) {
                true => book.bindings.contains(&(entry.mac, entry.epoch, entry.host.clone())),
                // The gateway's, or that of a server that was never committed.
                false => desired.networks.iter().any(|network| network.gateway_mac == entry.mac) && entry.epoch <= book.owner_epoch,
            };
            if !known {
                wrong = Some(format!("the place of {} under epoch {}", entry.mac, entry.epoch));
            }
        }
        for order in &desired.servers {
            if !book.orders.contains(&(order.key.clone(), order.epoch, order.incarnation)) {
                wrong = Some(format!("the order for {} under epoch {}", order.key, order.epoch));
            }
        }
        if book.admissions.get(&desired.host).is_none_or(|known| desired.admission > *known) {
            wrong = Some(format!("number {} of {}", desired.admission, desired.host));
        }
        if desired.generation.term > book.pan.term {
            wrong = Some(format!("term {}", desired.generation.term));
        }
        if let Some(what) = wrong {
            let text = format!("{} publishes {what} to {}, which nobody committed", self.hosts[host].name, desired.host);
            self.violation("I4", text);
        }
    }

    /// A transaction was applied.
    pub(crate) fn check_commit(&mut self, host: usize, writes: &[Write]) {
        if !writes.iter().any(|(key, value)| key == GUARDED && value.is_some()) {
            let text = format!("{} commits without the leader's record, so that nobody can tell in which term", self.hosts[host].name);
            return self.violation("I9", text);
        }
        for (key, value) in writes {
            let parts: Vec<&str> = key.split('/').collect();
            match (parts.as_slice(), value) {
                (_, Some(value)) if key == GUARDED => self.check_leader(host, read(key, value)),
                (["p", partition, "server", name], value) => {
                    let partition = (*partition).parse().expect("a name");
                    let key = ServerKey { partition, name: ServerName::new(*name).expect("a name") };
                    match value {
                        Some(value) => self.check_binding(key, read(parts[3], value)),
                        None => drop(self.book.servers.remove(&key)),
                    }
                }
                (["pan", "audit", _] | ["p", _, "audit", _], Some(value)) => {
                    self.check_audit(parts[..parts.len() - 1].join("/"), read(key, value))
                }
                (["p", _, "spec"], Some(value)) => {
                    let record: PartitionRecord = read(key, value);
                    self.book.owner_epoch = self.book.owner_epoch.max(record.owner_epoch);
                }
                (["host", name], Some(value)) => {
                    let record: HostRecord = read(key, value);
                    let name = HostName::new(*name).expect("a name");
                    let known = self.book.admissions.entry(name).or_default();
                    *known = (*known).max(record.admission);
                }
                _ => {}
            }
        }
    }

    /// I9: each audit log is one chain, whoever writes it.
    fn check_audit(&mut self, log: String, entry: Entry) {
        for line in &entry.lines {
            if let Err(misfit) = self.book.audit.entry(log.clone()).or_default().next(line) {
                return self.violation("I9", format!("{log}: {misfit}"));
            }
            self.book.told.insert(format!("{} {}", line.name, line.detail));
        }
    }

    /// I9: who was followed by another leader commits nothing.
    fn check_leader(&mut self, host: usize, pan: PanRecord) {
        let known = &self.book.pan;
        let me = &self.hosts[host].name;
        let later = pan.term > known.term;
        let same = pan.term == known.term && (&pan.leader, pan.instance) == (&known.leader, known.instance);
        if !later && !same {
            let text = format!("{me} commits in term {}, and term {} had begun", pan.term, known.term);
            self.violation("I9", text);
            return;
        }
        if later {
            crate::note!(self, "term {} is {me}'s", pan.term);
            self.tally.leaders += 1;
            let quiet = matches!(self.options.calm, Calm::DeafController | Calm::OneFabric | Calm::Flicker | Calm::Agents);
            if self.phase == Phase::Calm && quiet {
                let text = format!("{} takes over in term {}, and nothing was wrong with the leader", self.hosts[host].name, pan.term);
                self.violation("quiet", text);
            }
        }
        self.book.pan = pan;
    }

    fn check_binding(&mut self, key: ServerKey, record: ServerRecord) {
        if let Some(node) = &record.node {
            self.book.bindings.insert((record.mac, record.epoch, node.clone()));
        }
        self.book.macs.insert(key.clone(), record.mac);
        self.book.orders.insert((key.clone(), record.epoch, record.incarnation));
        let highest = self.book.highest.entry(key.clone()).or_default();
        if record.node.is_some() && record.epoch < *highest {
            let text = format!("{key} is bound under epoch {}, and was under {highest}", record.epoch);
            return self.violation("I3", text);
        }
        // One that was deleted and made anew has no place, and no epoch, yet.
        *highest = record.epoch.max(*highest);
        let before = self.book.servers.insert(key.clone(), record.clone());
        let Some(before) = before else { return };
        if record.epoch > before.epoch && before.node.is_some() && before.ending.is_none() && before.node != record.node {
            self.tally.failovers += 1;
            if self.phase == Phase::Calm {
                let text = format!("{key} moves from {:?} to {:?}, and no node died", before.node, record.node);
                self.violation("quiet", text);
            }
        }
    }

    /// I9: what the user was promised is in the store, and what it was refused never was.
    pub(crate) fn check_promised(&mut self) {
        let mut records: BTreeMap<&HostName, Option<HostRecord>> = BTreeMap::new();
        let mut lost = None;
        for (node, name, value) in self.user.labels() {
            let record = records.entry(node).or_insert_with(|| {
                let key = format!("host/{node}");
                self.store.entries.get(&key).map(|entry| read(&key, &entry.value))
            });
            let found = record.as_ref().and_then(|record| record.labels.get(name));
            if found != Some(&Some(value.clone())) {
                lost = Some(format!("label {name}={value} of {node} was acknowledged, and {found:?} is stored"));
            }
            if !self.book.told.contains(&format!("{node} {name}={value}")) {
                lost = Some(format!("label {name}={value} of {node} was acknowledged, and is not in the audit log"));
            }
        }
        for (node, name, value) in self.user.refused() {
            if self.book.told.contains(&format!("{node} {name}={value}")) {
                lost = Some(format!("label {name}={value} of {node} was refused, and was stored"));
            }
        }
        if let Some(text) = lost {
            self.violation("I9", text);
        }
    }

    /// I5: when nothing is wrong any more, whatever was promised protection has it.
    pub(crate) fn check_protected(&mut self) {
        let Some(world) = self.leading().map(|controller| &controller.owner.world) else { return };
        // Such nodes take no servers until a person says so.
        if world.seen.hosts.values().any(|host| host.quarantined) {
            return;
        }
        let promised = world.clusters.iter().filter(|(_, cluster)| cluster.spec.protect.is_some());
        let servers = promised.flat_map(|(key, _)| world.servers_of(key));
        if let Some(key) = servers.into_iter().find(|key| !world.seen.protected.contains(key)) {
            self.violation("I5", format!("{key} was promised protection, nothing is wrong, and it has none"));
        }
    }

    /// I5: promises that are reported to hold do, while nothing is wrong.
    pub(crate) fn check_promises(&mut self, host: usize) {
        if !self.active.is_empty() || !matches!(self.phase, Phase::Settle | Phase::Heal | Phase::Rest) {
            return;
        }
        let world = &self.hosts[host].controller.as_ref().expect("it publishes").owner.world;
        if world.seen.protected == self.book.protected {
            return;
        }
        let protected = world.seen.protected.clone();
        let mut snapshot = pan_controller::core::place::patient(world);
        for ((partition, _), cluster) in &mut snapshot.clusters {
            let key = |name: &ServerName| ServerKey { partition: partition.clone(), name: name.clone() };
            if !cluster.servers.keys().all(|name| protected.contains(&key(name))) {
                cluster.protect = None;
            }
        }
        let certificate = pan_plan::certify(&snapshot, None);
        self.book.protected = protected;
        if let Some(example) = certificate.counterexample {
            self.violation("I5", format!("reported as protected, and is not: {example}"));
        }
    }
}
