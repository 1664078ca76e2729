//! [`Agent`]: one task that owns the table of servers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pan_api::desired::Desired;
use pan_api::report::{Report, ServerReport};
use pan_member::BootId;
use pan_model::host_config::HostConfig;
use pan_model::{Admission, Generation, HostName, ServerKey};
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::admission;
use super::book;
use super::leftovers::Leftovers;
use super::prepare::{Prepared, prepare};
use crate::apply::adopt;
use crate::boot::{LeaseNote, Mark, MarkSeen, boot_id};
use crate::clock;
use crate::error::{Error, chain};
use crate::host::Host;
use crate::names;
use crate::network::Status;
use crate::paths::{admission_file, alive_file, lease_file};
use crate::server::record::Record;
use crate::server::task::{News, Task, Told, Update, Wanted};
use crate::volume::Attached;

/// Changes this close together go into one report.
const COALESCE: Duration = Duration::from_millis(5);
/// A report is due at least this often.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How often the agent says that it lives.
const ALIVE_EVERY: Duration = Duration::from_millis(200);
/// How often is looked at what servers use.
const METER_EVERY: Duration = Duration::from_secs(5);
/// Before every server that was taken over has spoken, a report would say that some are gone.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// News of tasks that wait; a task that finds it full waits for the agent.
const UPDATES_MAX: usize = 1024;

/// What the agent knows of its servers, for whoever serves questions about them.
pub type Servers = watch::Receiver<Arc<BTreeMap<ServerKey, ServerReport>>>;

/// The agent's core.
pub struct Agent {
    name: HostName,
    boot: BootId,
    pub(crate) host: Arc<Host>,
    alive: Mark,
    /// What the beat process says of its lease, read and as last reported.
    lease: (MarkSeen, LeaseNote),
    /// The number that the beat process may use.
    admission: (Mark, Admission),
    network: watch::Receiver<Status>,
    tasks: JoinSet<ServerKey>,
    running: BTreeMap<ServerKey, (Id, watch::Sender<Told>)>,
    reports: BTreeMap<ServerKey, ServerReport>,
    /// Servers of which something else is wanted since this desired state, and whose tasks have not taken it up yet.
    unheeded: BTreeMap<ServerKey, Generation>,
    /// Volumes that belong to no server here and are being taken away.
    strays: Attached,
    /// What could not be ended of servers that are not here.
    leftovers: Leftovers,
    /// A server that is wanted waits for that.
    postponed: bool,
    /// Servers that were taken over and have not spoken yet.
    silent: BTreeSet<ServerKey>,
    wanted: Option<BTreeMap<ServerKey, Wanted>>,
    generation: Generation,
    granted: Admission,
    updates: (mpsc::Sender<Update>, mpsc::Receiver<Update>),
    servers: watch::Sender<Arc<BTreeMap<ServerKey, ServerReport>>>,
}

impl Agent {
    /// Takes over what runs. `exe` is the program that becomes a shim when called with the word `shim`.
    /// Must be called within a multi-threaded tokio runtime.
    ///
    /// # Errors
    /// The host lacks what every server needs, or an earlier agent's records cannot be read.
    pub async fn new(config: &HostConfig, exe: PathBuf) -> Result<Self, Error> {
        let boot = boot_id(&config.run_dir)?;
        let alive = Mark::open(&alive_file(&config.run_dir))?;
        let admitted = Admission(MarkSeen::new(admission_file(&config.run_dir)).get().unwrap_or(0));
        let admission = (Mark::open(&admission_file(&config.run_dir))?, admitted);
        let own = config.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare(&own, boot, exe));
        let Prepared { host, records, strays, leftovers } = prepared.await.map_err(|_| Error::Lost { what: "the take-over" })??;
        let mut agent = Self {
            name: config.name.clone(),
            boot,
            network: host.network.status(),
            strays: Attached::strays(&host, &strays),
            leftovers: Leftovers::new(leftovers),
            host,
            alive,
            lease: (MarkSeen::new(lease_file(&config.run_dir)), LeaseNote::default()),
            admission,
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            reports: BTreeMap::new(),
            unheeded: BTreeMap::new(),
            silent: records.iter().map(|(key, _)| key.clone()).collect(),
            wanted: None,
            postponed: false,
            generation: Generation::default(),
            granted: Admission::NONE,
            updates: mpsc::channel(UPDATES_MAX),
            servers: watch::channel(Arc::default()).0,
        };
        for (key, record) in records {
            tracing::info!(server = %key, "taking over");
            agent.spawn(key, Wanted::Unknown, Some(record));
        }
        Ok(agent)
    }

    /// What the agent knows of its servers.
    #[must_use]
    pub fn servers(&self) -> Servers {
        self.servers.subscribe()
    }

    /// Follows `desired` for ever. Reports that find `reports` full are dropped: the next one says more.
    ///
    /// # Errors
    /// A part of the agent is lost; servers run on.
    pub async fn run(mut self, mut desired: watch::Receiver<Option<Arc<Desired>>>, reports: mpsc::Sender<Report>) -> Result<(), Error> {
        let mut alive = tokio::time::interval(ALIVE_EVERY);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut meter = tokio::time::interval(METER_EVERY);
        meter.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut metering = None;
        let started = Instant::now();
        let mut due = started;
        desired.mark_changed();
        loop {
            tokio::select! {
                changed = desired.changed() => {
                    changed.map_err(|_| Error::Lost { what: "the link to the controllers" })?;
                    let newest = desired.borrow_and_update().clone();
                    if let Some(newest) = newest {
                        self.follow(newest);
                        due = due.min(Instant::now() + COALESCE);
                    }
                }
                Some(update) = self.updates.1.recv() => {
                    self.hear(update);
                    due = due.min(Instant::now() + COALESCE);
                }
                changed = self.network.changed() => {
                    changed.map_err(|_| Error::Lost { what: "the thread that keeps the network" })?;
                    due = due.min(Instant::now() + COALESCE);
                }
                Some(ended) = self.tasks.join_next_with_id() => self.task_ended(ended),
                _ = alive.tick() => {
                    if let Err(error) = self.alive.set(clock::now().0) {
                        tracing::error!(%error, "cannot give a sign of life");
                    }
                    if self.hear_beat() {
                        due = due.min(Instant::now() + COALESCE);
                    }
                }
                _ = meter.tick() => self.meter(&mut metering),
                () = tokio::time::sleep_until(due) => {
                    self.hear_beat();
                    due = Instant::now() + REPORT_EVERY;
                    let may_speak = self.silent.is_empty() || started.elapsed() > SILENCE_MAX;
                    if may_speak {
                        self.report(&reports);
                    } else {
                        due = Instant::now() + COALESCE;
                    }
                }
            }
            self.admit();
            if self.postponed {
                self.begin();
            }
        }
    }

    /// Looks at what servers use, unless that is still being done; it ends by itself.
    fn meter(&self, last: &mut Option<JoinHandle<()>>) {
        if last.as_ref().is_none_or(JoinHandle::is_finished) {
            let host = self.host.clone();
            *last = Some(tokio::task::spawn_blocking(move || host.meter.sample()));
        }
    }

    /// Whether the beat process says something new.
    fn hear_beat(&mut self) -> bool {
        let note = self.lease.0.get().map(LeaseNote::of).unwrap_or_default();
        std::mem::replace(&mut self.lease.1, note) != note
    }

    /// Lets the beat process use the number granted last, as soon as nothing stands against it.
    fn admit(&mut self) {
        if self.leftovers.is_any() {
            let tended = self.running.keys().chain(self.reports.keys()).map(names::id).collect();
            let host = self.host.clone();
            self.leftovers.again(&tended, move |id| adopt::wipe(&host, id));
        }
        if self.granted <= self.admission.1 {
            return;
        }
        let epoch = |(key, wanted): (&ServerKey, &Wanted)| match wanted {
            // What is only made ready has no epoch, which no binding has: an earlier one of it that runs is an orphan.
            Wanted::Order(order, _) | Wanted::Warm(order, _) => Some((key.clone(), order.epoch)),
            Wanted::Gone | Wanted::Unknown => None,
        };
        let wanted = self.wanted.as_ref().map(|all| all.iter().filter_map(epoch).collect());
        let tended = self.running.keys().chain(self.reports.keys()).cloned().collect();
        let next = admission::next(admission::State {
            current: self.admission.1,
            granted: self.granted,
            wanted: wanted.as_ref(),
            tended: &tended,
            silent: &self.silent,
            strays: !self.strays.is_empty() || self.leftovers.is_any(),
            reports: &self.reports,
        });
        let Some(next) = next else { return };
        match self.admission.0.set(next.0) {
            Ok(()) => {
                tracing::info!(number = %next, "takes part");
                self.admission.1 = next;
            }
            Err(error) => tracing::error!(%error, "cannot tell the beat process its number"),
        }
    }

    fn follow(&mut self, desired: Arc<Desired>) {
        if desired.generation < self.generation {
            tracing::error!(offered = %desired.generation, newest = %self.generation, "refused an older desired state");
            return;
        }
        self.generation = desired.generation;
        self.granted = desired.admission;
        self.host.meter.billed(&desired.billed);
        let wanted = book::wanted(&desired);
        self.host.network.desire(desired);
        for (key, (_, orders)) in &self.running {
            if tell(orders, wanted.get(key).cloned().unwrap_or(Wanted::Gone), self.generation) {
                self.unheeded.insert(key.clone(), self.generation);
            }
        }
        self.wanted = Some(wanted);
        self.begin();
    }

    /// Starts a task for each server that is wanted and has none: but not while what an earlier agent left of it is being ended.
    fn begin(&mut self) {
        let wanted = self.wanted.iter().flatten().filter(|(key, _)| !self.running.contains_key(key));
        let fresh: Vec<_> = wanted.map(|(key, wanted)| (key.clone(), wanted.clone())).collect();
        self.postponed = false;
        for (key, wanted) in fresh {
            if self.leftovers.is_being_ended(&names::id(&key)) {
                self.postponed = true;
            } else {
                self.spawn(key, wanted, None);
            }
        }
    }

    fn spawn(&mut self, key: ServerKey, wanted: Wanted, record: Option<Record>) {
        self.unheeded.insert(key.clone(), self.generation);
        let (orders, inbox) = watch::channel(Told { wanted, by: self.generation });
        let task = Task::new(key.clone(), self.host.clone(), inbox, self.updates.0.clone());
        let id = self.tasks.spawn(task.run(record)).id();
        self.running.insert(key, (id, orders));
    }

    fn hear(&mut self, Update { key, news }: Update) {
        match news {
            News::Heeds(by) => {
                if self.unheeded.get(&key) == Some(&by) {
                    self.unheeded.remove(&key);
                }
                return;
            }
            News::Report(Some(report)) => {
                self.silent.remove(&key);
                self.reports.insert(key, report);
            }
            News::Report(None) => {
                self.silent.remove(&key);
                self.reports.remove(&key);
            }
        }
        self.servers.send_replace(Arc::new(self.reports.clone()));
    }

    fn task_ended(&mut self, ended: Result<(Id, ServerKey), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(lost) => lost.id(),
        };
        let Some(key) = self.running.iter().find(|(_, (own, _))| *own == id).map(|(key, _)| key.clone()) else { return };
        self.running.remove(&key);
        self.unheeded.remove(&key);
        let mut record = None;
        if let Err(lost) = ended {
            tracing::error!(server = %key, error = %lost, "its task was lost; a new one takes over");
            let path = self.host.paths.server(&names::id(&key)).record();
            record = Record::read(&path).unwrap_or_else(|error| {
                tracing::error!(server = %key, error = chain(&error), "its record cannot be read");
                None
            });
        }
        let wanted = match &self.wanted {
            None => Wanted::Unknown,
            Some(all) => all.get(&key).cloned().unwrap_or(Wanted::Gone),
        };
        // An order may have come in while the task was ending.
        if record.is_some() || matches!(wanted, Wanted::Order(..) | Wanted::Warm(..)) {
            self.spawn(key, wanted, record);
        } else {
            self.forget(key);
        }
    }

    /// A server that is neither here nor wanted takes its log along.
    fn forget(&self, key: ServerKey) {
        let host = self.host.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = adopt::forget(&host, &names::id(&key)) {
                tracing::warn!(server = %key, error = chain(&error), "its log stays behind");
            }
        });
    }

    fn report(&self, reports: &mpsc::Sender<Report>) {
        let followed = |key: &ServerKey| if self.unheeded.contains_key(key) { Generation::default() } else { self.generation };
        let volumes = &self.host.volumes;
        let servers =
            self.reports.iter().map(|(key, report)| ServerReport { followed: followed(key), volumes: volumes.of(key), ..report.clone() });
        let lease = (self.lease.1, self.host.gate_report());
        let own = (servers.collect(), self.host.meter.told());
        let problems = [volumes.problems(), self.leftovers.problems()].concat();
        let report = book::report(&self.name, self.boot, clock::now(), &self.network.borrow(), lease, own, problems);
        if reports.try_send(report).is_err() {
            tracing::debug!("a report was dropped: earlier ones still wait to be delivered");
        }
    }
}

/// Wakes the server's task only if something about it changed, and says whether it did.
fn tell(orders: &watch::Sender<Told>, wanted: Wanted, by: Generation) -> bool {
    orders.send_if_modified(|old| {
        let changed = old.wanted != wanted;
        if changed {
            *old = Told { wanted, by };
        }
        changed
    })
}
