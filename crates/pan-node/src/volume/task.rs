//! The task that looks after one volume of a server. It asks [`super::decide`] what to do, does it, and tells the server's task. What
//! blocks is done in threads; if such a thread waits for a head that is lost, or that somebody else's head has replaced, this
//! ends its waiting.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pan_api::volume::{HeadState, VolumeOrder, VolumeReport};
use pan_linux::blockdev::{BlockDevice, Hung};
use pan_linux::filesystem::Made;
use pan_member::Tick;
use pan_model::{Epoch, ServerKey};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::act;
use super::decide::{self, Action, Claim, Here, Keeper, Origin, Step, Trouble, Users, Waiting, Wish};
use super::error::VolumeError;
use super::patience::GivenUp;
use super::place::Place;
use super::standing::Seen;
use super::unfit::{Hurdle, Unfit};
use crate::clock;
use crate::error::chain;
use crate::head::{self, HeadOrder, HeadStatus};
use crate::host::Host;

/// Until it is tried again to give a keeper an order.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// A keeper waits for nothing but its worker; one that does not end within this is killed.
const END_MAX: Duration = Duration::from_secs(2);
/// The same of one whose volume was lost or given up, whether its worker has still something to do or not: what there is to be done for
/// replicas the next head does. A worker that listens has ended by then, and whoever waits for it to end is a server that is to start again.
const END_SOON: Duration = Duration::from_millis(100);

/// How often it is looked whether a file system has stopped writing: whoever goes on without writing does so for no longer.
const FILESYSTEM_EVERY: Duration = Duration::from_secs(2);

/// A volume and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whose {
    pub server: ServerKey,
    /// The binding of the server.
    pub binding: Epoch,
    pub order: VolumeOrder,
}

/// What is wanted of a volume, as its task is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Attached(Arc<Whose>, Users),
    Gone(Hung),
}

impl Told {
    pub(super) fn wish(&self) -> Wish {
        match self {
            Self::Attached(whose, users) => Wish::Attached {
                claim: if whose.order.claim.is_some() { Claim::Here } else { Claim::Awaited },
                users: *users,
                size: whose.order.size.0,
            },
            Self::Gone(hung) => Wish::Gone(*hung),
        }
    }
}

/// One volume's task.
pub(super) struct Task {
    pub at: Place,
    pub host: Arc<Host>,
    pub told: watch::Receiver<Told>,
    pub seen: watch::Sender<Seen>,
    /// Wakes the server's task.
    pub wake: Arc<Notify>,
    pub here: State,
}

/// What is known to be here.
pub(super) struct State {
    pub(super) keeper: Keeper,
    /// A handle on it; it also reaps one that has ended.
    handle: Option<head::Keeper>,
    pub(super) status: Option<watch::Receiver<HeadStatus>>,
    /// What the keeper was told last.
    told: Option<Arc<Whose>>,
    pub(super) device: Option<PathBuf>,
    /// Keeps a device that is not mounted yet.
    held: Option<BlockDevice>,
    pub(super) mounted: bool,
    /// Its file system has stopped writing after an error.
    pub(super) stopped: bool,
    /// Finds that out; it may wait.
    pub(super) looking: Option<JoinHandle<bool>>,
    fits: bool,
    folder: bool,
    pub(super) origin: Origin,
    pub(super) trouble: Trouble,
    /// What went wrong last.
    pub(super) message: Option<String>,
    /// Whether this host is in the way of it.
    pub(super) unfit: Unfit,
    /// Why its file system is smaller than it, if it could not grow.
    pub(super) ungrown: Option<String>,
    pub(super) steps: Vec<(&'static str, i64)>,
    pub(super) lost: Option<(i64, String)>,
    /// How it stands with what is written out.
    pub(super) waiting: Waiting,
    pub(super) given_up: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        let (keeper, origin, trouble) = (Keeper::None, Origin::Unsure, Trouble::None);
        let (handle, status, told, device, held, message, steps) = (None, None, None, None, None, None, Vec::new());
        Self {
            keeper,
            handle,
            status,
            told,
            device,
            held,
            mounted: false,
            stopped: false,
            looking: None,
            fits: false,
            folder: false,
            origin,
            trouble,
            message,
            unfit: Unfit::default(),
            ungrown: None,
            steps,
            lost: None,
            waiting: Waiting::No,
            given_up: None,
        }
    }
}

impl Task {
    /// Looks after the volume until nothing of it is here or wanted here, or until whoever told it what is wanted ends.
    pub(super) async fn run(mut self) {
        // The last one to look after it may not be done yet.
        let _seat = self.host.volumes.seat(self.at.volume).await;
        self.look_around().await;
        loop {
            self.see_keeper();
            let told = self.told.borrow_and_update().clone();
            self.look_on(told.wish()).await;
            self.look_at_filesystem(&told).await;
            let action = decide::next(told.wish(), &self.here(&told), clock::now());
            self.publish(&told, action);
            match action {
                Action::Done => break,
                Action::Rest { until } => {
                    if !self.rest(until).await {
                        break;
                    }
                }
                action => self.act(action, &told).await,
            }
        }
        self.host.volumes.forget(self.at.volume);
    }

    fn here(&self, told: &Told) -> Here {
        let known = match (told, &self.here.told) {
            // The right to write that a head has stays good without a newer one.
            (Told::Attached(whose, _), _) if whose.order.claim.is_none() => true,
            (Told::Attached(whose, _), Some(known)) => known.order == whose.order,
            (Told::Attached(..), None) => false,
            (Told::Gone(_), _) => true,
        };
        Here {
            keeper: self.here.keeper.clone(),
            told: known,
            device: self.here.device.as_deref().and_then(act::bytes),
            mounted: self.here.mounted,
            stopped: self.here.stopped,
            fits: self.here.fits,
            rest: self.here.folder,
            origin: self.here.origin,
            trouble: self.here.trouble,
            waiting: self.here.waiting,
        }
    }

    /// Finds out what is here, whoever left it.
    async fn look_around(&mut self) {
        let (at, known) = (self.at.clone(), self.here.handle.is_some());
        let looked = blocking(move || {
            let found = act::look(&at)?;
            let keeper = if found.folder && !known { head::Keeper::adopt(&at.folder)? } else { None };
            Ok((found, keeper))
        });
        self.here.origin = Origin::Unsure;
        match looked.await {
            Ok((found, keeper)) => {
                (self.here.device, self.here.mounted, self.here.folder) = (found.device, found.mounted, found.folder);
                if let Some(keeper) = keeper {
                    self.here.status = Some(keeper.status());
                    self.here.handle = Some(keeper);
                }
            }
            Err(error) => {
                // Something is here, then.
                self.here.folder = true;
                self.complain("cannot be looked at", &error, Trouble::Down(clock::now()));
            }
        }
    }

    /// How its head stands by what the keeper said last.
    pub(super) fn see_keeper(&mut self) {
        let Some(status) = &mut self.here.status else {
            self.here.keeper = Keeper::None;
            return;
        };
        let HeadStatus { report, unfit, .. } = status.borrow_and_update().clone();
        self.weigh(unfit, &report);
        self.here.keeper = match (&report.state, &self.here.keeper) {
            (HeadState::Over(why), _) => Keeper::Lost(why.clone()),
            (HeadState::Opening, Keeper::Opening(since)) => Keeper::Opening(*since),
            (HeadState::Opening, Keeper::None | Keeper::Open | Keeper::Lost(_)) => Keeper::Opening(clock::now()),
            (HeadState::Open, before) => {
                if *before != Keeper::Open && self.here.device.is_none() {
                    self.here.steps.push(("opened", clock::wall_micros()));
                }
                Keeper::Open
            }
        };
        self.host.volumes.report(self.at.volume, VolumeReport { ungrown: self.here.ungrown.clone(), ..report });
    }

    /// Completes when the keeper says something new. One that is lost says nothing any more.
    pub(super) async fn news(status: Option<&mut watch::Receiver<HeadStatus>>, keeper: &Keeper) {
        let speaks = matches!(keeper, Keeper::Opening(_) | Keeper::Open);
        let told = match status.filter(|_| speaks) {
            Some(status) => status.changed().await.is_ok(),
            None => false,
        };
        if !told {
            std::future::pending::<()>().await;
        }
    }

    /// Sleeps until `until`, there is news of the keeper, or something else is wanted. Whether to go on.
    async fn rest(&mut self, until: Option<Tick>) -> bool {
        let look = self.here.mounted.then(|| clock::now().plus(FILESYSTEM_EVERY));
        let timer = async {
            match until.into_iter().chain(look).min() {
                Some(at) => clock::reach(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => true,
            () = Self::news(self.here.status.as_mut(), &self.here.keeper) => true,
            changed = self.told.changed() => changed.is_ok(),
        }
    }

    fn head_order(&self, whose: &Whose) -> HeadOrder {
        HeadOrder {
            host: self.host.config.clone(),
            server: whose.server.clone(),
            binding: whose.binding,
            volume: whose.order.clone(),
            file: self.at.file.clone(),
        }
    }

    async fn act(&mut self, action: Action, told: &Told) {
        let at = self.at.clone();
        match (action, told) {
            (Action::Adopt, _) => {
                tracing::info!(volume = %at.volume, "goes on with what an earlier agent left");
                self.here.origin = Origin::Known;
            }
            (Action::Begin, Told::Attached(whose, _)) => self.begin(whose).await,
            (Action::Tell, Told::Attached(whose, _)) => self.tell(whose).await,
            (Action::Attach, _) => self.attach().await,
            (Action::Mount, Told::Attached(whose, _)) => self.mount(whose).await,
            (Action::Grow, Told::Attached(whose, _)) => self.grow(whose).await,
            (Action::Lose, _) => self.lose().await,
            (Action::GiveUp(why), _) => self.give_up(why).await,
            (Action::Clear(hung), _) => self.clear(hung).await,
            // Of what is not wanted nothing is made; the others are not acts.
            (Action::Begin | Action::Tell | Action::Mount | Action::Grow, Told::Gone(_)) | (Action::Rest { .. } | Action::Done, _) => {}
        }
    }

    async fn begin(&mut self, whose: &Arc<Whose>) {
        let (at, order) = (self.at.clone(), self.head_order(whose));
        self.here.steps = vec![("claimed", clock::wall_micros())];
        self.here.folder = true;
        self.here.given_up = None;
        let begun = blocking(move || {
            act::make_folders(&at)?;
            Ok(head::Keeper::start(&at.folder, &order)?)
        });
        match begun.await {
            Ok(keeper) => {
                tracing::info!(volume = %whose.order.name, server = %whose.server, "a head was begun");
                self.here.status = Some(keeper.status());
                (self.here.handle, self.here.told, self.here.origin) = (Some(keeper), Some(whose.clone()), Origin::Known);
                self.here.unfit.worked(Hurdle::Keeper);
            }
            Err(error) => self.failed_up(Hurdle::Keeper, "its head cannot be begun", &error),
        }
    }

    async fn tell(&mut self, whose: &Arc<Whose>) {
        let Some(mut keeper) = self.here.handle.take() else {
            // Lost with the thread that had it: without it the keeper cannot be told anything, nor ended in order.
            self.here.status = None;
            return;
        };
        let order = self.head_order(whose);
        let told = blocking(move || {
            let told = keeper.update(&order).map_err(VolumeError::from);
            Ok((keeper, told))
        });
        let failed = match told.await {
            Ok((keeper, told)) => {
                self.here.handle = Some(keeper);
                told.err()
            }
            Err(error) => Some(error),
        };
        match failed {
            None => self.here.told = Some(whose.clone()),
            Some(error) => {
                tracing::warn!(volume = %whose.order.name, error = chain(&error), "its head cannot be told of a new order");
                self.rest(Some(clock::now().plus(TELL_AGAIN))).await;
            }
        }
    }

    async fn attach(&mut self) {
        let at = self.at.clone();
        match self.supervised(Step::Up, move || act::attach(&at)).await {
            Ok(device) => {
                self.here.device = Some(device.path().to_path_buf());
                self.here.held = Some(device);
                self.here.steps.push(("attached", clock::wall_micros()));
                self.here.unfit.worked(Hurdle::Device);
            }
            Err(error) => self.failed_up(Hurdle::Device, "its device cannot be made", &error),
        }
    }

    async fn mount(&mut self, whose: &Arc<Whose>) {
        let Some(device) = self.here.device.clone() else { return };
        let (at, wanted, name) = (self.at.clone(), whose.order.filesystem, device.clone());
        match self.supervised(Step::Up, move || act::mount(&at, &device, wanted)).await {
            Ok(made) => {
                tracing::info!(volume = %whose.order.name, server = %whose.server, device = %name.display(), ?made, "mounted");
                self.here.steps.push(("mounted", clock::wall_micros()));
                (self.here.mounted, self.here.stopped, self.here.trouble, self.here.message) = (true, false, Trouble::None, None);
                self.here.unfit = Unfit::default();
                self.here.fits = matches!(made, Made::New | Made::Anew);
                // From now on the mount keeps it.
                self.here.held = None;
            }
            Err(error) => self.failed_up(Hurdle::Filesystem, "it cannot be mounted", &error),
        }
    }

    async fn grow(&mut self, whose: &Arc<Whose>) {
        let Some(device) = self.here.device.clone() else { return };
        let (at, wanted) = (self.at.clone(), whose.order.filesystem);
        let before = act::bytes(&device);
        let after = device.clone();
        // The device grows first, and what is as large as it should be says nothing about the file system from then on.
        self.here.fits = false;
        match self.supervised(Step::Upkeep, move || act::grow(&at, &device, wanted)).await {
            Ok(()) => {
                let bytes = act::bytes(&after);
                if bytes != before {
                    tracing::info!(volume = %whose.order.name, bytes, "grew");
                }
                // Not an error: the head was told of it, and may not have heard yet.
                let waits = bytes.is_none_or(|bytes| bytes < whose.order.size.0);
                let trouble = if waits { Trouble::Growth(clock::now().plus(decide::GROW_SOON)) } else { Trouble::None };
                (self.here.fits, self.here.trouble, self.here.message, self.here.ungrown) = (true, trouble, None, None);
            }
            Err(error) => {
                self.complain("cannot grow", &error, Trouble::Growth(clock::now().plus(decide::GROW_AGAIN)));
                self.here.ungrown.clone_from(&self.here.message);
            }
        }
    }

    async fn lose(&mut self) {
        let why = match &self.here.keeper {
            Keeper::Lost(why) => why.clone(),
            Keeper::None => "its head is not there".to_owned(),
            Keeper::Opening(_) => format!("its head has not served again within {} s", decide::REOPEN_MAX.as_secs()),
            Keeper::Open if self.here.stopped => "its file system stopped writing after an error of its device".to_owned(),
            Keeper::Open => "its file system is not there".to_owned(),
        };
        tracing::error!(volume = %self.at.volume, why, "lost under its users");
        self.host.counts.heads_lost.one();
        self.let_fail(why).await;
    }

    async fn give_up(&mut self, why: GivenUp) {
        self.gave_up(why);
        let words = why.words().unwrap_or_else(|| "another server may have it".to_owned());
        self.let_fail(words).await;
    }

    async fn let_fail(&mut self, why: String) {
        let at = self.at.clone();
        if let Err(error) = blocking(move || act::abort(&at)).await {
            tracing::error!(volume = %self.at.volume, error = chain(&error), "what waits for its head may go on waiting");
        }
        self.here.lost = Some((clock::wall_micros(), why.clone()));
        (self.here.origin, self.here.message) = (Origin::Lost, Some(why));
    }

    async fn clear(&mut self, hung: Hung) {
        let (held, keeper) = (self.here.held.take(), self.here.handle.take());
        let (at, state_dir) = (self.at.clone(), self.host.config.state_dir.clone());
        let cleared = self.supervised(Step::Down, move || {
            let aborted = if hung == Hung::Abort { act::abort(&at) } else { Ok(()) };
            let detached = act::detach(&at, held, hung);
            // One that is fenced ends in any case; one that still serves somebody goes on.
            let ends = detached.is_ok() || hung == Hung::Abort;
            let (ended, keeper) = match keeper {
                Some(keeper) if ends => (keeper.release(if hung == Hung::Abort { END_SOON } else { END_MAX }), None),
                keeper => (Ok(()), keeper),
            };
            let left = aborted.and(detached).and(ended.map_err(VolumeError::from)).and_then(|()| act::leave(&at, &state_dir));
            Ok((left, keeper))
        });
        let left = match cleared.await {
            Ok((left, keeper)) => {
                self.here.handle = keeper;
                left
            }
            Err(error) => Err(error),
        };
        match left {
            Ok(()) => {
                let (trouble, message) = (self.here.trouble, self.here.message.take());
                // A failure on the way up is what the next attempt waits for; others are over.
                let (trouble, message) = if matches!(trouble, Trouble::Up(..)) { (trouble, message) } else { (Trouble::None, None) };
                let (lost, given_up, unfit) = (self.here.lost.take(), self.here.given_up.take(), std::mem::take(&mut self.here.unfit));
                self.here = State { origin: Origin::Known, trouble, message, lost, given_up, unfit, ..State::default() };
            }
            Err(error) => {
                self.here.status = self.here.handle.as_ref().map(head::Keeper::status);
                self.look_around().await;
                self.complain("cannot be taken away, trying again", &error, Trouble::Down(clock::now()));
            }
        }
    }

    fn failed_up(&mut self, hurdle: Hurdle, what: &str, error: &VolumeError) {
        let times = if let Trouble::Up(times, _) = self.here.trouble { times.saturating_add(1) } else { 1 };
        self.complain(what, error, Trouble::Up(times, clock::now()));
        if let Some(message) = self.here.message.clone().filter(|_| error.is_of_this_host()) {
            self.here.unfit.failed(hurdle, message, self.host.is_leased(), clock::now());
        }
        // Whatever was half done is cleared away before it is begun again.
        self.here.origin = Origin::Unsure;
    }

    fn complain(&mut self, what: &str, error: &VolumeError, trouble: Trouble) {
        let message = decide::in_words(what, &chain(error), self.host.is_leased());
        tracing::warn!(volume = %self.at.volume, message);
        (self.here.trouble, self.here.message) = (trouble, Some(message));
    }
}

/// Runs something that blocks off the asynchronous threads.
pub(super) async fn blocking<T: Send + 'static>(body: impl FnOnce() -> Result<T, VolumeError> + Send + 'static) -> Result<T, VolumeError> {
    match tokio::task::spawn_blocking(body).await {
        Ok(done) => done,
        Err(lost) => Err(VolumeError::Lost(lost.to_string())),
    }
}
