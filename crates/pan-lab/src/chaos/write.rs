//! The writer: asks for one change after the other and remembers what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use pan_api::ApiError;
use pan_api::cluster::{Cluster, ClusterState};
use pan_api::node::Node;
use pan_api::requests::{Applied, Apply, File, Labels, Scale};
use pan_linux::realtime::since_boot;
use pan_model::Code;

use super::ask::Api;
use super::dice::Dice;
use super::observation::{Told, Values, Write};

/// Between two writes: some hundred in a round, which leaves the store room for the PAN's own.
const EVERY: Duration = Duration::from_millis(100);
/// Clusters without servers that one round makes at most.
const CREATED_MAX: u32 = 200;
/// Where clusters are.
pub(super) const CLUSTERS: &str = "/v1/partitions/chaos/clusters";
/// The cluster whose number of servers is changed, and that number at first.
const HERD: &str = "herd";
const HERD_FIRST: u32 = 1;
/// Of its servers.
const HERD_MAX: u64 = 3;
/// What clusters that the writer makes begin with.
const PREFIX: &str = "w-";
/// The variable of theirs, and the label of nodes, that holds a value.
const VALUE: &str = "chaos";
const NODES: u64 = 4;

/// What to ask for.
#[derive(Clone, Copy)]
enum What {
    Create,
    Change,
    Delete,
    Scale,
    Label,
}

/// A running writer.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Write>>>,
}

impl Writer {
    /// Writes until its end, to a PAN in which the scene has just been applied.
    pub(super) fn start(api: Api, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut work = Work { api, dice: Dice::new(!seed), number: 0, created: 0, there: BTreeSet::new(), log: Vec::new() };
            work.note(format!("servers of {HERD}"), Some(HERD_FIRST.to_string()), Ok(()));
            while !stopped.load(Ordering::Relaxed) {
                work.one();
                sleep(EVERY);
            }
            work.log
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it, and gives all its writes in their order.
    pub(super) fn end(mut self) -> Vec<Write> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is joined once");
        thread.join().expect("a writer does not panic")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    api: Api,
    dice: Dice,
    number: u64,
    created: u32,
    /// Clusters of its own that are surely there.
    there: BTreeSet<String>,
    log: Vec<Write>,
}

impl Work {
    fn one(&mut self) {
        self.number += 1;
        let value = self.number.to_string();
        let what = self.dice.weighted(&[(What::Create, 4), (What::Change, 4), (What::Delete, 1), (What::Scale, 1), (What::Label, 2)]);
        match (what, self.any()) {
            (What::Create, _) if self.created < CREATED_MAX => {
                self.created += 1;
                self.put(format!("{PREFIX}{}", self.created), value);
            }
            (What::Change, Some(name)) => self.put(name, value),
            (What::Delete, Some(name)) => {
                let outcome = self.api.delete(&format!("{CLUSTERS}/{name}"));
                self.there.remove(&name);
                self.note(format!("cluster {name}"), None, outcome);
            }
            (What::Scale, _) => {
                let servers = u32::try_from(self.dice.below(HERD_MAX + 1)).expect("a small number");
                let outcome = self.api.post(&format!("{CLUSTERS}/{HERD}/scale"), &Scale { servers });
                self.note(format!("servers of {HERD}"), Some(servers.to_string()), outcome);
            }
            (What::Label | What::Create | What::Change | What::Delete, _) => {
                let node = format!("n{}", self.dice.within(1, NODES + 1));
                let labels = Labels { labels: BTreeMap::from([(VALUE.to_owned(), Some(value.clone()))]) };
                let outcome = self.api.post(&format!("/v1/nodes/{node}/label"), &labels);
                self.note(format!("label of {node}"), Some(value), outcome);
            }
        }
    }

    fn any(&mut self) -> Option<String> {
        let names: Vec<&String> = self.there.iter().collect();
        if names.is_empty() { None } else { Some(self.dice.pick(&names).clone()) }
    }

    fn put(&mut self, name: String, value: String) {
        let text = format!(
            "api: pan/v1\nkind: Cluster\npartition: chaos\nname: {name}\nspec: {{servers: 0, image: host, command: [sleep, inf], env: {{{VALUE}: \"{value}\"}}}}\n"
        );
        let body = Apply { files: vec![File { name: name.clone(), text }], dry_run: false };
        let outcome: Result<Vec<Applied>, ApiError> = self.api.post("/v1/apply", &body);
        let refusal = |applied: Vec<Applied>| applied.into_iter().find_map(|one| one.error).map_or(Ok(()), Err);
        match self.note(format!("cluster {name}"), Some(value), outcome.and_then(refusal)) {
            Told::Acknowledged => drop(self.there.insert(name)),
            // Each key is in doubt at most once, so that doubt hides as little as possible.
            Told::Unknown => drop(self.there.remove(&name)),
            Told::Refused => {}
        }
    }

    fn note(&mut self, key: String, wanted: Option<String>, outcome: Result<(), ApiError>) -> Told {
        let (told, words) = match outcome {
            Ok(()) => (Told::Acknowledged, String::new()),
            Err(error) => (told(error.code), format!("{} {}", error.code, error.message)),
        };
        let told_us = u64::try_from(since_boot().as_micros()).unwrap_or(u64::MAX);
        self.log.push(Write { key, wanted, told, words, told_us });
        told
    }
}

/// What a refusal says of the change.
const fn told(code: Code) -> Told {
    match code {
        Code::Invalid
        | Code::NotYet
        | Code::Dangling
        | Code::Duplicate
        | Code::Cycle
        | Code::Conflict
        | Code::Protection
        | Code::NoCapacity
        | Code::Quota
        | Code::NotFound
        | Code::Unauthenticated
        | Code::Denied
        | Code::State
        | Code::InUse
        | Code::Leaving
        | Code::TooMany
        | Code::NotLeading => Told::Refused,
        Code::TimedOut | Code::Unreachable | Code::HostUnreachable | Code::InDoubt | Code::Altered | Code::Internal => Told::Unknown,
    }
}

/// What there is of all that a writer may have asked for, as one controller says.
pub(super) fn values(api: &Api) -> Result<Values, ApiError> {
    let mut found = Values::new();
    for cluster in api.get::<Vec<Cluster>>(CLUSTERS)? {
        if cluster.name.as_str().starts_with(PREFIX) && cluster.state != ClusterState::Deleting {
            found.insert(format!("cluster {}", cluster.name), cluster.spec.env.get(VALUE).cloned().unwrap_or_default());
        }
        if cluster.name.as_str() == HERD {
            found.insert(format!("servers of {HERD}"), cluster.spec.servers.to_string());
        }
    }
    for node in api.get::<Vec<Node>>("/v1/nodes")? {
        if let Some(value) = node.labels.get(VALUE) {
            found.insert(format!("label of {}", node.name), value.clone());
        }
    }
    Ok(found)
}
