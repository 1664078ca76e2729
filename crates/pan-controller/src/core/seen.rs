//! What was observed and is not stored: a restarted controller is told all of it again.

use pan_api::report::{ConnectionCount, GateReport, Phase, ServerReport};
use pan_api::volume::{PoolReport, ReplicaReport};
use pan_member::{GateState, LeaseState, Tick};
use pan_model::host::{Fabrics, Link, Role};
use pan_model::mirror::Member;
use pan_model::{Admission, Epoch, Generation, HostName, PartitionName, ServerKey, VolumeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Everything observed.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// By host.
    pub hosts: BTreeMap<HostName, HostSeen>,
    /// By server, as its bound node reported it last.
    pub servers: BTreeMap<ServerKey, ServerSeen>,
    /// Servers that this controller bound, under which epoch and when, until their node says something of them.
    pub awaited: BTreeMap<ServerKey, (Epoch, Tick)>,
    /// Why servers have no place at present.
    pub not_placed: BTreeMap<ServerKey, String>,
    /// Servers whose protection holds at present.
    pub protected: BTreeSet<ServerKey>,
    /// Clusters whose protection was said to be lost, and not yet to hold again. At most all clusters.
    pub unkept: BTreeSet<super::world::ClusterKey>,
    /// The places kept for protected servers, and what they reserve on each node.
    pub reserves: Option<std::sync::Arc<pan_plan::Reserves>>,
    /// What the planner saw last.
    pub snapshot: std::sync::Arc<pan_plan::Snapshot>,
    /// Something the planner looks at changed.
    pub replan: bool,
    /// Clusters of which a server should move and could not, because another one was on its way.
    pub deferred: BTreeSet<super::world::ClusterKey>,
    /// The first generation in which a draining server's tables were published, by each director that sends it connections.
    pub drained_from: BTreeMap<ServerKey, BTreeMap<HostName, Generation>>,
    /// The first generation in which the tables send connections to a server that was started anew.
    pub tables_from: BTreeMap<ServerKey, Generation>,
    /// The record of deaths of each node.
    pub quarantine: BTreeMap<HostName, pan_member::Quarantine>,
    /// The first generation in which a server's node was told to stop it.
    pub stopped_from: BTreeMap<ServerKey, Generation>,
    /// The generation last published to each host.
    pub published: BTreeMap<HostName, Generation>,
    /// The generation since which a director was told nothing new of a partition, by director.
    pub units_from: BTreeMap<HostName, BTreeMap<PartitionName, Generation>>,
    /// Servers not to be tried again before a time, because they do not stay up.
    pub retry_at: BTreeMap<ServerKey, Tick>,
    /// The rotation of keys in progress.
    pub rotating: Option<super::keys::Rotating>,
    /// How far the drains of domains are, and the planner's snapshot for which that was found out.
    pub drains: (Option<std::sync::Arc<pan_plan::Snapshot>>, BTreeMap<String, super::domain::Progress>),
    /// Servers whose orderly end was said to wait because their host is out of reach.
    pub held: BTreeSet<ServerKey>,
    /// Clusters whose change was said to wait for such a host.
    pub rolls_held: BTreeSet<super::world::ClusterKey>,
    /// Since when this controller sees an orderly end in progress: a new one grants the time anew.
    pub ending_from: BTreeMap<ServerKey, Tick>,
    /// Since when this controller knows a storage host to be dead.
    pub away_from: BTreeMap<HostName, Tick>,
    /// What nodes say that instances used.
    pub meter: super::usage::Meter,
    /// Whether it was told that nodes have no leases.
    pub leaseless: bool,
    /// Frames that servers may not send, and what of them is not told yet.
    pub refused: BTreeMap<ServerKey, super::frames::OfServer>,
    /// What was refused and is not told yet.
    pub refusals: super::audit::Refusals,
    /// What partitions are told of their imports. At most all imports.
    pub imports: BTreeMap<super::world::ImportKey, super::imports::Telling>,
    /// Until when no policy changes anything, and what of them was told.
    pub policies: super::policy::Watching,
    /// What hosts do again and again, and is not told yet.
    pub often: super::audit::Often,
    /// Members of the controllers' store, by name. None where it is one file.
    pub members: BTreeMap<String, super::members::Member>,
}

/// A host as heard and as reported.
#[derive(Debug, Clone)]
pub struct HostSeen {
    /// Its heartbeats.
    pub life: Life,
    /// On which fabrics they arrive.
    pub fabrics: Fabrics,
    /// Its agent gives no sign of life, say its heartbeats. The ear tells of changes only, and takes an agent for well at first.
    pub agent_silent: bool,
    /// Since when in this life (wall, microseconds).
    pub since: i64,
    /// The newest generation that all its roles have applied.
    pub applied: BTreeMap<pan_model::host::Role, Generation>,
    /// Connections of backends, if it owns units.
    pub connections: Vec<ConnectionCount>,
    /// The numbers of the ways of imports that are in place there, if it is a director.
    pub ways: BTreeSet<u32>,
    /// Its boot identifier.
    pub boot: Option<u64>,
    /// Boot and sequence of the newest report of each role: what is older says nothing any more.
    pub reported: BTreeMap<pan_model::host::Role, (u64, u64)>,
    /// The boot before, of each role, and until when a report of it may come late and is not heard.
    pub former: BTreeMap<pan_model::host::Role, (u64, pan_member::Tick)>,
    /// The newest period whose keys it says to have.
    pub keys: Option<u64>,
    /// How far its wall clock is ahead of this controller's, microseconds, as far as it told.
    pub skew: Option<i64>,
    /// That it is not what it should be was told.
    pub skew_told: bool,
    /// Too many deaths.
    pub quarantined: bool,
    /// Silent for so long, in microseconds, that it is to be taken for dead once it is fenced.
    pub lost: Option<i64>,
    /// By the wall clock, when it was heard last before it was judged to be dead, here or while another controller led.
    pub silent_from: Option<i64>,
    /// Its fencing is under way, for this number.
    pub revoking: Option<Admission>,
    /// Since when its gate is shut although it is heard.
    pub dark_from: Option<Tick>,
    /// For too long: until it has a lease again it is given nothing.
    pub dark: bool,
    /// Heard, and without a report since then.
    pub quiet_from: Option<Tick>,
    /// When it reported last, to whoever this controller was then.
    pub told_at: Option<Tick>,
    /// For too long: nothing can be done there.
    pub out_of_reach: bool,
    /// It is to be taken for dead for that, and not for silence.
    pub mute: bool,
    /// When it fell silent last, and was heard again each time; not more than make it unsteady.
    pub faltered: VecDeque<Tick>,
    /// It was booted since it got its number.
    pub rebooted: bool,
    /// It asked for another number than this one.
    pub worn: Option<Admission>,
    /// Its lease and gate, as its heartbeats say.
    pub lease: Option<LeaseSeen>,
    /// Its gate, as its agent says.
    pub gate: Option<GateReport>,
    /// Problems its roles reported last.
    pub problems: BTreeMap<Role, Vec<String>>,
    /// It joined under this controller and was not heard yet.
    pub introduced: bool,
    /// Fabrics whose loss was told and not yet taken back.
    pub links_lost: BTreeSet<pan_model::host::Fabric>,
    /// Its replicas, once it said which it has.
    pub replicas: Option<BTreeMap<VolumeId, ReplicaReport>>,
    /// Of which of them it was told that they are damaged, as the members they are: one that is made anew is another.
    pub damaged_told: BTreeSet<(VolumeId, Member)>,
    /// The disk they lie on.
    pub pool: Option<PoolReport>,
    /// Whether it was told that the disk is full.
    pub fullness: super::fullness::Fullness,
    /// Who was turned away at its replicas.
    pub strangers: super::strangers::Strangers,
    /// What its roles refused of servers.
    pub refused: BTreeMap<Role, super::frames::OfHost>,
}

impl HostSeen {
    /// Connections of a server, as this host counted them last.
    #[must_use]
    pub fn connections_of(&self, key: &ServerKey) -> u64 {
        let of_it = self.connections.iter().filter(|count| count.partition == key.partition && count.server == key.name);
        of_it.map(|count| count.connections).sum()
    }
}

impl Default for HostSeen {
    fn default() -> Self {
        Self {
            life: Life::Joining,
            fabrics: Fabrics { a: Link::Down, b: Link::Down },
            agent_silent: false,
            since: 0,
            applied: BTreeMap::new(),
            connections: Vec::new(),
            ways: BTreeSet::new(),
            boot: None,
            reported: BTreeMap::new(),
            former: BTreeMap::new(),
            keys: None,
            skew: None,
            skew_told: false,
            quarantined: false,
            lost: None,
            silent_from: None,
            revoking: None,
            dark_from: None,
            quiet_from: None,
            told_at: None,
            out_of_reach: false,
            mute: false,
            faltered: VecDeque::new(),
            dark: false,
            rebooted: false,
            worn: None,
            lease: None,
            gate: None,
            problems: BTreeMap::new(),
            introduced: false,
            links_lost: BTreeSet::new(),
            replicas: None,
            damaged_told: BTreeSet::new(),
            pool: None,
            fullness: super::fullness::Fullness::default(),
            strangers: super::strangers::Strangers::default(),
            refused: BTreeMap::new(),
        }
    }
}

/// How a node's lease and gate stand, by its heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseSeen {
    /// The lease.
    pub state: LeaseState,
    /// The number it is, or was, held under.
    pub admission: Admission,
    /// The gate.
    pub gate: GateState,
    /// How long each of its leases lasts, if it says so...
    pub length: Option<Duration>,
    /// ...and how long by this controller's profile.
    pub expected: Duration,
}

impl LeaseSeen {
    /// How long each of its leases lasts, where its profile is another than this controller's.
    #[must_use]
    pub fn other_length(&self) -> Option<Duration> {
        self.length.filter(|length| *length != self.expected)
    }
}

/// What the heartbeats of a host say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Not heard since this controller started.
    Joining,
    /// Heard.
    Alive,
    /// Silent for some periods.
    Suspect,
    /// Silent too long.
    Dead,
}

/// A server as its node reported it.
#[derive(Debug, Clone)]
pub struct ServerSeen {
    /// The report.
    pub report: ServerReport,
    /// The node that reported.
    pub node: HostName,
    /// Since when in this phase (wall, microseconds), for people.
    pub since: i64,
    /// Since when this controller sees it in this phase.
    pub phase_from: Tick,
    /// It was healthy once under this epoch.
    pub was_healthy: bool,
}

impl Seen {
    /// What a host's heartbeats say.
    #[must_use]
    pub fn life(&self, host: &HostName) -> Life {
        self.hosts.get(host).map_or(Life::Joining, |seen| seen.life)
    }

    /// The phase of a server, if its report is of its present binding and incarnation.
    #[must_use]
    pub fn current_phase(&self, key: &ServerKey, server: &super::record::ServerRecord) -> Option<Phase> {
        let seen = self.servers.get(key).filter(|seen| seen.report.incarnation == server.incarnation)?;
        (Some(&seen.node) == server.node.as_ref() && seen.report.epoch == server.epoch).then_some(seen.report.phase)
    }

    /// The phase of a server, if its report matches the binding given.
    #[must_use]
    pub fn phase(&self, key: &ServerKey, node: Option<&HostName>, epoch: pan_model::Epoch) -> Option<Phase> {
        let seen = self.servers.get(key)?;
        (Some(&seen.node) == node && seen.report.epoch == epoch).then_some(seen.report.phase)
    }
}
