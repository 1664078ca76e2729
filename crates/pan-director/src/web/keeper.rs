//! Keeps one partition's proxy running and told, in a thread of its own: whatever the process does, only this waits for it.

use super::speak::Lines;
use super::worker::{self, Found, Worker};
use crate::error::line;
use pan_linux::netns::Netns;
use pan_model::proxy::ProxySpec;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often the process is looked after.
const LOOK: Duration = Duration::from_millis(200);
/// How long after a failure it is tried again: longer each time, up to the last. Milliseconds.
const AGAIN: [u64; 6] = [50, 100, 200, 500, 2_000, 5_000];
/// One that ran for so long works; that an earlier one failed is not told any longer.
const WORKS: Duration = Duration::from_secs(10);

/// How long one that goes on by what it was told before may refuse to do otherwise: its former servers' addresses may soon be others'.
const REFUSE_MAX: Duration = Duration::from_secs(5);

/// A keeper's handle. The process goes on without it.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// For the keeper: something is wanted of it.
    news: Condvar,
    /// For the director: it has done what was wanted, or is not waited for any more.
    settled: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    /// What the proxy is to do, and how often that changed.
    wanted: (u64, Arc<ProxySpec>),
    /// Up to which change it does.
    done: u64,
    /// There may be a process that does what it was told, whenever that was.
    acts: bool,
    ends: bool,
    /// Why it does not do what is wanted.
    problem: Option<String>,
    /// Why it had to be started again.
    fell: Option<String>,
    lines: Lines,
}

impl State {
    /// Whether what is wanted is to be waited for: whoever does something else may not be forgotten, whoever has only to begin is given its time.
    const fn is_late(&self) -> bool {
        self.done != self.wanted.0 && (self.acts || self.problem.is_none())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics who holds it")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let was_late = state.is_late();
        change(&mut state);
        if was_late && !state.is_late() {
            self.settled.notify_one();
        }
        drop(state);
        self.news.notify_all();
    }
}

impl Keeper {
    /// Takes over the proxy of `folder`, or starts one in `netns`, as soon as there is something to tell it, and nobody is there any more who
    /// ends what was `before`. `settled` is told when nobody has to wait for it any more.
    pub(super) fn start(vni: u32, folder: &Path, netns: Netns, before: Option<JoinHandle<()>>, settled: Arc<Notify>) -> Self {
        let state = State {
            wanted: (0, Arc::default()),
            done: 0,
            // Nobody has looked yet.
            acts: true,
            ends: false,
            problem: None,
            fell: None,
            lines: Lines::default(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Condvar::new(), settled });
        let keep = Keep { vni, folder: folder.to_owned(), netns, shared: Arc::clone(&shared), worker: None, failures: 0, refuses: None };
        let started = std::thread::Builder::new().name(format!("proxy-of-{vni}")).spawn(move || {
            // A panic there was told where it happened.
            let _ = before.map(JoinHandle::join);
            keep.run();
        });
        let nobody =
            |error| shared.change(|state| (state.acts, state.problem) = (false, Some(format!("nobody can look after it: {error}"))));
        let started = started.map_err(nobody);
        Self { shared, thread: started.ok() }
    }

    /// What it is to do from now on.
    pub(super) fn tell(&self, spec: ProxySpec) {
        self.shared.change(|state| {
            if state.wanted.0 == 0 || *state.wanted.1 != spec {
                state.wanted = (state.wanted.0 + 1, Arc::new(spec));
            }
        });
    }

    /// Ends the process. Returns at once; the thread ends when it has.
    pub(super) fn end(self) -> Option<JoinHandle<()>> {
        self.shared.change(|state| state.ends = true);
        self.thread
    }

    /// Whether what was told last is to be waited for.
    pub(super) fn is_late(&self) -> bool {
        self.shared.lock().is_late()
    }

    /// Why what was told last is not in force.
    pub(super) fn problem(&self) -> Option<String> {
        self.shared.lock().problem.clone()
    }

    /// Why it had to be started again, if that was lately.
    pub(super) fn fell(&self) -> Option<String> {
        self.shared.lock().fell.clone()
    }

    /// Where to ask for requests.
    pub(super) fn lines(&self) -> Lines {
        self.shared.lock().lines.clone()
    }

    /// The same, for whoever asks later.
    pub(super) fn asked(&self) -> impl Fn() -> Lines + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.lock().lines.clone()
    }
}

/// Ends all proxies of a folder that has no keeper, and removes it.
pub(super) fn sweep(vni: u32, folder: PathBuf) -> Option<JoinHandle<()>> {
    let started = std::thread::Builder::new().name(format!("sweep-{vni}")).spawn(move || worker::remove(vni, &folder));
    started.inspect_err(|error| tracing::warn!(%error, "proxies that are not needed are left running for the time being")).ok()
}

/// The thread.
struct Keep {
    vni: u32,
    folder: PathBuf,
    netns: Netns,
    shared: Arc<Shared>,
    worker: Option<Worker>,
    failures: usize,
    /// Since when it refuses what is wanted.
    refuses: Option<Instant>,
}

impl Keep {
    fn run(mut self) {
        let mut former = self.look();
        loop {
            let (number, spec) = {
                let mut state = self.shared.lock();
                if !state.ends && state.done == state.wanted.0 {
                    state = self.shared.news.wait_timeout(state, LOOK).expect("nobody panics who holds it").0;
                }
                if state.ends {
                    break;
                }
                (state.wanted.0, Arc::clone(&state.wanted.1))
            };
            if number > 0 {
                self.step(number, &spec);
            }
            // Another build's, or of a namespace that is no more: it lets its requests end once somebody else listens.
            let mut state = self.shared.lock();
            state.lines.leaving.retain(|leaving| leaving.strong_count() > 0);
            if state.done > 0 {
                state.lines.leaving.extend(former.drain(..).filter_map(Worker::retire));
            }
        }
        drop(self.worker.take());
        worker::remove(self.vni, &self.folder);
    }

    /// Looks for processes of before; those that somebody else is to follow are returned. Another beside one that was not found would take half of
    /// its connections: until this works there is none.
    fn look(&mut self) -> Vec<Worker> {
        loop {
            match worker::find(self.vni, &self.folder, &self.netns) {
                Ok(Found { ours, others }) => {
                    let (acts, control) = (ours.is_some(), ours.as_ref().map(|ours| ours.control().to_owned()));
                    self.worker = ours;
                    self.shared.change(|state| (state.acts, state.problem, state.lines.control) = (acts, None, control));
                    return others;
                }
                Err(error) => self.failed(0, format!("proxies of before cannot be looked for: {error}")),
            }
            if self.shared.lock().ends {
                return Vec::new();
            }
        }
    }

    /// Starts the process if there is none, and tells it what it does not know.
    fn step(&mut self, number: u64, spec: &ProxySpec) {
        if let Some(why) = self.worker.as_mut().and_then(Worker::ended) {
            tracing::warn!(vni = self.vni, "the proxy {why}; it is started again");
            self.forget(format!("{why}; it was started again"));
            self.pause(number);
        }
        if self.worker.as_ref().is_some_and(|worker| worker.age() > WORKS) {
            self.failures = 0;
            self.shared.lock().fell = None;
        }
        if self.shared.lock().done == number {
            return self.ask();
        }
        let worker = match &mut self.worker {
            Some(worker) => worker,
            none => match Worker::start(self.vni, &self.folder, &self.netns) {
                Ok(worker) => none.insert(worker),
                Err(error) => return self.failed(number, line(&error)),
            },
        };
        let knew = worker.has_document();
        self.shared.change(|state| state.acts = true);
        match worker.apply(spec) {
            Ok(()) => {
                self.refuses = None;
                let control = worker.control().to_owned();
                self.shared.change(|state| (state.done, state.problem, state.lines.control) = (number, None, Some(control)));
            }
            Err(error) => {
                let text = line(&error);
                let since = *self.refuses.get_or_insert_with(Instant::now);
                // What it refuses another would refuse as well, but does not go on by what was wanted before.
                if error.is_silence() || (knew && since.elapsed() > REFUSE_MAX) {
                    self.give_up(&text);
                }
                self.shared.change(|state| state.acts &= knew);
                self.failed(number, text);
            }
        }
    }

    /// One that stands still is found out before somebody has something to tell it.
    fn ask(&mut self) {
        if let Some(Err(error)) = self.worker.as_mut().map(Worker::ask) {
            self.give_up(&line(&error));
        }
    }

    /// One that does not answer is of no use to anybody.
    fn give_up(&mut self, why: &str) {
        tracing::warn!(vni = self.vni, "the proxy is ended: {why}");
        self.forget(format!("was ended: {why}"));
    }

    /// There is none now. Ends it if it has not ended.
    fn forget(&mut self, why: String) {
        (self.worker, self.refuses) = (None, None);
        self.shared.change(|state| {
            (state.done, state.acts, state.fell, state.lines.control) = (0, false, Some(why), None);
        });
    }

    fn failed(&mut self, number: u64, problem: String) {
        self.shared.change(|state| state.problem = Some(problem));
        self.pause(number);
    }

    /// Waits before another attempt, longer each time; not if all is to end, or something else is wanted than was tried.
    fn pause(&mut self, number: u64) {
        let pause = Duration::from_millis(AGAIN[self.failures.min(AGAIN.len() - 1)]);
        self.failures += 1;
        let same = |state: &mut State| !state.ends && state.wanted.0 == number;
        drop(self.shared.news.wait_timeout_while(self.shared.lock(), pause, same).expect("nobody panics who holds it"));
    }
}
