//! The task that looks after one server. It owns what is known of the server, asks [`crate::decide`] what to
//! do, does it, writes it down first, and tells the agent. A slow stop here holds up no other server.

use std::future::pending;
use std::ops::ControlFlow;
use std::sync::Arc;

use pan_api::desired::ServerOrder;
use pan_api::report::{Phase, ServerReport};
use pan_member::Tick;
use pan_model::{Generation, ServerKey};
use tokio::sync::{mpsc, watch};

use super::deaths::Deaths;
use super::exit::Watch;
use super::life::{Attaching, Ended, Failed, Leftover, Life, Running, Stopping, Warm};
use super::record::{Bound, Cable, Record, Stage};
use super::report;
use crate::apply::start::Plan;
use crate::apply::{self, ApplyError, signal};
use crate::clock;
use crate::decide::{self, Action, Why, Wish};
use crate::error::chain;
use crate::host::Host;
use crate::names;
use crate::volume::{Attached, HEAD_LOST, NOT_LOOKED_AT};

/// What is wanted of a server, as its task is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing was said yet.
    Unknown,
    /// It belongs elsewhere, or nowhere.
    Gone,
    /// To be made ready, and no more; without a cable as below.
    Warm(Arc<ServerOrder>, Option<Cable>),
    /// This; without a cable when the partition's network is missing in the same desired state.
    Order(Arc<ServerOrder>, Option<Cable>),
}

impl Wanted {
    pub(super) fn wish(&self) -> Wish<'_> {
        match self {
            Self::Unknown => Wish::Unknown,
            Self::Gone => Wish::Gone,
            Self::Warm(order, _) => Wish::Warm(order),
            Self::Order(order, _) => Wish::Order(order),
        }
    }
}

/// What is wanted, and the desired state that changed it last.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub wanted: Wanted,
    pub by: Generation,
}

/// News of a server.
#[derive(Debug)]
pub(crate) struct Update {
    pub key: ServerKey,
    pub news: News,
}

#[derive(Debug)]
pub(crate) enum News {
    /// How it is; nothing when nothing of it is here and nobody wants it.
    Report(Option<ServerReport>),
    /// What this desired state wants of it is taken up: whatever was begun for an earlier one is done, or was told before.
    Heeds(Generation),
}

/// One server's task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(super) key: ServerKey,
    pub(super) host: Arc<Host>,
    pub(super) wanted: watch::Receiver<Told>,
    pub(super) updates: mpsc::Sender<Update>,
    pub(super) life: Life,
    /// Its volumes: here, or on their way.
    pub(super) volumes: Attached,
    /// What has to be said of its last end here, once nothing of it is left.
    pub(super) parting: Option<String>,
    told: Option<ServerReport>,
    heeds: Option<Generation>,
}

/// Goes on, or ends the task.
pub(super) type Flow = ControlFlow<()>;

impl Task {
    pub(crate) fn new(key: ServerKey, host: Arc<Host>, wanted: watch::Receiver<Told>, updates: mpsc::Sender<Update>) -> Self {
        let volumes = Attached::none(key.clone(), host.clone());
        Self { key, host, wanted, updates, life: Life::Nothing, volumes, parting: None, told: None, heeds: None }
    }

    /// Looks after the server until nothing of it is here and nobody wants it, or until the agent ends.
    /// `record` is what an earlier agent knew of it.
    pub(crate) async fn run(mut self, record: Option<Record>) -> ServerKey {
        if let Some(record) = record {
            self.adopt(record).await;
        }
        while self.step().await.is_continue() {}
        self.key
    }

    async fn step(&mut self) -> Flow {
        let Told { wanted, by } = self.wanted.borrow_and_update().clone();
        if self.heeds.replace(by) != Some(by) {
            self.update(News::Heeds(by)).await;
        }
        self.refresh(&wanted);
        self.tend_volumes(wanted.wish());
        match decide::next(wanted.wish(), self.life.here(&wanted), clock::now()) {
            Action::Rest { until } => {
                self.tell(&wanted).await;
                if matches!((&self.life, &wanted), (Life::Nothing, Wanted::Gone | Wanted::Unknown)) {
                    return Flow::Break(());
                }
                self.rest(until).await
            }
            Action::Warm => self.warm(&wanted).await,
            Action::Start => self.start(&wanted).await,
            Action::Ask(why) => self.ask(why),
            Action::Kill => self.kill(),
            Action::Release => {
                self.tell(&wanted).await;
                self.release(&wanted).await
            }
            Action::GiveUp => self.give_up(),
        }
    }

    async fn adopt(&mut self, mut record: Record) {
        if matches!(record.stage, Stage::Preparing { .. }) {
            let starting = report::starting(&record.bound.order, record.bound.restarts, None);
            self.send(Some(starting)).await;
            let (host, key, before) = (self.host.clone(), self.key.clone(), record.clone());
            let finished = blocking(move || {
                apply::adopt::finish(&host, &key, &mut record)?;
                Ok(record)
            });
            record = finished.await.unwrap_or_else(|error| {
                let at = clock::now().0;
                Record::new(before.bound, Stage::Ended { at, message: chain(&error) })
            });
        }
        self.life = adopted(&self.host.deaths, record);
        if let Life::Running(Running { bound, container, .. }) | Life::Stopping(Stopping { bound, container, .. }) = &self.life {
            self.host.meter.open(&bound.order, &container.instance);
        }
        if let Life::Stopping(stopping) = &self.life {
            // Written down before it was done, so perhaps never done.
            self.signalled(signal::ask(&stopping.container, stopping.bound.order.stop.signal));
        }
    }

    /// Takes over from a new order what may change while the server runs.
    fn refresh(&mut self, wanted: &Wanted) {
        if let Life::Stopping(stopping) = &mut self.life
            && stopping.why != Why::Orphan
            && decide::orphan(wanted.wish(), stopping.bound.order.epoch)
        {
            stopping.why = Why::Orphan;
            stopping.kill_at = clock::now();
            self.note();
        }
        let Wanted::Order(order, cable) = wanted else { return };
        self.refresh_volumes(order, cable.as_ref());
        let bound = match &mut self.life {
            Life::Running(Running { bound, .. }) | Life::Ended(Ended { bound, .. }) | Life::Failed(Failed { bound, .. }) => bound,
            Life::Nothing | Life::Warm(_) | Life::Attaching(_) | Life::Stopping(_) | Life::Leftover(_) => return,
        };
        let own = &mut bound.order;
        let same = (own.epoch, own.incarnation) == (order.epoch, order.incarnation);
        let limited = same && own.cpu_max != order.cpu_max && apply::limit(order);
        let changed = (&own.stop, &own.health, own.restart_attempts) != (&order.stop, &order.health, order.restart_attempts);
        if !same || !(changed || limited) {
            return;
        }
        own.cpu_max = if limited { order.cpu_max } else { own.cpu_max };
        own.stop = order.stop.clone();
        own.health = order.health.clone();
        own.restart_attempts = order.restart_attempts;
        self.checks_changed();
        self.note();
    }

    async fn start(&mut self, wanted: &Wanted) -> Flow {
        let Some(mut bound) = self.plan(wanted) else { return self.unconnected(wanted).await };
        let image = match self.image(&bound).await {
            Ok(image) => image,
            Err(flow) => return flow,
        };
        if !bound.order.volumes.is_empty() && !matches!(self.life, Life::Attaching(_)) {
            self.attach(bound);
            return Flow::Continue(());
        }
        bound.steps = vec![("ordered".into(), clock::wall_micros())];
        let (mut message, mut warm, mut rootfs) = (None, None, None);
        match &mut self.life {
            Life::Ended(ended) => message = Some(ended.message.clone()),
            Life::Warm(made) => {
                bound.steps.insert(0, ("made-ready".into(), made.ready));
                warm = Some(made.instance.clone());
            }
            Life::Attaching(attaching) => {
                message = attaching.complaint.clone();
                rootfs = attaching.rootfs.take();
                bound.steps = self.volumes.steps_after(&attaching.bound.steps);
            }
            Life::Nothing | Life::Running(_) | Life::Stopping(_) | Life::Failed(_) | Life::Leftover(_) => {}
        }
        self.send(Some(report::starting(&bound.order, bound.restarts, message.clone()))).await;

        let host = self.host.clone();
        let _permit = tokio::select! {
            permit = host.starts.acquire() => permit.expect("the semaphore is never closed"),
            changed = self.wanted.changed() => return self.not_yet(rootfs, changed),
        };
        if let Life::Ended(ended) = &self.life
            && ended.bound.ends > 0
        {
            bound.restarts += 1;
            self.host.counts.restarts.one();
        }
        let (host, before) = (self.host.clone(), bound.clone());
        let made = blocking(move || {
            Ok(match warm {
                Some(instance) => apply::start::start_warm(&host, Plan { bound, instance, rootfs, image }),
                None => apply::start::start(&host, Plan { bound, instance: apply::start::instance()?, rootfs, image }),
            })
        });
        let (bound, started) = match made.await {
            Ok(made) => made,
            Err(error) => (before, Err(error)),
        };
        match started {
            Ok(container) => {
                self.host.counts.started.one();
                self.started(bound, container, message);
            }
            Err(error) => {
                self.host.counts.not_started.one();
                let message = format!("cannot start: {}", chain(&error));
                tracing::warn!(server = %self.key, message);
                let ends = decide::ends_after(bound.ends, None, clock::now());
                self.ended(Bound { ends, ..bound }, message);
            }
        }
        Flow::Continue(())
    }

    /// Makes everything ready for a start that may be ordered soon.
    async fn warm(&mut self, wanted: &Wanted) -> Flow {
        let Wanted::Warm(order, Some(cable)) = wanted else { return self.rest(None).await };
        let (order, cable) = (ServerOrder::clone(order), cable.clone());
        let bound = Bound { order, cable, restarts: 0, ends: 0, steps: Vec::new() };
        let image = match self.image(&bound).await {
            Ok(image) => image,
            Err(flow) => return flow,
        };
        let host = self.host.clone();
        let _permit = tokio::select! {
            permit = host.starts.acquire() => permit.expect("the semaphore is never closed"),
            changed = self.wanted.changed() => return flow(changed),
        };
        let (host, before) = (self.host.clone(), bound.clone());
        let made = blocking(move || {
            let instance = apply::start::instance()?;
            let (bound, made) = apply::start::warm(&host, Plan { bound, instance: instance.clone(), rootfs: None, image });
            made.map(|rootfs| (bound, instance, rootfs))
        });
        self.life = match made.await {
            Ok((bound, instance, rootfs)) => Life::Warm(Warm { bound, instance, ready: clock::wall_micros(), rootfs }),
            Err(error) => {
                let message = format!("cannot be made ready: {}", chain(&error));
                tracing::warn!(server = %self.key, message);
                Life::Leftover(Leftover { bound: before, at: clock::now(), message })
            }
        };
        Flow::Continue(())
    }

    /// What a start would bind the server to; `None` if it cannot be connected.
    fn plan(&self, wanted: &Wanted) -> Option<Bound> {
        let fresh = |order: &ServerOrder, cable: &Cable| {
            let (restarts, ends, steps) = (0, 0, Vec::new());
            Bound { order: order.clone(), cable: cable.clone(), restarts, ends, steps }
        };
        let made = self.life.bound().filter(|_| !matches!(self.life, Life::Warm(_)));
        match (made, wanted) {
            // A local restart follows the newest order of the same binding in everything, if there is one.
            (Some(bound), Wanted::Order(order, Some(cable))) if order.epoch == bound.order.epoch => {
                Some(Bound { restarts: bound.restarts, ends: bound.ends, ..fresh(order, cable) })
            }
            (Some(bound), _) => Some(bound.clone()),
            (None, Wanted::Order(order, Some(cable))) => Some(fresh(order, cable)),
            (None, _) => None,
        }
    }

    fn ask(&mut self, why: Why) -> Flow {
        if let Life::Running(Running { bound, container, watch, health, complaint, lost, .. }) = self.take() {
            let stop = bound.order.stop.clone();
            let complaint = match why {
                Why::Unwanted | Why::Orphan => None,
                Why::Unhealthy => {
                    let because = health.hopeless_because(bound.order.health.as_ref());
                    Some(complaint.map_or_else(|| because.clone(), |last| format!("{because}: {last}")))
                }
                Why::HeadLost => lost,
            };
            let kill_at = match why {
                Why::Orphan | Why::HeadLost => clock::now(),
                Why::Unwanted | Why::Unhealthy => clock::now().plus(stop.grace.0),
            };
            tracing::info!(server = %self.key, ?why, complaint, signal = ?stop.signal, grace = %stop.grace, "stopping");
            self.life = Life::Stopping(Stopping { bound, container: container.clone(), watch, why, complaint, kill_at, killed: false });
            self.note();
            self.signalled(signal::ask(&container, stop.signal));
        }
        Flow::Continue(())
    }

    fn kill(&mut self) -> Flow {
        if let Life::Stopping(stopping) = &mut self.life {
            if !std::mem::replace(&mut stopping.killed, true) {
                tracing::warn!(server = %self.key, "did not stop in time: killing it");
            }
            // If the kill does not work, once a second is often enough to try.
            stopping.kill_at = clock::now().plus(decide::RELEASE_AGAIN);
            let killed = signal::kill(&self.key, &stopping.container);
            self.signalled(killed);
        }
        Flow::Continue(())
    }

    fn signalled(&self, done: std::io::Result<()>) {
        if let Err(error) = done {
            tracing::warn!(server = %self.key, %error, "cannot signal it");
        }
    }

    fn give_up(&mut self) -> Flow {
        if let Life::Ended(Ended { bound, message, .. }) = self.take() {
            let used = match bound.order.restart_attempts {
                0 => "no restart is allowed".to_owned(),
                1 => "its one restart is used up".to_owned(),
                many => format!("{many} restarts are used up"),
            };
            let message = format!("{message}; {used}");
            tracing::warn!(server = %self.key, message, "giving up");
            self.life = Life::Failed(Failed { bound, message });
            self.note();
        }
        Flow::Continue(())
    }

    pub(super) fn ended(&mut self, bound: Bound, message: String) {
        self.life = Life::Ended(Ended { bound, at: clock::now(), message });
        self.note();
    }

    /// Takes the life out; whoever calls puts the next one in, or means that nothing is left.
    pub(super) fn take(&mut self) -> Life {
        std::mem::replace(&mut self.life, Life::Nothing)
    }

    /// Writes down what is here.
    pub(super) fn note(&self) {
        let path = self.host.paths.server(&names::id(&self.key)).record();
        if let Some(Err(error)) = self.life.record().map(|record| record.write(&path)) {
            tracing::error!(server = %self.key, error = chain(&error), "cannot write its record");
        }
    }

    async fn tell(&mut self, wanted: &Wanted) {
        let mut report = report::report(&self.key, wanted.wish(), &self.life);
        if let Some(report) = report.as_mut().filter(|report| report.phase == Phase::Absent) {
            report.message.clone_from(&self.parting);
        }
        self.send(report).await;
    }

    pub(super) async fn send(&mut self, report: Option<ServerReport>) {
        if report.is_some() && self.told == report {
            return;
        }
        self.told.clone_from(&report);
        self.update(News::Report(report)).await;
    }

    async fn update(&self, news: News) {
        let update = Update { key: self.key.clone(), news };
        if self.updates.send(update).await.is_err() {
            tracing::debug!(server = %self.key, "the agent has ended");
        }
    }

    /// Sleeps until `until`, something happens to the server, or something else is wanted.
    pub(super) async fn rest(&mut self, until: Option<Tick>) -> Flow {
        let timer = async {
            match until {
                Some(at) => clock::reach(at).await,
                None => pending().await,
            }
        };
        match &mut self.life {
            Life::Running(_) => self.rest_running(until).await,
            Life::Stopping(stopping) => {
                tokio::select! {
                    () = stopping.watch.dead() => self.stopped().await,
                    () = timer => Flow::Continue(()),
                    changed = self.wanted.changed() => flow(changed),
                }
            }
            Life::Nothing | Life::Warm(_) | Life::Attaching(_) | Life::Ended(_) | Life::Failed(_) | Life::Leftover(_) => {
                tokio::select! {
                    () = self.volumes.changed() => Flow::Continue(()),
                    () = timer => Flow::Continue(()),
                    changed = self.wanted.changed() => flow(changed),
                }
            }
        }
    }

    async fn stopped(&mut self) -> Flow {
        let Life::Stopping(Stopping { bound, why, complaint, .. }) = self.take() else { return Flow::Continue(()) };
        let (message, ends) = match why {
            Why::Unwanted | Why::Orphan => ("stopped".into(), bound.ends),
            Why::Unhealthy => {
                let because = complaint.unwrap_or_else(|| "it did not get healthy".into());
                (format!("stopped because {because}"), decide::ends_after(bound.ends, None, clock::now()))
            }
            Why::HeadLost => {
                let lost = complaint.unwrap_or_else(|| HEAD_LOST.into());
                (lost, decide::ends_after(bound.ends, None, clock::now()))
            }
        };
        self.ended(Bound { ends, ..bound }, message);
        self.bury().await;
        Flow::Continue(())
    }

    /// Lets the runtime forget a container that has ended.
    pub(super) async fn bury(&self) {
        let (host, key) = (self.host.clone(), self.key.clone());
        if let Err(error) = blocking(move || apply::end(&host, &key)).await {
            tracing::warn!(server = %self.key, error = chain(&error), "its ended container stays behind");
        }
    }
}

fn adopted(deaths: &Deaths, record: Record) -> Life {
    let bound = record.bound;
    match record.stage {
        Stage::Running { container, health } => {
            let watch = Watch::open(deaths, &container);
            Life::Running(Running { bound, container, watch, health, check_at: clock::now(), complaint: None, lost: None })
        }
        // Nothing of it runs. What is there of its volumes is looked at by their tasks.
        Stage::Attaching => Life::Attaching(Attaching { bound, rootfs: None, waits: Some(NOT_LOOKED_AT.into()), complaint: None }),
        Stage::Stopping { container, why, complaint, kill_at } => {
            let watch = Watch::open(deaths, &container);
            Life::Stopping(Stopping { bound, container, watch, why, complaint, kill_at: Tick(kill_at), killed: false })
        }
        Stage::Ended { at, message } => Life::Ended(Ended { bound, at: Tick(at), message }),
        Stage::Failed { message } => Life::Failed(Failed { bound, message }),
        // Perhaps half made, perhaps begun: quicker made anew than found out.
        Stage::Preparing { .. } | Stage::Warm | Stage::Releasing => {
            Life::Leftover(Leftover { bound, at: Tick(0), message: "half made or half removed".into() })
        }
    }
}

/// The agent's end of the channel goes when the agent ends; then the task ends and the server goes on.
pub(super) fn flow(changed: Result<(), watch::error::RecvError>) -> Flow {
    match changed {
        Ok(()) => Flow::Continue(()),
        Err(_) => Flow::Break(()),
    }
}

/// Runs something that blocks off the asynchronous threads.
pub(super) async fn blocking<T: Send + 'static>(body: impl FnOnce() -> Result<T, ApplyError> + Send + 'static) -> Result<T, ApplyError> {
    match tokio::task::spawn_blocking(body).await {
        Ok(done) => done,
        Err(lost) => Err(ApplyError::Lost(lost.to_string())),
    }
}
