//! The user: applies a cluster, then changes and asks, and remembers what was answered with yes.

use crate::host::Process;
use crate::letter::Letter;
use crate::note;
use crate::sim::{Event, Phase, Sim};
use crate::time::{MS, SECOND, WALL};
use pan_api::ApiError;
use pan_controller::core::request::{Reply, Request};
use pan_model::host::Role;
use pan_model::{ClusterName, Code, HostName, PartitionName};
use std::collections::BTreeMap;
use std::rc::Rc;

/// After so long the user takes no answer for one.
const PATIENCE: u64 = 4000 * MS;

/// What the user asked for.
#[derive(Debug, Clone)]
enum Wanted {
    Apply,
    Label { node: HostName, name: String, value: String },
    Scale { cluster: ClusterName, servers: u32 },
    Move,
}

struct Open {
    wanted: Wanted,
    until: u64,
}

/// The user's memory.
#[derive(Default)]
pub struct User {
    number: u64,
    open: BTreeMap<u64, Open>,
    /// Whom to ask next.
    favourite: usize,
    applied: bool,
    /// Labels that were promised to be there.
    labels: Vec<(HostName, String, String)>,
    /// Labels of which it was said that nothing was changed.
    refused: Vec<(HostName, String, String)>,
    /// The size each cluster was promised, if nothing in doubt came after.
    sizes: BTreeMap<ClusterName, Option<u32>>,
}

impl User {
    /// Whether the first document was accepted.
    #[must_use]
    pub const fn has_applied(&self) -> bool {
        self.applied
    }

    /// Labels that must be there.
    #[must_use]
    pub fn labels(&self) -> &[(HostName, String, String)] {
        &self.labels
    }

    /// Labels that must never have been there: no two have the same value.
    #[must_use]
    pub fn refused(&self) -> &[(HostName, String, String)] {
        &self.refused
    }

    /// Sizes that must be there.
    pub fn sizes(&self) -> impl Iterator<Item = (&ClusterName, u32)> {
        self.sizes.iter().filter_map(|(cluster, size)| Some((cluster, (*size)?)))
    }
}

/// The partition of every server.
pub fn partition() -> PartitionName {
    PartitionName::new("p").expect("a name")
}

fn cluster(number: usize) -> ClusterName {
    ClusterName::new(format!("c{number}")).expect("a name")
}

/// The cluster that has more servers by the clock: how many of its own, how many at high water.
pub const TIDE: (&str, u32, u32) = ("tide", 1, 3);
/// From when on, how often and for how long, in seconds of the run. The calm part is over by then.
const WATER: (u64, u64, u64) = (40, 25, 10);
/// How often that is, which is over when a run is long: a policy has not more schedules.
const TIMES: u64 = 14;

/// The number of servers that the cluster is to have at a time of the run.
#[must_use]
pub fn water(now: u64) -> u32 {
    let (first, every, lasts) = WATER;
    let since = (now / SECOND).checked_sub(first);
    let high = since.is_some_and(|since| since % every < lasts && since / every < TIMES);
    if high { TIDE.2 } else { TIDE.1 }
}

fn tide() -> String {
    let (name, low, high) = TIDE;
    let (first, every, lasts) = WATER;
    let shown = |second: u64| {
        let at = jiff::Timestamp::from_microsecond(WALL).expect("a time") + jiff::SignedDuration::from_secs(second.cast_signed());
        at.strftime("%Y-%m-%dT%H:%M:%S").to_string()
    };
    let window = |number: u64| {
        let from = first + number * every;
        format!("    - {{from: {}, until: {}, zone: UTC, floor: {high}}}\n", shown(from), shown(from + lasts))
    };
    let windows: String = (0..TIMES).map(window).collect();
    format!(
        "---\napi: pan/v1\nkind: Cluster\npartition: p\nname: {name}\nspec:\n  servers: {low}\n  image: host\n  command: [sleep, inf]\n  stop: \
         {{grace: 1s}}\n  resources: {{cpu: 100m, memory: 16MiB}}\n---\napi: pan/v1\nkind: Policy\npartition: p\nname: {name}\nspec:\n  target: \
         {{cluster: {name}}}\n  schedules:\n{windows}"
    )
}

fn documents(sizes: &[u32], tides: bool) -> String {
    let mut text = "api: pan/v1\nkind: Partition\nname: p\nspec: {network: 10.0.0.0/24}\n".to_owned();
    for (number, servers) in sizes.iter().enumerate() {
        let protect = if number == 0 { "  protect: {failures: 1}\n" } else { "" };
        text.push_str(&format!(
            "---\napi: pan/v1\nkind: Cluster\npartition: p\nname: c{number}\nspec:\n  servers: {servers}\n  image: host\n  \
             command: [sleep, inf]\n{protect}  stop: {{grace: 1s}}\n  resources: {{cpu: 500m, memory: 128MiB}}\n"
        ));
    }
    if tides {
        text.push_str(&tide());
    }
    text.push_str("---\napi: pan/v1\nkind: Service\npartition: p\nname: www\nspec: {port: 80, cluster: c0}\n");
    text
}

impl Sim {
    /// The user looks at the time.
    pub(crate) fn user_step(&mut self) {
        let now = self.now;
        let late: Vec<u64> = self.user.open.iter().filter(|(_, open)| now >= open.until).map(|(number, _)| *number).collect();
        for number in late {
            self.answer_user(number, Err(ApiError::new(Code::InDoubt, "no answer")));
        }
        if self.user.open.is_empty() {
            let (wanted, request) = self.wish();
            if let Some(request) = request {
                self.ask(wanted, request);
            }
        }
        let pause = if self.phase == Phase::Boot { 100 } else { 1000 };
        let at = self.now + self.dice.millis(50, pause);
        self.queue.push(at, Event::User);
    }

    fn wish(&mut self) -> (Wanted, Option<Request>) {
        if !self.user.applied {
            let files = [("sim.yaml".to_owned(), documents(&self.options.clusters, self.options.tide))];
            let documents = pan_model::manifest::parse(&files, None).expect("a manifest");
            return (Wanted::Apply, Some(Request::Apply { documents, dry_run: false }));
        }
        if let Some(node) = self.idle_node() {
            return (Wanted::Move, Some(Request::Clear(node)));
        }
        let storm = self.phase == Phase::Storm;
        let roll = self.dice.below(if storm { 12 } else { 8 });
        match roll {
            0..=7 => {
                let nodes: Vec<usize> = (0..self.hosts.len()).filter(|at| self.hosts[*at].is(Role::Node)).collect();
                let at = self.dice.pick(&nodes);
                let (node, name) = (self.hosts[at].name.clone(), format!("w{}", self.user.number % 40));
                let value = format!("v{}", self.user.number);
                let labels = BTreeMap::from([(name.clone(), Some(value.clone()))]);
                (Wanted::Label { node: node.clone(), name, value }, Some(Request::Label { node, labels }))
            }
            8 | 9 => {
                let number = self.dice.index(self.options.clusters.len());
                let servers = u32::try_from(self.dice.within(1, 4)).expect("below four");
                let cluster = cluster(number);
                let request = Request::Scale { partition: partition(), cluster: cluster.clone(), servers };
                (Wanted::Scale { cluster, servers }, Some(request))
            }
            _ => {
                let keys: Vec<_> = self.hosts.iter().flat_map(|host| host.instances.keys().cloned()).collect();
                if keys.is_empty() {
                    return (Wanted::Move, None);
                }
                let key = keys[self.dice.index(keys.len())].clone();
                let request = if roll == 10 { Request::Failover { key, to: None } } else { Request::Restart(key) };
                (Wanted::Move, Some(request))
            }
        }
    }

    /// A node that an operator takes out of quarantine, who sees after the repair that nothing runs anywhere.
    fn idle_node(&mut self) -> Option<HostName> {
        if !matches!(self.phase, Phase::Heal | Phase::Proof | Phase::Rest) || self.hosts.iter().any(|host| !host.instances.is_empty()) {
            return None;
        }
        let world = &self.leading()?.owner.world;
        let held = world.seen.hosts.iter().filter(|(_, seen)| seen.quarantined).map(|(name, _)| name.clone());
        let held: Vec<HostName> = held.collect();
        (!held.is_empty()).then(|| held[self.dice.index(held.len())].clone())
    }

    fn ask(&mut self, wanted: Wanted, request: Request) {
        let to = self.controllers[self.user.favourite % self.controllers.len()];
        let up = self.hosts[to].runs(Process::Loop) && !self.is_frozen(to);
        if !up {
            self.user.favourite += 1;
            return;
        }
        self.user.number += 1;
        let number = self.user.number;
        // It may be done before it is answered, or without.
        if let Wanted::Label { node, name, .. } = &wanted {
            self.user.labels.retain(|label| (&label.0, &label.1) != (node, name));
        }
        self.user.open.insert(number, Open { wanted, until: self.now + PATIENCE });
        let at = self.now + self.dice.millis(1, 5);
        self.post(to, Process::Loop, at, Letter::Request { number, request: Rc::new(request) });
    }

    /// The user is answered, or stops waiting.
    pub(crate) fn answer_user(&mut self, number: u64, result: Result<Reply, ApiError>) {
        let Some(open) = self.user.open.remove(&number) else { return };
        match result {
            Ok(_) => {
                self.tally.acknowledged += 1;
                self.acknowledged(open.wanted);
            }
            Err(error) => {
                note!(self, "the user was told {:?}: {}", error.code, error.message);
                let doubt = matches!(error.code, Code::InDoubt | Code::Internal);
                self.user.favourite += usize::from(doubt || error.code == Code::NotLeading);
                match open.wanted {
                    Wanted::Scale { cluster, .. } if doubt => drop(self.user.sizes.insert(cluster, None)),
                    Wanted::Label { node, name, value } if !doubt => {
                        self.user.refused.push((node, name, value));
                        self.check_promised();
                    }
                    Wanted::Scale { .. } | Wanted::Label { .. } | Wanted::Apply | Wanted::Move => {}
                }
            }
        }
    }

    fn acknowledged(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::Apply => {
                self.user.applied = true;
                let sizes = self.options.clusters.clone();
                self.user.sizes = sizes.into_iter().enumerate().map(|(number, size)| (cluster(number), Some(size))).collect();
            }
            Wanted::Label { node, name, value } => self.user.labels.push((node, name, value)),
            // An earlier one in doubt may be done yet, and then it is the later one.
            Wanted::Scale { cluster, servers } => {
                let size = self.user.sizes.entry(cluster).or_insert(Some(servers));
                if size.is_some() {
                    *size = Some(servers);
                }
            }
            Wanted::Move => {}
        }
        self.check_promised();
    }
}
