//! The world: every record, what was observed, and which records differ from the store.

use super::audit::Log;
use super::record::{
    ClusterRecord, CredentialRecord, HostRecord, ImportRecord, PanRecord, PartitionRecord, PolicyRecord, ServerRecord, ServiceRecord,
    SourceRecord, VolumeRecord,
};
use super::seen::Seen;
use super::timeline::Timelines;
use super::tokens::TokenRecord;
use super::usage::{Book, PageKey};
use pan_member::Tick;
use pan_model::event::{Event, Severity};
use pan_model::{Admission, BitRate, ClusterName, HostName, Name, PartitionName, ServerKey, ServiceName, VolumeKey};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// Events kept per partition, and for the PAN itself: enough for days of normal life, small enough to list.
const EVENTS_MAX: usize = 1000;

/// The time as the core is told it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Wall clock, microseconds since 1970: for people only, it may jump.
    pub wall: i64,
    /// Boot clock of this machine: for every limit.
    pub boot: Tick,
}

impl Now {
    /// RFC 3339 in UTC with microseconds.
    #[must_use]
    pub fn text(self) -> String {
        wall_text(self.wall)
    }
}

/// RFC 3339 in UTC with microseconds.
#[must_use]
pub fn wall_text(wall: i64) -> String {
    jiff::Timestamp::from_microsecond(wall).map(|time| format!("{time:.6}")).unwrap_or_default()
}

/// Settings that do not change while a controller runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Networks on the outside.
    pub outside: Vec<ipnet::IpNet>,
    /// Ranges of public addresses to give away.
    pub pools: Vec<(IpAddr, IpAddr)>,
    /// Ranges on the outside that are no services'.
    pub reserved: Vec<(IpAddr, IpAddr)>,
    /// Whether `image: host` is allowed where a partition does not say.
    pub host_image_allowed: bool,
    /// Whether services of layer 7 may be made.
    pub layer7: bool,
    /// The most that any server sends, whatever its cluster says.
    pub egress: Option<BitRate>,
    /// How the machine around a laboratory reaches public addresses.
    pub reach: Option<(ipnet::IpNet, ipnet::IpNet)>,
    /// MTU of partition networks.
    pub mtu: u32,
    /// Who grants leases, as every host's configuration has it.
    pub lessors: Vec<HostName>,
}

impl Settings {
    /// How many lessors make a majority; none where there are none.
    #[must_use]
    pub fn majority(&self) -> usize {
        if self.lessors.is_empty() { 0 } else { self.lessors.len() / 2 + 1 }
    }
}

#[cfg(test)]
impl Settings {
    /// For tests that need no outside.
    pub(crate) const fn bare() -> Self {
        Self {
            outside: Vec::new(),
            pools: Vec::new(),
            reserved: Vec::new(),
            host_image_allowed: true,
            layer7: true,
            egress: None,
            reach: None,
            mtu: 1430,
            lessors: Vec::new(),
        }
    }
}

/// Names of a cluster and of a service across the PAN.
pub type ClusterKey = (PartitionName, ClusterName);
/// See [`ClusterKey`].
pub type ServiceKey = (PartitionName, ServiceName);
/// See [`ClusterKey`].
pub type ImportKey = (PartitionName, Name);
/// See [`ClusterKey`].
pub type PolicyKey = (PartitionName, Name);

/// A record that differs from the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dirty {
    /// The PAN's counters.
    Pan,
    /// Lines of a log, by the number of the first. Before what they tell of: where a round takes several transactions, nothing is done untold.
    Audit(Option<PartitionName>, u64),
    /// A partition.
    Partition(PartitionName),
    /// A cluster.
    Cluster(ClusterKey),
    /// A server.
    Server(ServerKey),
    /// A service.
    Service(ServiceKey),
    /// An import.
    Import(ImportKey),
    /// A policy.
    Policy(PolicyKey),
    /// A volume.
    Volume(VolumeKey),
    /// A volume that many servers read.
    Source(VolumeKey),
    /// A host.
    Host(HostName),
    /// A token.
    Token(u64),
    /// What a host was given to prove who it is.
    Credential(HostName),
    /// An event.
    Event(Option<PartitionName>, u64),
    /// The finished timelines of an object.
    Timeline(String),
    /// A day of what a cluster of a partition used, or its volumes.
    Usage(PartitionName, PageKey),
}

/// Everything the controller knows.
#[derive(Debug, Clone)]
pub struct World {
    /// Settings.
    pub settings: Arc<Settings>,
    /// Counters.
    pub pan: PanRecord,
    /// Partitions.
    pub partitions: BTreeMap<PartitionName, PartitionRecord>,
    /// Clusters.
    pub clusters: BTreeMap<ClusterKey, ClusterRecord>,
    /// Servers.
    pub servers: BTreeMap<ServerKey, ServerRecord>,
    /// Services.
    pub services: BTreeMap<ServiceKey, ServiceRecord>,
    /// Imports.
    pub imports: BTreeMap<ImportKey, ImportRecord>,
    /// Policies.
    pub policies: BTreeMap<PolicyKey, PolicyRecord>,
    /// Volumes.
    pub volumes: BTreeMap<VolumeKey, VolumeRecord>,
    /// Volumes that many servers read.
    pub sources: BTreeMap<VolumeKey, SourceRecord>,
    /// Hosts.
    pub hosts: BTreeMap<HostName, HostRecord>,
    /// Tokens, by id.
    pub tokens: BTreeMap<u64, TokenRecord>,
    /// What hosts were given to prove who they are, those that were removed included.
    pub credentials: BTreeMap<HostName, CredentialRecord>,
    /// Events.
    pub events: BTreeMap<Option<PartitionName>, VecDeque<Arc<Event>>>,
    /// Who changed what: the PAN's log, and one of each partition.
    pub audit: BTreeMap<Option<PartitionName>, Arc<Log>>,
    /// What partitions used, those that are no more included.
    pub usage: BTreeMap<PartitionName, Arc<Book>>,
    /// What was observed; not stored.
    pub seen: Seen,
    /// Failovers and moves, step by step.
    pub timelines: Timelines,
    /// Records to write with the next commit.
    pub dirty: BTreeSet<Dirty>,
    /// Those of them that requests of this round changed, their lines in the audit log included: they go first, and together.
    pub asked: BTreeSet<Dirty>,
    /// What to do besides publishing, once the round is committed.
    pub effects: Vec<Effect>,
    /// Whether this controller decides. One that follows only observes: it tells no events.
    pub leading: bool,
}

/// Something to do once the round is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Let a majority of lessors forget a host, up to this number, and say so with [`super::hosts::LifeChange::Fenced`].
    Fence(HostName, Admission),
    /// It is heard again: stop asking.
    Unfence(HostName),
}

/// Whom an event is about.
pub struct About<'a> {
    /// The partition whose event it is; `None` for the PAN.
    pub partition: Option<&'a PartitionName>,
    /// Kind of the object.
    pub kind: &'a str,
    /// Its name.
    pub object: &'a str,
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            pan: PanRecord::default(),
            partitions: BTreeMap::new(),
            clusters: BTreeMap::new(),
            servers: BTreeMap::new(),
            services: BTreeMap::new(),
            imports: BTreeMap::new(),
            policies: BTreeMap::new(),
            volumes: BTreeMap::new(),
            sources: BTreeMap::new(),
            hosts: BTreeMap::new(),
            tokens: BTreeMap::new(),
            credentials: BTreeMap::new(),
            events: BTreeMap::new(),
            audit: BTreeMap::new(),
            usage: BTreeMap::new(),
            seen: Seen::default(),
            timelines: Timelines::default(),
            dirty: BTreeSet::new(),
            asked: BTreeSet::new(),
            effects: Vec::new(),
            leading: true,
        }
    }

    /// A server to change; it will be written.
    pub fn server_mut(&mut self, key: &ServerKey) -> Option<&mut ServerRecord> {
        let record = self.servers.get_mut(key)?;
        self.dirty.insert(Dirty::Server(key.clone()));
        Some(record)
    }

    /// A partition to change; it will be written.
    pub fn partition_mut(&mut self, name: &PartitionName) -> Option<&mut PartitionRecord> {
        let record = self.partitions.get_mut(name)?;
        self.dirty.insert(Dirty::Partition(name.clone()));
        Some(record)
    }

    /// A cluster to change; it will be written.
    pub fn cluster_mut(&mut self, key: &ClusterKey) -> Option<&mut ClusterRecord> {
        let record = self.clusters.get_mut(key)?;
        self.dirty.insert(Dirty::Cluster(key.clone()));
        Some(record)
    }

    /// A host to change; it will be written.
    pub fn host_mut(&mut self, name: &HostName) -> Option<&mut HostRecord> {
        let record = self.hosts.get_mut(name)?;
        self.dirty.insert(Dirty::Host(name.clone()));
        Some(record)
    }

    /// A volume to change; it will be written.
    pub fn volume_mut(&mut self, key: &VolumeKey) -> Option<&mut VolumeRecord> {
        let record = self.volumes.get_mut(key)?;
        self.dirty.insert(Dirty::Volume(key.clone()));
        Some(record)
    }

    /// The cluster of a server.
    #[must_use]
    pub fn cluster_of(&self, key: &ServerKey) -> Option<&ClusterRecord> {
        let server = self.servers.get(key)?;
        self.clusters.get(&(key.partition.clone(), server.cluster.clone()))
    }

    /// The servers of a cluster, by ordinal.
    #[must_use]
    pub fn servers_of(&self, cluster: &ClusterKey) -> Vec<ServerKey> {
        let mut all: Vec<_> = self.in_partition(&cluster.0).filter(|(_, server)| server.cluster == cluster.1).collect();
        all.sort_by_key(|(_, server)| server.ordinal);
        all.into_iter().map(|(key, _)| key.clone()).collect()
    }

    /// The servers of a partition.
    pub fn in_partition<'a>(&'a self, partition: &'a PartitionName) -> impl Iterator<Item = (&'a ServerKey, &'a ServerRecord)> {
        self.servers.iter().filter(move |(key, _)| key.partition == *partition)
    }

    /// The services that a cluster answers.
    pub fn services_of<'a>(&'a self, partition: &'a PartitionName, cluster: &'a ClusterName) -> impl Iterator<Item = &'a ServiceKey> {
        self.services.iter().filter(move |(key, service)| key.0 == *partition && service.spec.is_answered_by(cluster)).map(|(key, _)| key)
    }

    /// Records that something happened.
    pub fn event(&mut self, now: Now, about: &About<'_>, severity: Severity, reason: &str, message: impl Into<String>) {
        if !self.leading {
            return;
        }
        let partition = about.partition.cloned();
        let number = match &partition {
            None => {
                self.dirty.insert(Dirty::Pan);
                let number = self.pan.next_event;
                self.pan.next_event += 1;
                number
            }
            Some(name) => {
                let Some(record) = self.partition_mut(name) else { return };
                let number = record.next_event;
                record.next_event += 1;
                number
            }
        };
        let event = Event {
            number,
            time: now.text(),
            partition: partition.clone(),
            kind: about.kind.to_owned(),
            object: about.object.to_owned(),
            reason: reason.to_owned(),
            message: message.into(),
            severity,
        };
        let events = self.events.entry(partition.clone()).or_default();
        events.push_back(Arc::new(event));
        self.dirty.insert(Dirty::Event(partition.clone(), number));
        while events.len() > EVENTS_MAX {
            if let Some(old) = events.pop_front() {
                self.dirty.insert(Dirty::Event(partition.clone(), old.number));
            }
        }
    }

    /// An event about a server, told to its partition.
    pub fn server_event(&mut self, now: Now, key: &ServerKey, severity: Severity, reason: &str, message: impl Into<String>) {
        let about = About { partition: Some(&key.partition), kind: "server", object: key.name.as_str() };
        self.event(now, &about, severity, reason, message);
    }

    /// An event about a volume, told to its partition.
    pub fn volume_event(&mut self, now: Now, key: &VolumeKey, severity: Severity, reason: &str, message: impl Into<String>) {
        let about = About { partition: Some(&key.partition), kind: "volume", object: key.name.as_str() };
        self.event(now, &about, severity, reason, message);
    }

    /// An event about a host, told to the PAN.
    pub fn host_event(&mut self, now: Now, host: &HostName, severity: Severity, reason: &str, message: impl Into<String>) {
        let about = About { partition: None, kind: "host", object: host.as_str() };
        self.event(now, &about, severity, reason, message);
    }
}
