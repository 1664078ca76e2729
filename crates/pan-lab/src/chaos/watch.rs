//! An observer: asks some targets all the time from one network, and notes who answered.

use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use pan_linux::netns::Netns;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::observation::{Answer, Asked, Observation};
use crate::prober::{Outcome, ProbePlan, Sample, probe};

/// Longer than a round takes; whoever forgets an observer is not asked for ever.
const LENGTH_MAX: Duration = Duration::from_secs(600);
/// A request may take so long: a server that stands still and goes on may answer late, which is what is looked for.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Who is meant to be there.
    pub asked: Asked,
    /// Where it is.
    pub address: SocketAddr,
}

/// A running observer. It ends when it is dropped.
#[derive(Debug)]
pub struct Watcher {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Asks every target once in so long, by a new connection each, from a network namespace; each answer goes to `log`.
    #[must_use]
    pub fn start(observer: &str, netns: Netns, targets: Vec<Target>, every: Duration, log: Sender<Observation>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let observer = observer.to_owned();
        let thread = std::thread::spawn(move || {
            let watched = netns.run(|| watch(&observer, targets, every, log, stopped));
            if let Err(error) = watched.map_err(std::io::Error::other).and_then(|done| done) {
                eprintln!("observer {observer}: {error}");
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(
    observer: &str,
    targets: Vec<Target>,
    every: Duration,
    log: Sender<Observation>,
    stopped: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut probes = JoinSet::new();
        for target in targets {
            let (observer, log) = (observer.to_owned(), log.clone());
            let plan = ProbePlan { target: target.address, every, length: LENGTH_MAX, timeout: ANSWER_MAX };
            probes.spawn(probe(plan, move |sample| {
                // Nobody who listens any more is the end.
                let sent = log.send(observed(&observer, &target.asked, sample));
                sent.map_err(|_| std::io::ErrorKind::BrokenPipe.into())
            }));
        }
        tokio::select! {
            _ = stopped => {}
            _ = async { while probes.join_next().await.is_some() {} } => {}
        }
    });
    // What is still under way is of no use.
    runtime.shutdown_background();
    Ok(())
}

fn observed(observer: &str, asked: &Asked, sample: &Sample) -> Observation {
    Observation {
        observer: observer.to_owned(),
        target: asked.clone(),
        sent_us: sample.boot_us,
        received_us: sample.boot_us + sample.latency_us,
        answer: Answer::parse(&sample.answer).filter(|_| sample.outcome == Outcome::Ok),
    }
}
