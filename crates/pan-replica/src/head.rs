//! The head: serves one volume to one server, and keeps its replicas equal.
//!
//! A state machine without clock, sockets or disks: [`Head::handle`] takes an event and the moment, and says what is to be done.
//! `opening` fences, `serve` has the clients' operations, `members` gives up who does not answer, `pace` who is too slow, `grow` brings back who was
//! out, `reconcile` makes equal what an earlier head left unequal, `mend` what rotted.

mod grow;
mod marks;
mod members;
mod mend;
mod opening;
mod pace;
mod reconcile;
mod serve;
mod task;
mod window;

use crate::geometry::{Extent, Geometry, Span};
use crate::locks::{Locks, Ticket};
use crate::message::{Ask, Content, Reply, Request, Sequence};
use crate::rules::{Mutant, Rules};
use members::{Asking, Missing, Shrink};
pub use mend::Mended;
pub use opening::Clients;
use pan_model::mirror::{Change, Mark, Member, Record, Writer};
use pan_model::{SnapshotId, VolumeEpoch};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use task::Task;
use window::Window;

/// Bounds and patience of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The volume.
    pub geometry: Geometry,
    /// Whom it serves.
    pub clients: Clients,
    /// Operations of clients at the same time.
    pub operations_max: usize,
    /// Extents that replicas may have dirty, and cannot strike from their logs yet, from which on no write is begun. Half of what a log
    /// holds: the last write that is begun needs room, too. From half of it on the head flushes by itself.
    pub extents_max: u64,
    /// How long a replica may take to answer before it is given up. Silence is found out by the connection, much sooner.
    pub patience: Duration,
    /// How long replicas may take to be there when the volume is opened, once one of them is.
    pub opening: Duration,
    /// Extents that are copied at the same time.
    pub copies_max: usize,
}

/// The number of a client's operation, given by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op<D> {
    /// Read.
    Read {
        /// Where.
        span: Span,
        /// From this replica if it can be had; the least busy one otherwise.
        prefer: Option<Member>,
    },
    /// Write.
    Write {
        /// Where.
        span: Span,
        /// What.
        content: Content<D>,
        /// On all disks before it is acknowledged (FUA).
        durable: bool,
    },
    /// Put everything that was acknowledged on all disks.
    Flush,
    /// Keep the volume as it is, with everything that was acknowledged, on every replica in sync and on their disks, at one moment between
    /// two operations. One of that number is replaced.
    Snapshot(SnapshotId),
}

/// Why an operation of a client failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Trouble {
    /// It is not within the volume.
    #[error("outside of the volume")]
    Outside,
    /// No replica could.
    #[error("no replica could do it")]
    Failed(crate::message::Fault),
    /// This head may not answer any more.
    #[error("this head serves the volume no more")]
    Over,
}

/// Why a head ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum End {
    /// Somebody else writes the volume.
    #[error("epoch {found} was claimed by somebody else")]
    Deposed {
        /// The newer epoch.
        found: VolumeEpoch,
    },
    /// The only replica was restarted, and lost what was acknowledged and not flushed.
    #[error("the only replica left, {member}, was restarted and may have lost what was not flushed")]
    Lost {
        /// Which.
        member: Member,
    },
    /// The only replica is of another lineage: it is not the one that this volume was written to.
    #[error("the only replica left, {member}, is not what was in sync")]
    Strange {
        /// Which.
        member: Member,
    },
}

/// What happens to a head.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event<D> {
    /// A client asks for something.
    Submit(OpId, Op<D>),
    /// There is a connection to a replica.
    Connected(Member),
    /// The connection to a replica ended.
    Disconnected(Member),
    /// A replica answers.
    Reply(Member, Reply<D>),
    /// What became of the change asked for: the record as it is now.
    Answered(Record),
    /// What became of it is not known.
    Unanswered,
    /// The record was changed by the controller.
    Changed(Record),
    /// Time went by.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect<D> {
    /// Send a request.
    Send(Member, Request<D>),
    /// Give up a connection; whatever still comes on it is not to be handed in.
    Disconnect(Member),
    /// Ask the arbiter for a change.
    Ask {
        /// The change.
        change: Change,
        /// The number of changes known.
        expect: u64,
        /// What the member is sure to have on its disk, if it is evicted and that is known.
        had: Option<Mark>,
    },
    /// The replicas that have the snapshot that this operation asked for, before it is done.
    Taken(OpId, BTreeSet<Member>),
    /// An operation of a client is done.
    Done(OpId, Result<Option<D>, Trouble>),
    /// It is over: nothing is served any more.
    Over(End),
}

/// The moment, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Env {
    /// Since some fixed moment; never goes back.
    pub now: Duration,
    /// Rule 10. Whether this node's lease is good: what was read without one may be old.
    pub lease: bool,
}

/// What a replica is to a head, as others may know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// Not there, or not asked for anything.
    Away,
    /// It is to obey.
    Fencing,
    /// It has everything.
    InSync,
    /// It does not answer, and is to be evicted.
    Failing,
    /// It is on its way back.
    Joining,
}

/// What a member is to this head.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Role {
    /// Nothing at present.
    Apart,
    /// In sync by the record, and being fenced.
    Fencing(Sequence),
    /// In sync.
    InSync,
    /// In sync by the record, and to be evicted; or, the last one, to come back.
    Failing,
    /// Out, and on its way back.
    Joining(grow::Joining),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Peer {
    connected: bool,
    role: Role,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Head<D> {
    rules: Rules,
    settings: Settings,
    writer: Writer,
    record: Record,
    peers: BTreeMap<Member, Peer>,
    /// Whether clients are served: all that are kept are fenced.
    open: bool,
    /// Since when it could be opened without those who are missing.
    opening: Option<Duration>,
    /// They are not waited for any more.
    opening_over: bool,
    /// What clients asked for before it was open.
    early: Vec<(OpId, Op<D>)>,
    now: Duration,
    end: Option<End>,
    sequence: Sequence,
    ticket: u64,
    locks: Locks,
    /// What waits for its place.
    waiting: BTreeMap<Ticket, task::Waiting<D>>,
    /// What is under way.
    tasks: BTreeMap<Sequence, Task<D>>,
    /// All changes up to this one are on the disk of every member in sync.
    settled: Sequence,
    /// The last flush of its own failed, and it is not yet time for another.
    unswept: bool,
    /// Extents that replicas may have dirty, and cannot strike yet.
    window: Window,
    /// Writes that have their place and wait until replicas have room, in order.
    crowded: VecDeque<Ticket>,
    pace: pace::Pace,
    asking: Option<Asking>,
    shrink: Option<Shrink>,
    missing: Vec<Missing>,
    /// Rule 4. Extents to be made equal before they are used, and who is not to be believed about them.
    unequal: BTreeMap<Extent, Option<Member>>,
    /// Those that have their place and wait for a member to answer, or to be out.
    stalled: Vec<(Ticket, Extent)>,
    mending: mend::Mending,
    /// What members are sure to have.
    marks: marks::Marks,
    /// Flushes of clients that wait for that.
    flushes: Vec<Ticket>,
    /// Writes acknowledged so far, and how many of them are on all disks.
    acknowledged: u64,
    flushed: u64,
    /// What each member said when it was fenced.
    fenced: BTreeMap<Member, crate::message::Fenced>,
    effects: Vec<Effect<D>>,
}

impl<D: Clone> Head<D> {
    /// A head that has claimed a volume: `record` is what the claim made of it.
    #[must_use]
    pub fn new(settings: Settings, record: Record, rules: Rules) -> Self {
        let writer = Writer { epoch: record.epoch, session: record.session };
        let members = record.in_sync.iter().chain(record.out.keys());
        let peers = members.map(|member| (*member, Peer { connected: false, role: Role::Apart })).collect();
        Self {
            rules,
            settings,
            writer,
            record,
            peers,
            open: false,
            opening: None,
            opening_over: false,
            early: Vec::new(),
            now: Duration::ZERO,
            end: None,
            sequence: Sequence(0),
            ticket: 0,
            locks: Locks::default(),
            waiting: BTreeMap::new(),
            tasks: BTreeMap::new(),
            settled: Sequence(0),
            unswept: false,
            window: Window::default(),
            crowded: VecDeque::new(),
            pace: pace::Pace::default(),
            asking: None,
            shrink: None,
            missing: Vec::new(),
            unequal: BTreeMap::new(),
            stalled: Vec::new(),
            mending: mend::Mending::default(),
            marks: marks::Marks::default(),
            flushes: Vec::new(),
            // What earlier heads acknowledged may not be on any disk yet.
            acknowledged: 1,
            flushed: 0,
            fenced: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// Whether clients are served: what they ask for before that waits.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Whether all members in sync have the same, as far as nobody writes.
    #[must_use]
    pub fn is_equal_everywhere(&self) -> bool {
        self.open && self.unequal.is_empty()
    }

    /// Why it ended, if it did.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// The record as this head knows it.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// What a replica is to this head.
    #[must_use]
    pub fn state(&self, member: Member) -> Option<MemberState> {
        self.role(member).map(|role| match role {
            Role::Apart => MemberState::Away,
            Role::Fencing(_) => MemberState::Fencing,
            Role::InSync => MemberState::InSync,
            Role::Failing => MemberState::Failing,
            Role::Joining(_) => MemberState::Joining,
        })
    }

    /// Extents that are still to be made equal or copied; zero when all replicas have everything.
    #[must_use]
    pub fn behind(&self) -> u64 {
        let joining = |peer: &Peer| match &peer.role {
            Role::Joining(joining) => joining.left(),
            Role::Apart | Role::Fencing(_) | Role::InSync | Role::Failing => 0,
        };
        self.unequal.len() as u64 + self.peers.values().map(joining).sum::<u64>()
    }

    /// The volume was made larger.
    pub fn grow_to(&mut self, size: u64) {
        self.settings.geometry.size = self.settings.geometry.size.max(size);
    }

    /// Whether another operation may be submitted. One that is submitted all the same is served; this is for whoever feeds it.
    /// Writes that replicas have no room for wait here, and nobody who reads waits for them.
    #[must_use]
    pub fn accepts(&self) -> bool {
        let all = self.early.len() + self.waiting.len() + self.tasks.len();
        // What is made equal has its own bound.
        let equalled = self.unequal.len().saturating_sub(self.stalled.len());
        all.saturating_sub(equalled) < self.settings.operations_max
    }

    /// Takes an event; says what is to be done.
    pub fn handle(&mut self, env: Env, event: Event<D>) -> Vec<Effect<D>> {
        if self.end.is_some() {
            if let Event::Submit(op, _) = event {
                self.effects.push(Effect::Done(op, Err(Trouble::Over)));
            }
            return std::mem::take(&mut self.effects);
        }
        self.now = env.now;
        match event {
            Event::Submit(op, what) => self.submit(op, what),
            Event::Connected(member) => self.connected(member),
            Event::Disconnected(member) => self.disconnected(member),
            Event::Reply(member, reply) => self.reply(env, member, reply),
            Event::Answered(record) => {
                self.asking = None;
                self.adopt(record);
            }
            Event::Unanswered => self.unanswered(),
            Event::Changed(record) => self.adopt(record),
            Event::Tick => self.tick(env.now),
        }
        self.advance(env.now);
        std::mem::take(&mut self.effects)
    }

    /// Does whatever can be done now; after every event.
    fn advance(&mut self, now: Duration) {
        if self.end.is_none() {
            self.fence_connected();
            self.try_open(now);
        }
        // It may have ended with that.
        if self.end.is_none() {
            self.ask_again();
            self.evict();
            self.tell_missing();
            self.reconcile_stalled();
            self.resume_reads();
            self.grow();
            self.mend();
        }
        while self.end.is_none() {
            self.sweep();
            self.begin_crowded();
            let granted = self.locks.granted();
            if granted.is_empty() {
                break;
            }
            granted.into_iter().for_each(|ticket| self.begin(ticket));
        }
    }

    fn next_sequence(&mut self) -> Sequence {
        self.sequence = self.sequence.next();
        self.sequence
    }

    fn send(&mut self, member: Member, sequence: Sequence, ask: Ask<D>) {
        // It lacks what earlier heads left, until it was given it.
        let behind = matches!(self.role(member), Some(Role::Joining(joining)) if !joining.is_required());
        let request = Request {
            writer: self.writer,
            lineage: self.record.lineage,
            sequence,
            settled: if self.rules.breaks(Mutant::SettledWhenDone) { self.done().min(self.sequence) } else { self.settled },
            reconciled: self.open && self.unequal.is_empty() && !behind,
            ask,
        };
        self.effects.push(Effect::Send(member, request));
    }

    fn finish(&mut self, end: End) {
        self.end = Some(end);
        let of_clients = |task: &Task<D>| task.client();
        let mut ops: Vec<OpId> = self.tasks.values().filter_map(of_clients).collect();
        ops.extend(self.waiting.values().filter_map(task::Waiting::client));
        ops.extend(self.early.drain(..).map(|(op, _)| op));
        ops.sort_unstable();
        self.tasks.clear();
        self.waiting.clear();
        self.effects.extend(ops.into_iter().map(|op| Effect::Done(op, Err(Trouble::Over))));
        self.effects.push(Effect::Over(end));
    }

    fn role(&self, member: Member) -> Option<&Role> {
        self.peers.get(&member).map(|peer| &peer.role)
    }

    fn set_role(&mut self, member: Member, role: Role) {
        if let Some(peer) = self.peers.get_mut(&member) {
            peer.role = role;
        }
    }

    /// The members in sync that answer.
    fn good(&self) -> Vec<Member> {
        let good = |(member, peer): (&Member, &Peer)| (peer.role == Role::InSync).then_some(*member);
        self.peers.iter().filter_map(good).collect()
    }

    /// The members whose answer every change needs: those in sync, also when they do not answer, and those about to be.
    fn required(&self) -> BTreeSet<Member> {
        let joining = |role: &Role| matches!(role, Role::Joining(joining) if joining.is_required());
        let more = self.peers.iter().filter(|(_, peer)| joining(&peer.role)).map(|(member, _)| *member);
        self.record.in_sync.iter().copied().chain(more).collect()
    }
}
