//! The controller's loop: one task that owns the world. Events in; settle; commit; only then publish and answer.

use crate::beats::{self, Receive};
use crate::core::hosts as hosts_core;
use crate::core::persist::{self, TERM_KEY};
use crate::core::seen::Life;
use crate::core::world::{Now, Settings, World};
use crate::core::{operate, orders, published, settle};
use crate::handle::{Handle, Message, View};
use crate::metrics::Metrics;
use arc_swap::ArcSwap;
use pan_api::ApiError;
use pan_api::desired::Desired;
use pan_api::keyfile::read_key;
use pan_api::report::Hello;
use pan_member::{Detector, Tick};
use pan_model::host::Role;
use pan_model::host_config::{ControllerConfig, HostConfig};
use pan_model::{Generation, HostName};
use pan_store::{AnyStore, Embedded, Revision, Store, Txn, Write};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Messages taken in one round: enough to absorb a burst, few enough to commit soon.
const BATCH_MAX: usize = 512;
/// Messages waiting: hosts and callers are held back beyond it.
const INBOX_MAX: usize = 4096;
/// Time limits of the core are of seconds; this is how soon they are noticed.
const TICK: Duration = Duration::from_millis(100);
/// A host may take this long to be heard after this controller started, before it counts as silent.
const GRACE: Duration = Duration::from_secs(3);
/// Room for the term record in each transaction.
const TERM_BYTES: usize = 4096;
/// MTU of a fabric less the encapsulation (VXLAN over IPv6).
const MTU: u32 = 1500 - 70;

/// Why a controller cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration lacks something or contradicts itself.
    #[error("configuration of host {host}: {message}")]
    Config {
        /// The host.
        host: HostName,
        /// What is wrong.
        message: String,
    },
    /// The key of heartbeats cannot be used.
    #[error("the PAN's key")]
    Key(#[from] pan_api::keyfile::KeyFileError),
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Open(#[from] pan_store::OpenError),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Read(#[from] pan_store::ReadError),
    /// A commit failed; the process ends, and a new one reads again what was committed.
    #[error("a commit failed")]
    Commit(#[from] pan_store::CommitError),
    /// A record cannot be used.
    #[error(transparent)]
    Load(#[from] persist::LoadError),
    /// The API cannot be served.
    #[error("the API cannot be served: {0}")]
    Serve(String),
}

fn now() -> Now {
    Now { wall: jiff::Timestamp::now().as_microsecond(), boot: Tick(pan_linux::datagram::boot_clock()) }
}

fn settings(config: &ControllerConfig) -> Settings {
    Settings {
        outside: config.outside.clone(),
        pools: config.pools.iter().map(|pool| (pool.first, pool.last)).collect(),
        host_image_allowed: config.host_image_allowed,
        reach: config.reach.as_ref().map(|reach| (reach.from, reach.to)),
        mtu: MTU,
    }
}

/// Runs the controller until it fails.
///
/// # Errors
/// [`RunError`].
pub async fn run(config: HostConfig) -> Result<(), RunError> {
    let wrong = |message: String| RunError::Config { host: config.name.clone(), message };
    let part = config.controller.clone().ok_or_else(|| wrong("it has the role controller but no part `controller`".into()))?;
    let pan_key = read_key(&part.pan_key)?;
    let profile: pan_member::Profile =
        config.profile.parse().map_err(|error: pan_member::profile::UnknownProfile| wrong(error.to_string()))?;
    let directory = config.state_dir.join("controller");
    std::fs::create_dir_all(&directory).map_err(|error| wrong(format!("{}: {error}", directory.display())))?;
    let store = AnyStore::Embedded(Embedded::open(&directory.join("store.redb"))?);
    let (mut world, term_revision) = load(&store, settings(&part)).await?;
    world.pan.term += 1;
    let (inbox, messages) = mpsc::channel(INBOX_MAX);
    let (joined, joins) = std::sync::mpsc::channel();
    let timing = profile.timing(world.hosts.len());
    timing.check().map_err(|error| wrong(error.to_string()))?;
    let start = Tick(pan_linux::datagram::boot_clock());
    let mut detector = Detector::new(pan_member::Settings { timing, grace: GRACE, protected_failures: 1 }, start);
    for host in world.hosts.keys() {
        detector.add_host(host.clone(), start);
    }
    let (changed, changes) = watch::channel(0);
    let handle = Handle {
        view: Arc::new(ArcSwap::from_pointee(View::default())),
        changes,
        inbox: inbox.clone(),
        desires: Arc::default(),
        metrics: Arc::new(Metrics::default()),
    };
    let mut owner = Owner {
        world,
        store,
        term_revision,
        step: 0,
        started: Instant::now(),
        warm: false,
        latest: BTreeMap::new(),
        handle: handle.clone(),
        changed,
        revision: 0,
        joined,
        protected_failures: Arc::new(AtomicUsize::new(1)),
    };
    owner.introduce_myself(&config).await?;
    let fabrics = [config.fabrics.a.address.addr(), config.fabrics.b.address.addr()];
    let known = owner.world.hosts.keys().cloned().collect();
    let protected_failures = owner.protected_failures.clone();
    let receive = Receive { fabrics, pan_key, detector, known, protected_failures, joined: joins, inbox };
    let receiver = tokio::task::spawn_blocking(move || beats::run(receive));
    let listeners = pan_linux::listen::inherited();
    let (served, front) = (handle.clone(), config.clone());
    let server = tokio::spawn(async move { crate::server::serve(served, &front, listeners).await });
    if !config.roles.iter().any(|role| matches!(role, Role::Node | Role::Director)) {
        tokio::spawn(crate::routes::keep(handle, config.clone()));
    }
    tokio::select! {
        ended = owner.work(messages) => ended,
        ended = server => Err(RunError::Serve(format!("{ended:?}"))),
        ended = receiver => Err(RunError::Serve(format!("heartbeats cannot be received: {ended:?}"))),
    }
}

async fn load(store: &AnyStore, settings: Settings) -> Result<(World, Option<Revision>), RunError> {
    let listing = store.list("").await?;
    let term_revision = listing.entries.iter().find(|entry| entry.key == TERM_KEY).map(|entry| entry.revision);
    let world = persist::load(settings, listing.entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_slice())))?;
    Ok((world, term_revision))
}

/// The answers to give once the round is committed.
enum Answer {
    Request(oneshot::Sender<Result<crate::core::request::Reply, ApiError>>, Result<crate::core::request::Reply, ApiError>),
    Host(oneshot::Sender<Result<(), ApiError>>, Result<(), ApiError>),
}

impl Answer {
    fn give(self) {
        // A caller that went away meanwhile does not need its answer.
        match self {
            Self::Request(to, answer) => drop(to.send(answer)),
            Self::Host(to, answer) => drop(to.send(answer)),
        }
    }
}

struct Owner {
    world: World,
    store: AnyStore,
    term_revision: Option<Revision>,
    step: u64,
    started: Instant,
    warm: bool,
    latest: BTreeMap<HostName, Desired>,
    handle: Handle,
    changed: watch::Sender<u64>,
    revision: u64,
    joined: std::sync::mpsc::Sender<HostName>,
    protected_failures: Arc<AtomicUsize>,
}

impl Owner {
    async fn introduce_myself(&mut self, config: &HostConfig) -> Result<(), RunError> {
        self.world.dirty.insert(crate::core::world::Dirty::Pan);
        let answer = self.hello(&Hello::of(config));
        answer.map_err(|error| RunError::Config { host: config.name.clone(), message: error.message })?;
        self.commit().await
    }

    fn hello(&mut self, hello: &Hello) -> Result<(), ApiError> {
        let new = !self.world.hosts.contains_key(&hello.host);
        hosts_core::hello(&mut self.world, now(), hello)?;
        if new {
            // The receiver ends only together with this loop.
            let _ = self.joined.send(hello.host.clone());
        }
        Ok(())
    }

    async fn work(mut self, mut messages: mpsc::Receiver<Message>) -> Result<(), RunError> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let first = tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => Some(message),
                    None => return Ok(()),
                },
                _ = ticks.tick() => None,
            };
            let mut answers: Vec<Answer> = first.map(|message| self.take(message)).into_iter().flatten().collect();
            for _ in 1..BATCH_MAX {
                let Ok(message) = messages.try_recv() else { break };
                answers.extend(self.take(message));
            }
            let before = Instant::now();
            self.settle();
            self.handle.metrics.settled(before.elapsed());
            self.commit().await?;
            self.publish();
            answers.into_iter().for_each(Answer::give);
        }
    }

    fn take(&mut self, message: Message) -> Option<Answer> {
        let now = now();
        match message {
            Message::Request(principal, request, answer) => {
                tracing::debug!(principal = principal.name, "request");
                Some(Answer::Request(answer, operate::request(&mut self.world, now, request)))
            }
            Message::Hello(hello, answer) => Some(Answer::Host(answer, self.hello(&hello))),
            Message::Report(report, answer) => Some(Answer::Host(answer, hosts_core::report(&mut self.world, now, report))),
            Message::Liveness(changes) => {
                for change in changes {
                    hosts_core::life(&mut self.world, now, change);
                }
                None
            }
        }
    }

    /// Nothing is decided or published before every host has had the time to say what it runs: a restarted
    /// controller must not take what it has not heard of for gone.
    fn settle(&mut self) {
        if !self.warm {
            let heard = |name: &HostName| {
                let seen = self.world.seen.hosts.get(name);
                let roles = self.world.hosts[name].roles.iter().filter(|role| matches!(role, Role::Node | Role::Director));
                seen.is_some_and(|seen| seen.life == Life::Alive && roles.into_iter().all(|role| seen.applied.contains_key(role)))
            };
            let grace = GRACE + Duration::from_secs(1);
            self.warm = self.world.hosts.keys().all(heard) || self.started.elapsed() >= grace;
        }
        if self.warm {
            settle::settle(&mut self.world, now());
            // Nobody holds a lease yet: a silent node is fenced by its silence.
            for effect in std::mem::take(&mut self.world.effects) {
                if let crate::core::world::Effect::Fence(host, through) = effect {
                    hosts_core::life(&mut self.world, now(), hosts_core::LifeChange::Fenced(host, through));
                    settle::settle(&mut self.world, now());
                }
            }
            let promises = self.world.clusters.values().filter_map(|cluster| cluster.spec.protect).map(|protect| protect.failures as usize);
            self.protected_failures.store(promises.max().unwrap_or(1).max(1), Ordering::Relaxed);
        }
    }

    async fn commit(&mut self) -> Result<(), RunError> {
        let dirty = std::mem::take(&mut self.world.dirty);
        if dirty.is_empty() {
            return Ok(());
        }
        let before = Instant::now();
        let dirty: Vec<_> = dirty.into_iter().collect();
        for writes in self.transactions(&dirty) {
            let compares = vec![pan_store::Compare { key: TERM_KEY.to_owned(), revision: self.term_revision }];
            let revision = self.store.commit(&Txn { compares, writes }).await?;
            self.term_revision = Some(revision);
        }
        self.handle.metrics.committed(before.elapsed());
        self.log_events(&dirty);
        Ok(())
    }

    /// Only what is committed happened: events of a refused or dry apply are never told.
    fn log_events(&self, dirty: &[crate::core::world::Dirty]) {
        for one in dirty {
            let crate::core::world::Dirty::Event(partition, number) = one else { continue };
            let event = self.world.events.get(partition).and_then(|events| events.iter().rev().find(|event| event.number == *number));
            if let Some(event) = event {
                let partition = partition.as_ref().map_or("-", |name| name.as_str());
                tracing::info!(partition, kind = event.kind, object = event.object, reason = event.reason, "{}", event.message);
            }
        }
    }

    /// The writes of a round, cut where a transaction would be too large for the store. One request always fits one
    /// transaction; several in one round may take more. The term is written by each and compared by the next: only
    /// one line of transactions can ever be committed.
    fn transactions(&self, dirty: &[crate::core::world::Dirty]) -> Vec<Vec<Write>> {
        let term = || self.write(&crate::core::world::Dirty::Pan);
        let size = |write: &Write| match write {
            Write::Put { key, value } => key.len() + value.len(),
            Write::Delete { key } => key.len(),
        };
        let mut all = vec![vec![term()]];
        let mut bytes = 0;
        for write in dirty.iter().filter(|dirty| **dirty != crate::core::world::Dirty::Pan).map(|dirty| self.write(dirty)) {
            let last = all.last().expect("there is always one");
            if last.len() >= pan_store::OPERATIONS_MAX - 1 || bytes + size(&write) > pan_store::BYTES_MAX - TERM_BYTES {
                all.push(vec![term()]);
                bytes = 0;
            }
            bytes += size(&write);
            all.last_mut().expect("there is always one").push(write);
        }
        all
    }

    fn write(&self, dirty: &crate::core::world::Dirty) -> Write {
        let key = persist::key_of(dirty);
        match persist::value_of(&self.world, dirty) {
            Some(value) => Write::Put { key, value },
            None => Write::Delete { key },
        }
    }

    fn publish(&mut self) {
        if self.warm {
            self.publish_desired();
        }
        self.revision += 1;
        self.handle.view.store(Arc::new(crate::views::view(&self.world, self.revision)));
        self.changed.send_replace(self.revision);
    }

    fn publish_desired(&mut self) {
        let all = orders::all(&self.world);
        let mut senders = self.handle.desires.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.step += 1;
        let generation = Generation { term: self.world.pan.term, step: self.step };
        for (host, desired) in all {
            if self.latest.get(&host) == Some(&desired) {
                continue;
            }
            let out = Arc::new(Desired { generation, ..desired.clone() });
            match senders.get(&host) {
                Some(sender) => drop(sender.send_replace(out)),
                None => drop(senders.insert(host.clone(), watch::Sender::new(out))),
            }
            self.world.seen.published.insert(host.clone(), generation);
            self.latest.insert(host, desired);
        }
        drop(senders);
        published::note(&mut self.world, now());
    }
}
