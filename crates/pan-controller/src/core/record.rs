//! What the store keeps: one record per object, each with a format version.

mod cluster;
mod import;
mod policy;
mod source;

pub use cluster::{ClusterRecord, Scheduled};
pub use import::{Identity, ImportRecord, WayRecord};
pub use policy::{OpenWindow, PolicyRecord};
pub use source::SourceRecord;

use pan_api::certificate::CertificateFacts;
use pan_api::report::{Blank, Hello, Offer, StorageOffer};
use pan_model::host::Role;
use pan_model::mirror::{Member, Record};
use pan_model::network::Cidr;
use pan_model::volume::{Filesystem, SIZE_MIN};
use pan_model::{
    Admission, ByteSize, ClusterName, Epoch, HostName, Mac, Name, PartitionName, PartitionSpec, ServerName, ServiceSpec, Session,
    SnapshotId, SnapshotName, VolumeId,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Format version of every record.
pub const RECORD_VERSION: u16 = 1;

/// A partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionRecord {
    /// What was asked for.
    pub spec: PartitionSpec,
    /// Its networks, IPv4 first.
    pub networks: Vec<Cidr>,
    /// VXLAN network identifier.
    pub vni: u32,
    /// The number of the next event.
    pub next_event: u64,
    /// The index of the next server.
    pub next_index: u32,
    /// The epoch given last to any binding of its servers.
    pub last_epoch: Epoch,
    /// Is being taken down.
    pub deleting: bool,
    /// Who owns its public addresses and gateway.
    pub owner: Option<HostName>,
    /// Grows with each change of owner.
    pub owner_epoch: Epoch,
    /// When it was made, wall clock in microseconds since 1970. What was used before under its name was another one's.
    #[serde(default)]
    pub created: i64,
    /// Bindings up to this one were of another that had its name.
    #[serde(default)]
    pub first_epoch: Epoch,
    /// How often it was wanted again while it was being taken down: each time it is another one's.
    #[serde(default)]
    pub life: u64,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its number in the cluster, from 1.
    pub ordinal: u32,
    /// Its number in the partition; not reused while the partition lives.
    pub index: u32,
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses, in the order of the partition's networks.
    pub addresses: Vec<IpAddr>,
    /// The epoch of its latest binding.
    pub epoch: Epoch,
    /// The node it is bound to.
    pub node: Option<HostName>,
    /// Why there.
    pub why: String,
    /// When it was bound, or made (wall clock, microseconds since 1970).
    pub bound_at: i64,
    /// Grows with each restart asked for.
    pub incarnation: u64,
    /// The cluster revision it runs (or will start) with.
    pub revision: u64,
    /// What the operator wants of it.
    pub intent: Intent,
    /// An orderly end in progress.
    pub ending: Option<Ending>,
    /// Moves in a row because it would not stay up.
    pub failed_moves: u32,
    /// Restarts under earlier epochs.
    pub restarts: u64,
}

impl ServerRecord {
    /// Whether it is being deleted.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.goal == Goal::Delete)
    }
}

/// What the operator wants of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    /// It runs.
    Run,
    /// It does not.
    Stopped,
}

/// An orderly end in progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// What comes after it.
    pub goal: Goal,
    /// How far it is.
    pub phase: EndingPhase,
    /// Wall clock at its begin, microseconds since 1970; for people.
    pub since: i64,
}

/// What comes after an orderly end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Goal {
    /// A new binding, there if given.
    Move(Option<HostName>),
    /// A new incarnation on the same node.
    Restart,
    /// Nothing; it stays stopped.
    Stop,
    /// The server is deleted.
    Delete,
}

/// How far an orderly end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndingPhase {
    /// No new connections; those it has may end.
    Draining,
    /// Its node was told to stop it.
    Stopping,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// What was asked for.
    pub spec: ServiceSpec,
    /// Its public addresses.
    pub addresses: Vec<IpAddr>,
    /// Who the partitions are that it is exported to, from when they wanted it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub consents: BTreeMap<PartitionName, Identity>,
    /// What its certificates say, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateFacts>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Its number within the PAN; no other volume ever has it.
    pub id: VolumeId,
    /// The server that it belongs to, which need not be there; none of one that is there by itself.
    pub server: Option<ServerName>,
    /// Of one that is there by itself: the server that was bound with it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<ServerName>,
    /// The bytes asked for.
    pub size: ByteSize,
    /// The bytes that a manifest asked for last: as many, unless more were asked for otherwise.
    #[serde(default)]
    pub declared: ByteSize,
    /// The snapshot that it began as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Beginning>,
    /// The bytes that every replica in sync is known to hold: as many as a head may use.
    pub usable: ByteSize,
    /// On how many storage hosts it is to be.
    pub copies: u8,
    /// What is, or will be, on it.
    pub filesystem: Filesystem,
    /// Who writes it, and which replicas have all of it.
    pub mirror: Record,
    /// Its present writer is nobody: it was claimed so that storage hosts may take snapshots of it.
    #[serde(default)]
    pub held: bool,
    /// Its snapshots.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshots: BTreeMap<Name, SnapshotRecord>,
    /// Where its replicas are: each of the record's members, and nobody else.
    pub hosts: BTreeMap<Member, HostName>,
    /// Members it begins with that are not known to be there yet. While there are any, nobody may write it.
    pub unmade: BTreeSet<Member>,
    /// The number of the next member.
    pub next_member: u32,
    /// It is what a server reads of a [`SourceRecord`]: it goes with the server, or when that reads another snapshot.
    #[serde(default)]
    pub reader: bool,
    /// It goes as soon as nobody has it any more.
    pub deleting: bool,
}

impl VolumeRecord {
    /// Its snapshots that are to be taken, in no particular order.
    pub fn taking(&self) -> impl Iterator<Item = &SnapshotRecord> {
        self.snapshots.values().filter(|snapshot| snapshot.stage == SnapshotStage::Taking)
    }

    /// The most that is written of it on each host. One that is only read shares all but its file system's journal with the snapshot that it
    /// begins as.
    #[must_use]
    pub fn written_max(&self) -> ByteSize {
        if self.reader { self.size.min(SIZE_MIN) } else { self.size }
    }

    /// The storage hosts that have one of its snapshots, or may have it.
    pub fn keep<'a>(&'a self, snapshot: &'a SnapshotRecord) -> impl Iterator<Item = &'a HostName> {
        let (ready, taking) = match &snapshot.stage {
            SnapshotStage::Ready(on) => (Some(on), None),
            SnapshotStage::Taking => (None, Some(self.hosts.values())),
            SnapshotStage::Failed(_) => (None, None),
        };
        ready.into_iter().flatten().chain(taking.into_iter().flatten())
    }
}

/// What a volume began as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// What people called the snapshot.
    pub name: SnapshotName,
    /// Which it was.
    pub snapshot: SnapshotId,
}

/// A snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its number within the PAN.
    pub id: SnapshotId,
    /// Bytes of the volume then.
    pub size: ByteSize,
    /// When it was asked for, by the wall clock.
    pub asked: i64,
    /// How far it is.
    pub stage: SnapshotStage,
}

/// How far a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotStage {
    /// It is to be taken: by the volume's head, or by the storage hosts if nobody has the volume.
    Taking,
    /// It is on these storage hosts, the same on each.
    Ready(BTreeSet<HostName>),
    /// There is none; why.
    Failed(String),
}

/// A host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its roles.
    pub roles: Vec<Role>,
    /// Its address on `lo`.
    pub address: IpAddr,
    /// On fabric A.
    pub a: IpAddr,
    /// On fabric B.
    pub b: IpAddr,
    /// The program's version.
    pub software: String,
    /// What it offers as a node.
    pub offer: Option<Offer>,
    /// What it offers as a storage host.
    #[serde(default)]
    pub storage: Option<StorageOffer>,
    /// Labels set by an operator, over those of its configuration.
    pub labels: BTreeMap<String, Option<String>>,
    /// Whether it may take servers.
    pub duty: Duty,
    /// The number it takes part under; grows when its death is decided.
    #[serde(default = "first_admission")]
    pub admission: Admission,
    /// Its death was decided up to this number; heartbeats that carry it, or an older one, are of the dead.
    #[serde(default)]
    pub revoked: Admission,
    /// What each of its roles called itself when it last knew no desired state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blanks: BTreeMap<Role, Blank>,
    /// Its deaths of late.
    #[serde(default, skip_serializing_if = "DeathsRecord::is_clean")]
    pub deaths: DeathsRecord,
    /// Replicas that it is to remove, as far as it has not said that it did.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub discard: BTreeSet<VolumeId>,
    /// Snapshots likewise.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub discard_snapshots: BTreeSet<SnapshotId>,
}

/// Deaths of a node that may end in a quarantine; times are wall clock, microseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeathsRecord {
    /// Deaths that count.
    pub at: Vec<i64>,
    /// Quarantines so far that are not forgotten.
    pub strikes: u32,
    /// The end of the last one.
    pub until: Option<i64>,
}

impl DeathsRecord {
    /// Nothing to remember.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

const fn first_admission() -> Admission {
    Admission::FIRST
}

impl HostRecord {
    /// A host as it presents itself, keeping what an operator decided about it earlier.
    #[must_use]
    pub fn of(hello: &Hello, former: Option<&Self>) -> Self {
        Self {
            roles: hello.roles.clone(),
            address: hello.address,
            a: hello.a,
            b: hello.b,
            software: hello.software.clone(),
            offer: hello.node.clone(),
            // Each role's process presents the host, and only that of the storage role knows its disks.
            storage: hello
                .storage
                .clone()
                .or_else(|| former.and_then(|host| host.storage.clone()).filter(|_| hello.roles.contains(&Role::Storage))),
            labels: former.map(|host| host.labels.clone()).unwrap_or_default(),
            duty: former.map_or(Duty::Full, |host| host.duty),
            admission: former.map_or(Admission::FIRST, |host| host.admission),
            revoked: former.map_or(Admission::NONE, |host| host.revoked),
            blanks: former.map(|host| host.blanks.clone()).unwrap_or_default(),
            deaths: former.map(|host| host.deaths.clone()).unwrap_or_default(),
            discard: former.map(|host| host.discard.clone()).unwrap_or_default(),
            discard_snapshots: former.map(|host| host.discard_snapshots.clone()).unwrap_or_default(),
        }
    }

    /// Its labels as a node, with the operator's changes over those of its configuration.
    #[must_use]
    pub fn effective_labels(&self) -> BTreeMap<String, String> {
        self.offer.as_ref().map(|offer| self.labelled(&offer.labels)).unwrap_or_else(|| self.labelled(&BTreeMap::new()))
    }

    /// Labels of its configuration, with the operator's changes.
    #[must_use]
    pub fn labelled(&self, configured: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut all = configured.clone();
        for (name, value) in &self.labels {
            match value {
                Some(value) => all.insert(name.clone(), value.clone()),
                None => all.remove(name),
            };
        }
        all
    }
}

/// What a host was given to prove who it is. It outlives the host's record: a name that comes back goes on counting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRecord {
    /// The number of its newest certificate.
    pub issued: u64,
    /// Certificates up to this number are refused.
    pub refused: Option<u64>,
    /// The number under which a host of this name took part last.
    pub admission: Admission,
}

/// What an operator lets a node do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Duty {
    /// Everything.
    Full,
    /// Keep its servers, take no new ones.
    Cordoned,
    /// Give its servers away.
    Draining,
}

/// Which periods' heartbeat keys are good; the keys themselves are derived from a root that is not in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysRecord {
    /// The period whose keys are used.
    pub current: u64,
    /// The period whose keys are handed out: the same, or the next.
    pub newest: u64,
    /// Wall clock at the last change, microseconds since 1970; 0: there was none.
    pub since: i64,
}

/// A failure domain that is to be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainDrain {
    /// Nodes whose turn has come, and what they were allowed before.
    pub begun: BTreeMap<HostName, Duty>,
    /// Nodes that an operator took back into use meanwhile.
    pub spared: BTreeSet<HostName>,
}

/// The PAN's own counters, and what is wanted of it as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PanRecord {
    /// Grows each time a controller takes over.
    pub term: u64,
    /// The controller of this term.
    #[serde(default)]
    pub leader: Option<HostName>,
    /// Which process of it: a random number that each draws.
    #[serde(default)]
    pub instance: u64,
    /// The next VXLAN network identifier.
    pub next_vni: u32,
    /// The number of the next event of the PAN itself.
    pub next_event: u64,
    /// Failure domains that are to be empty, by label (`NAME=VALUE`).
    #[serde(default)]
    pub drains: BTreeMap<String, DomainDrain>,
    /// No epoch of a deleted partition is above this: where the next one of its name begins.
    pub last_epoch: Epoch,
    /// Keys of heartbeats.
    #[serde(default)]
    pub keys: KeysRecord,
    /// The number of the next volume.
    #[serde(default = "first_volume")]
    pub next_volume: VolumeId,
    /// The number of the next life of a head.
    #[serde(default = "first_session")]
    pub next_session: Session,
    /// The number of the next snapshot.
    #[serde(default = "first_snapshot")]
    pub next_snapshot: SnapshotId,
    /// The number of the next import, or of the next way of one.
    #[serde(default = "first_import")]
    pub next_import: u32,
    /// The instant whose policies were acted on last (wall, microseconds since 1970): what was due then is not undone by a clock that is
    /// set back a little, or by the next leader's that is behind.
    #[serde(default)]
    pub policies_at: i64,
}

const fn first_import() -> u32 {
    1
}

const fn first_snapshot() -> SnapshotId {
    SnapshotId(1)
}

const fn first_volume() -> VolumeId {
    VolumeId(1)
}

const fn first_session() -> Session {
    Session(1)
}

impl Default for PanRecord {
    fn default() -> Self {
        Self {
            term: 0,
            leader: None,
            instance: 0,
            next_vni: 100,
            next_event: 1,
            drains: BTreeMap::new(),
            last_epoch: Epoch(0),
            keys: KeysRecord::default(),
            next_volume: first_volume(),
            next_session: first_session(),
            next_snapshot: first_snapshot(),
            next_import: first_import(),
            policies_at: 0,
        }
    }
}
