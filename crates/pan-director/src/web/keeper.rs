//! Keeps one partition's proxy running and told, in a thread of its own: whatever the process does, only this waits for it.

use super::worker::{self, Found, Worker};
use crate::error::line;
use pan_linux::netns::Netns;
use pan_model::proxy::ProxySpec;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the process is looked after.
const LOOK: Duration = Duration::from_millis(200);
/// How long after a failure it is tried again: longer each time, up to the last. Milliseconds.
const AGAIN: [u64; 6] = [50, 100, 200, 500, 2_000, 5_000];
/// One that ran for so long works; that an earlier one failed is not told any longer.
const WORKS: Duration = Duration::from_secs(10);

/// A keeper's handle. The process goes on without it.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What the proxy is to do, and how often that changed.
    wanted: (u64, Arc<ProxySpec>),
    /// Up to which change it does.
    done: u64,
    ends: bool,
    /// Why it does not.
    problem: Option<String>,
    /// Why it had to be started again.
    fell: Option<String>,
    control: Option<PathBuf>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics who holds it")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.news.notify_all();
    }
}

impl Keeper {
    /// Takes over the proxy of `folder`, or starts one in `netns`, as soon as there is something to tell it, and nobody is there any more who
    /// ends what was `before`.
    pub(super) fn start(vni: u32, folder: &Path, netns: Netns, before: Option<JoinHandle<()>>) -> Self {
        let shared = Arc::new(Shared::default());
        let keep = Keep { vni, folder: folder.to_owned(), netns, shared: Arc::clone(&shared), worker: None, failures: 0 };
        let started = std::thread::Builder::new().name(format!("proxy-of-{vni}")).spawn(move || {
            // A panic there was told where it happened.
            let _ = before.map(JoinHandle::join);
            keep.run();
        });
        let started = started.map_err(|error| shared.change(|state| state.problem = Some(format!("nobody can look after it: {error}"))));
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

    /// Why what was told last is not in force; one that works is waited for until `deadline`.
    pub(super) fn late(&self, deadline: Instant) -> Option<String> {
        let mut state = self.shared.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match &state.problem {
                _ if state.done == state.wanted.0 => return None,
                Some(problem) => return Some(problem.clone()),
                None if left.is_zero() => return Some("it has not yet taken up what it was told".to_owned()),
                None => state = self.shared.news.wait_timeout(state, left).expect("nobody panics who holds it").0,
            }
        }
    }

    /// Why it had to be started again, if that was lately.
    pub(super) fn fell(&self) -> Option<String> {
        self.shared.lock().fell.clone()
    }

    /// Its control socket.
    pub(super) fn control(&self) -> Option<PathBuf> {
        self.shared.lock().control.clone()
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
}

impl Keep {
    fn run(mut self) {
        let mut former = Vec::new();
        match worker::find(self.vni, &self.folder, &self.netns) {
            Ok(Found { ours, others }) => {
                self.worker = ours;
                former = others;
            }
            Err(error) => tracing::warn!(vni = self.vni, %error, "proxies of before cannot be looked for"),
        }
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
            if self.shared.lock().done > 0 {
                former.drain(..).for_each(Worker::retire);
            }
        }
        drop(self.worker.take());
        worker::remove(self.vni, &self.folder);
    }

    /// Starts the process if there is none, and tells it what it does not know.
    fn step(&mut self, number: u64, spec: &ProxySpec) {
        if let Some(why) = self.worker.as_mut().and_then(Worker::ended) {
            tracing::warn!(vni = self.vni, "the proxy {why}; it is started again");
            self.worker = None;
            self.shared.change(|state| (state.done, state.fell, state.control) = (0, Some(format!("{why}; it was started again")), None));
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
        match worker.apply(spec) {
            Ok(()) => {
                let control = worker.control().to_owned();
                self.shared.change(|state| (state.done, state.problem, state.control) = (number, None, Some(control)));
            }
            Err(error) => {
                let text = line(&error);
                // What it refuses another would refuse as well.
                if error.is_silence() {
                    self.give_up(&text);
                }
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
        self.worker = None;
        self.shared.change(|state| (state.done, state.fell, state.control) = (0, Some(format!("was ended: {why}")), None));
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
