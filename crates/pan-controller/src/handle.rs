//! The handle by which everything else speaks to the controller's loop: read the newest view, ask for a change.

use crate::core::audit::{Actor, Attempt, Log};
use crate::core::digest::Digest;
use crate::core::request::{Reply, Request};
use crate::core::usage::Book;
use arc_swap::{ArcSwap, ArcSwapOption};
use pan_api::ApiError;
use pan_api::beatcount::BeatCounts;
use pan_api::desired::Desired;
use pan_api::event::Event;
use pan_api::inside::{Bearer, Inside};
use pan_api::insight::Timeline;
use pan_api::report::{Hello, Report};
use pan_api::requests::StoreMember;
use pan_api::token::AccessRole;
use pan_model::{ByteSize, ClusterName, Code, HostName, Name, PartitionName, ServerKey, ServiceName, SnapshotId, VolumeKey};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Name, for the record.
    pub name: String,
    /// Whom its token was made for.
    pub called: Option<Name>,
    /// What it may do.
    pub role: PrincipalRole,
    /// The only partition it may see; `None` for roles of the PAN.
    pub partition: Option<PartitionName>,
    /// The token that it showed; `None` for hosts, and for the administrator that the PAN was made with.
    pub token: Option<u64>,
}

impl Principal {
    /// A host, or a machine that becomes one.
    #[must_use]
    pub fn host(name: String) -> Self {
        Self { name, called: None, role: PrincipalRole::Joining, partition: None, token: None }
    }

    /// Somebody that another controller found by its token.
    #[must_use]
    pub fn of(bearer: Bearer) -> Self {
        let Bearer { token, called, role, partition } = bearer;
        let name = called.as_ref().map_or_else(|| "administrator".to_owned(), Name::to_string);
        Self { name, called, role: PrincipalRole::Access(role), partition, token }
    }

    /// What the audit log calls it.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self.role {
            PrincipalRole::Access(role) => Actor::new(self.called.as_ref(), self.token, role, self.partition.clone()),
            PrincipalRole::Joining => Actor::host(self.name.clone()),
        }
    }
}

/// Roles of principals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalRole {
    /// Somebody with a token.
    Access(AccessRole),
    /// A machine with a token, or a host with a certificate: may get a certificate, if what it has is good.
    Joining,
}

/// A token by which somebody calls the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// SHA-256 of its secret.
    pub secret: Digest,
    /// What its bearer may do.
    pub role: AccessRole,
    /// In which partition; none for roles of the PAN.
    pub partition: Option<PartitionName>,
    /// Who its bearer is.
    pub name: Option<Name>,
    /// Wall clock, microseconds since 1970: from then on it is good for nothing.
    pub expires: i64,
}

impl Grant {
    /// Whether its time is not over.
    #[must_use]
    pub const fn lasts(&self, now: i64) -> bool {
        now < self.expires
    }
}

/// The newest committed state, as wire objects; immutable.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Grows with every view.
    pub revision: u64,
    /// Partitions.
    pub partitions: BTreeMap<PartitionName, pan_api::partition::Partition>,
    /// Clusters.
    pub clusters: BTreeMap<(PartitionName, ClusterName), pan_api::cluster::Cluster>,
    /// Servers.
    pub servers: BTreeMap<ServerKey, pan_api::server::Server>,
    /// Services.
    pub services: BTreeMap<(PartitionName, ServiceName), pan_api::service::Service>,
    /// Imports.
    pub imports: BTreeMap<(PartitionName, Name), pan_api::import::Import>,
    /// Policies.
    pub policies: BTreeMap<(PartitionName, Name), pan_api::policy::Policy>,
    /// Volumes.
    pub volumes: BTreeMap<VolumeKey, pan_api::volume::Volume>,
    /// Where snapshots can be read.
    pub snapshots: BTreeMap<(VolumeKey, Name), SnapshotPlace>,
    /// Nodes.
    pub nodes: BTreeMap<HostName, pan_api::node::Node>,
    /// Hosts.
    pub hosts: BTreeMap<HostName, pan_api::host::Host>,
    /// Events by partition (`None`: the PAN's own), ascending numbers, newest last.
    pub events: BTreeMap<Option<PartitionName>, Vec<Arc<Event>>>,
    /// Who changed what, by where it belongs.
    pub audit: BTreeMap<Option<PartitionName>, Arc<Log>>,
    /// What partitions used.
    pub usage: BTreeMap<PartitionName, Arc<Book>>,
    /// Since when there are partitions, microseconds since 1970.
    pub created: BTreeMap<PartitionName, i64>,
    /// Timelines by object (`PARTITION/SERVER` or host), newest first.
    pub timelines: BTreeMap<String, Arc<Vec<Timeline>>>,
    /// Tokens.
    pub tokens: BTreeMap<u64, pan_api::token::Token>,
    /// Those by which the interface is called.
    pub grants: BTreeMap<u64, Grant>,
    /// Hosts some of whose certificates are refused: up to this number.
    pub refused: BTreeMap<HostName, u64>,
    /// The periods whose keys are used and handed out.
    pub keys: (u64, u64),
    /// What the planner sees.
    pub snapshot: Arc<pan_plan::Snapshot>,
    /// Failure domains that are drained.
    pub drains: Vec<pan_api::insight::DomainDrain>,
    /// The controller that leads, by the record.
    pub recorded: Option<HostName>,
    /// Members of the store.
    pub store: Vec<StoreMember>,
    /// Another controller leads: its name and address.
    pub leader: Option<(HostName, IpAddr)>,
    /// This controller leads.
    pub leads: bool,
    /// Addresses of hosts on the fabrics.
    pub node_addresses: BTreeMap<HostName, IpAddr>,
}

/// Where a snapshot can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPlace {
    /// Its number.
    pub id: SnapshotId,
    /// Its bytes.
    pub size: ByteSize,
    /// The storage hosts that have it, those that are alive first.
    pub hosts: Vec<(HostName, IpAddr)>,
}

/// A message to the loop.
pub(crate) enum Message {
    /// A change asked for.
    Request(Box<Actor>, Request, oneshot::Sender<Result<Reply, ApiError>>),
    /// Somebody was refused.
    Refused(Box<(Actor, Attempt, Code)>, oneshot::Sender<Result<(), ApiError>>),
    /// Somebody goes inside of something.
    Inside(Box<(Actor, Inside)>, oneshot::Sender<Result<(), ApiError>>),
    /// A host presents itself.
    Hello(Hello, oneshot::Sender<Result<(), ApiError>>),
    /// A host reports.
    Report(Box<Report>, oneshot::Sender<Result<(), ApiError>>),
    /// What the ear noticed, and when.
    Liveness(Vec<(pan_member::Tick, crate::core::hosts::LifeChange)>),
    /// The members of the store were asked: for each why it does not answer, if so.
    Members(Vec<(String, Option<String>)>),
    /// Time to take over, if the leader's record is still of this term.
    Take {
        /// The term it has; zero: there never was one.
        expected: u64,
        /// The term to give it.
        term: u64,
    },
    /// The leader's record is of this process and term, as the ear was told.
    Lead {
        /// The term.
        term: u64,
    },
    /// Have the leader's record read for the ear: that this controller leads counts for as long as its loop turns.
    ReadRecord,
    /// Somebody else leads or should.
    StepDown {
        /// Why.
        reason: String,
    },
}

/// Desired states by host.
pub(crate) type Desires = Arc<Mutex<BTreeMap<HostName, watch::Sender<Option<Arc<Desired>>>>>>;

/// A cheap, cloneable way to the controller.
#[derive(Clone)]
pub struct Handle {
    pub(crate) view: Arc<ArcSwap<View>>,
    pub(crate) changes: watch::Receiver<u64>,
    pub(crate) inbox: mpsc::Sender<Message>,
    pub(crate) desires: Desires,
    pub(crate) metrics: Arc<crate::metrics::Metrics>,
    /// Why the store cannot be read at present; the loop waits for it and refuses meanwhile.
    pub(crate) store_lost: Arc<ArcSwapOption<String>>,
    /// The members of the store as they were asked last.
    pub(crate) members: Arc<ArcSwap<Vec<pan_store::Sign>>>,
    /// How old views can be.
    pub(crate) sure: crate::sure::Sure,
    /// Where the host's beat process leaves its counts.
    pub(crate) run_dir: Arc<Path>,
}

impl Handle {
    /// The newest committed state.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// A number that grows with each new view.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// This controller leads no more, though it has not read yet what became of the PAN: the view stays, but for that.
    pub(crate) fn follows(&self) {
        let view = self.view();
        if view.leads {
            self.view.store(Arc::new(View { leads: false, ..(*view).clone() }));
        }
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<Result<T, ApiError>>) -> Message) -> Result<T, ApiError> {
        let (answer, answered) = oneshot::channel();
        let ending = |_| ApiError::new(Code::NotLeading, "this controller is stopping; nothing was changed");
        self.inbox.send(make(answer)).await.map_err(ending)?;
        let ended = |_| ApiError::new(Code::InDoubt, "this controller stopped before it could answer; whether it was done is not known");
        answered.await.map_err(ended)?
    }

    /// Whether decisions can be made and read at all.
    ///
    /// # Errors
    /// `NotLeading`, with what is wrong with the store: views are of the moment before that.
    pub fn health(&self) -> Result<(), ApiError> {
        match self.store_lost.load_full() {
            None => Ok(()),
            Some(why) => Err(ApiError::new(Code::NotLeading, format!("the store cannot be read, so nothing is decided: {why}"))),
        }
    }

    /// How old what is shown can be, for somebody who bears with `more` than the limit.
    ///
    /// # Errors
    /// `NotLeading`: too old to be told.
    pub(crate) fn age(&self, principal: &Principal, more: Duration) -> Result<Option<Duration>, ApiError> {
        let naming = |error| if principal.partition.is_none() { self.naming(error) } else { error };
        self.sure.age(more).map_err(naming)
    }

    /// An error as somebody is told it who asked for a change. Whoever has one partition learns of what the PAN is made of nothing, not even
    /// which part of it is lost.
    fn told(&self, principal: &Principal, error: ApiError) -> ApiError {
        match (principal.partition.is_some(), error.code) {
            (false, Code::NotLeading | Code::InDoubt) => self.naming(error),
            (true, Code::NotLeading) => ApiError::new(Code::NotLeading, "no controller can decide at present; nothing was changed"),
            (true, Code::InDoubt) => ApiError::new(Code::InDoubt, "no answer came in time; whether it was done is not known"),
            (_, _) => error,
        }
    }

    /// The same error, naming the members of the store that do not answer.
    fn naming(&self, error: ApiError) -> ApiError {
        ApiError { message: format!("{}{}", error.message, self.silent_members()), ..error }
    }

    /// Which members of the store do not answer, as a clause to end an error with.
    fn silent_members(&self) -> String {
        let signs = self.members.load();
        crate::core::members::silent(signs.iter().map(|sign| (sign.member.as_str(), sign.silence.as_deref())))
    }

    /// Asks for a change; answered after it is committed.
    ///
    /// # Errors
    /// The refusal, at once where the store is lost, or `InDoubt` when the controller stops meanwhile: the outcome is unknown then.
    pub async fn request(&self, principal: &Principal, request: Request) -> Result<Reply, ApiError> {
        self.health().map_err(|error| self.told(principal, error))?;
        let actor = Box::new(principal.actor());
        self.ask(|answer| Message::Request(actor, request, answer)).await.map_err(|error| self.told(principal, error))
    }

    /// Has a refusal written down; answered after it is committed, or counted.
    ///
    /// # Errors
    /// It is not written, because the store is lost or another controller leads.
    pub async fn refused(&self, principal: &Principal, attempt: Attempt, code: Code) -> Result<(), ApiError> {
        self.health().map_err(|error| self.told(principal, error))?;
        let told = Box::new((principal.actor(), attempt, code));
        self.ask(|answer| Message::Refused(told, answer)).await.map_err(|error| self.told(principal, error))
    }

    /// Has written down that somebody goes inside of something; answered after it is committed.
    ///
    /// # Errors
    /// It is not written: what it is about is not there, the store is lost, or another controller leads.
    pub async fn inside(&self, principal: &Principal, what: Inside) -> Result<(), ApiError> {
        self.health().map_err(|error| self.told(principal, error))?;
        let told = Box::new((principal.actor(), what));
        self.ask(|answer| Message::Inside(told, answer)).await.map_err(|error| self.told(principal, error))
    }

    /// A host presents itself.
    ///
    /// # Errors
    /// The refusal.
    pub async fn hello(&self, hello: Hello) -> Result<(), ApiError> {
        self.ask(|answer| Message::Hello(hello, answer)).await
    }

    /// A host reports what it sees.
    ///
    /// # Errors
    /// The refusal.
    pub async fn report(&self, report: Report) -> Result<(), ApiError> {
        self.ask(|answer| Message::Report(Box::new(report), answer)).await
    }

    /// The desired state of a host; `None` when it never said hello. Empty while this controller does not lead.
    #[must_use]
    pub fn desired(&self, host: &HostName) -> Option<watch::Receiver<Option<Arc<Desired>>>> {
        let desires = self.desires.lock().unwrap_or_else(PoisonError::into_inner);
        desires.get(host).map(watch::Sender::subscribe)
    }

    /// Metrics in Prometheus text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.metrics.queued(self.inbox.max_capacity() - self.inbox.capacity());
        self.metrics.render(&self.view(), BeatCounts::read(&self.run_dir).as_ref())
    }
}
