//! The agent of a host: desired states in, maps and servers after them, reports out.

use crate::host::{Map, Process};
use crate::letter::{Introduction, Letter};
use crate::mutant::Mutant;
use crate::note;
use crate::sim::Sim;
use crate::task::{Done, Life, Moment};
use crate::time::MS;
use pan_api::WIRE_VERSION;
use pan_api::desired::{Desired, ServerOrder};
use pan_api::hostlink::{Knows, admit};
use pan_api::report::{Blank, Report, ServerReport};
use pan_member::Tick;
use pan_model::host::{Fabric, Role};
use pan_model::{Admission, Epoch, Generation, ServerKey};
use pan_node::admission::{self, State};
use pan_node::decide::{Binding, Wish};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Between two signs of life of an agent.
const ALIVE_EVERY: u64 = 200 * MS;
/// A report is due at least this often.
const REPORT_EVERY: u64 = 1000 * MS;
/// Changes this close together go into one report.
const COALESCE: u64 = 5 * MS;

/// The process.
pub struct Agent {
    next_alive: Tick,
    report_at: Tick,
    told: BTreeMap<ServerKey, ServerReport>,
    pub newest: Option<Rc<Desired>>,
    /// What it calls itself while it knows no desired state.
    blank: Blank,
    tasks: BTreeMap<ServerKey, Life>,
    /// Servers that were taken over and not looked at yet, until then.
    silent: (BTreeSet<ServerKey>, Tick),
    /// When the map that waits is applied.
    map_at: u64,
    /// Which controllers know this host.
    introduced: Vec<bool>,
    poll_at: u64,
    /// What each controller offered last, over either fabric.
    offered: Vec<[Generation; 2]>,
    last_note: (Admission, bool),
}

impl Agent {
    /// Whether nothing of it is under way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.tasks.values().all(|life| matches!(life, Life::Running { .. } | Life::Nothing | Life::Failed { .. }))
    }

    /// Whether a server is healthy, under which epoch.
    #[must_use]
    pub fn healthy(&self, key: &ServerKey, tick: Tick) -> Option<Epoch> {
        match self.tasks.get(key) {
            Some(Life::Running { binding, healthy_at }) if tick >= *healthy_at => Some(binding.epoch),
            _ => None,
        }
    }
}

fn wish<'a>(newest: Option<&'a Rc<Desired>>, key: &ServerKey) -> Wish<'a> {
    match newest {
        None => Wish::Unknown,
        Some(desired) => {
            let among = |orders: &'a [ServerOrder]| orders.iter().find(|order| order.key == *key);
            among(&desired.servers).map(Wish::Order).or(among(&desired.warm).map(Wish::Warm)).unwrap_or(Wish::Gone)
        }
    }
}

impl Sim {
    /// Starts the agent of a host, which takes over what runs.
    pub(crate) fn start_agent(&mut self, host: usize) {
        let controllers = self.options.controllers;
        let now = self.clock(host);
        let took_over = Tick(now.0 + self.dice.millis(5, 400));
        let h = &mut self.hosts[host];
        let adopt = |instance: &crate::host::Instance| {
            let binding = Binding { epoch: instance.epoch, incarnation: instance.incarnation, ends: 0, ends_max: 3 };
            Life::Running { binding, healthy_at: now }
        };
        let tasks: BTreeMap<_, _> = h.instances.iter().map(|(key, instance)| (key.clone(), adopt(instance))).collect();
        let silent = (tasks.keys().cloned().collect(), took_over);
        let blank = Blank(self.dice.roll());
        let h = &mut self.hosts[host];
        h.map_next = h.run.desired.clone();
        h.agent = Some(Agent {
            next_alive: now,
            report_at: now,
            told: BTreeMap::new(),
            newest: h.run.desired.clone(),
            blank,
            tasks,
            silent,
            map_at: self.now + MS,
            introduced: vec![false; controllers],
            poll_at: self.now,
            offered: vec![[Generation::default(); 2]; controllers],
            last_note: (Admission::NONE, false),
        });
        if h.is(Role::Director) {
            self.start_director(host);
        }
        let at = self.now + self.dice.millis(0, 50);
        self.wake(host, Process::Agent, at);
    }

    /// Whatever is due; then sleeps until more is.
    pub(crate) fn run_agent(&mut self, host: usize) {
        while let Some((at, letter)) = self.hosts[host].seats[Process::Agent as usize].inbox.pop(self.now) {
            match letter {
                Letter::Offer(offer) => self.take_offer(host, &offer),
                Letter::Introduced { controller, known } => {
                    if let Some(agent) = &mut self.hosts[host].agent {
                        agent.introduced[controller] = known == Introduction::Known;
                        // A report that an unknown host made is made again.
                        agent.report_at = if agent.newest.is_none() { Tick::default() } else { agent.report_at };
                    }
                }
                Letter::Beat(frame) => self.director_hears(host, &frame, at),
                _ => {}
            }
        }
        self.judge_director(host);
        let now = self.clock(host);
        let Some(agent) = &mut self.hosts[host].agent else { return };
        if now >= agent.next_alive {
            agent.next_alive = Tick(now.0 + ALIVE_EVERY);
            self.hosts[host].run.alive = now;
        }
        self.apply_map(host);
        self.poll(host);
        if self.hosts[host].is(Role::Node) {
            self.run_tasks(host);
        }
        self.report(host);
        self.sleep_agent(host);
    }

    fn take_offer(&mut self, host: usize, offer: &Rc<Desired>) {
        let slow = self.hosts[host].slow_map;
        let takes = self.dice.millis(1, 20) + self.dice.below(slow + 1);
        let out_of_order = self.options.is(Mutant::MapOutOfOrder);
        let anybody = self.options.is(Mutant::AnyoneBelieved);
        let h = &mut self.hosts[host];
        let role = if h.is(Role::Node) { Role::Node } else { Role::Director };
        let Some(agent) = &mut h.agent else { return };
        let newest = agent.newest.as_ref().map(|newest| newest.generation);
        let nothing = if anybody { Knows::Generation(Generation::default()) } else { Knows::Nothing(agent.blank) };
        let admitted = admit((&h.name, role), newest.map_or(nothing, Knows::Generation), offer).is_ok();
        if admitted {
            h.run.desired = Some(offer.clone());
            agent.newest = Some(offer.clone());
        }
        let later = newest.is_none_or(|newest| offer.generation != newest);
        if admitted || (out_of_order && later) {
            // One that waits is replaced, and done when it would have been.
            if h.map_next.replace(offer.clone()).is_none() {
                agent.map_at = self.now + takes;
            }
        }
    }

    fn apply_map(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        let Some(agent) = &mut h.agent else { return };
        if self.now < agent.map_at || h.map_next.is_none() {
            return;
        }
        let Some(desired) = h.map_next.take() else { return };
        if desired.generation < h.map.generation {
            let text = format!("{} goes back from the map of {} to that of {}", h.name, h.map.generation, desired.generation);
            return self.violation("map", text);
        }
        let mut known = std::mem::take(&mut h.map.known);
        let mut entries = BTreeMap::new();
        for entry in desired.networks.iter().flat_map(|network| &network.entries) {
            let highest = known.entry(entry.mac).or_default();
            *highest = (*highest).max(entry.epoch);
            entries.insert(entry.mac, (entry.host.clone(), entry.epoch));
        }
        h.map = Map { generation: desired.generation, entries, known };
        self.doubts = true;
    }

    /// Looks which controllers can be reached, presents itself, and takes what it missed.
    fn poll(&mut self, host: usize) {
        let Some(agent) = &self.hosts[host].agent else { return };
        if self.now < agent.poll_at {
            return;
        }
        let pause = self.dice.millis(100, 400);
        for number in 0..self.options.controllers {
            let to = self.controllers[number];
            let unknown = self.hosts[host].agent.as_ref().is_some_and(|agent| !agent.introduced[number]);
            if unknown && let Some(takes) = self.reach(host, to) {
                let hello = self.hellos[host].clone();
                self.post(to, Process::Loop, self.now + takes, Letter::Hello(hello));
            }
            for fabric in Fabric::BOTH {
                self.offer(number, host, fabric);
            }
        }
        if let Some(agent) = &mut self.hosts[host].agent {
            agent.poll_at = self.now + pause;
        }
    }

    /// Sends what a controller published for a host, unless that went over this fabric already.
    pub(crate) fn offer(&mut self, number: usize, host: usize, fabric: Fabric) {
        let from = self.controllers[number];
        let up = self.hosts[from].runs(Process::Loop) && self.hosts[host].runs(Process::Agent);
        if !up || !self.net.joins(fabric, from, host) || self.is_frozen(from) || self.is_frozen(host) {
            return;
        }
        let Some(desired) = self.hosts[from].controller.as_ref().and_then(|controller| controller.published[host].clone()) else { return };
        let Some(agent) = &mut self.hosts[host].agent else { return };
        let last = &mut agent.offered[number][fabric as usize];
        if *last == desired.generation {
            return;
        }
        *last = desired.generation;
        // A stream that lost something delivers late, on this fabric only.
        let late = if self.dice.one_in(24) { self.dice.millis(100, 1500) } else { 0 };
        let takes = self.net.stream(&mut self.dice, from, host) + late;
        self.post(host, Process::Agent, self.now + takes, Letter::Offer(desired));
    }

    fn run_tasks(&mut self, host: usize) {
        let tick = self.clock(host);
        let Some(agent) = &mut self.hosts[host].agent else { return };
        if tick < agent.silent.1 {
            return;
        }
        agent.silent.0.clear();
        let newest = agent.newest.clone();
        let mut tasks = std::mem::take(&mut agent.tasks);
        for order in newest.iter().flat_map(|desired| desired.servers.iter().chain(&desired.warm)) {
            if !tasks.contains_key(&order.key) {
                tasks.insert(order.key.clone(), Life::Nothing);
            }
        }
        for (key, life) in &mut tasks {
            // A step changes what the next one is about; few are needed until there is nothing to do at once.
            for _ in 0..4 {
                let before = *life;
                let roll = self.dice.roll();
                let done = life.step(wish(newest.as_ref(), key), Moment { now: self.now, tick, roll });
                self.done(host, key, done);
                if *life == before {
                    break;
                }
            }
        }
        tasks.retain(|key, life| *life != Life::Nothing || matches!(wish(newest.as_ref(), key), Wish::Order(_) | Wish::Warm(_)));
        if let Some(agent) = &mut self.hosts[host].agent {
            agent.tasks = tasks;
        }
        self.admit(host, tick);
    }

    fn done(&mut self, host: usize, key: &ServerKey, done: Done) {
        match done {
            Done::Nothing => return,
            Done::Started(instance) => {
                note!(self, "{key} runs on {} under epoch {}", self.hosts[host].name, instance.epoch);
                self.hosts[host].instances.insert(key.clone(), instance);
            }
            Done::Ended => {
                note!(self, "{key} has ended on {}", self.hosts[host].name);
                self.hosts[host].instances.remove(key);
            }
        }
        self.doubts = true;
    }

    /// A server's process ends by itself.
    pub(crate) fn server_ends(&mut self, host: usize, key: &ServerKey) {
        let tick = self.clock(host);
        if self.hosts[host].instances.remove(key).is_some() {
            self.doubts = true;
            if let Some(life) = self.hosts[host].agent.as_mut().and_then(|agent| agent.tasks.get_mut(key)) {
                life.ended(tick);
            }
            self.wake(host, Process::Agent, self.now + MS);
        }
    }

    fn admit(&mut self, host: usize, tick: Tick) {
        let h = &mut self.hosts[host];
        let Some(agent) = &h.agent else { return };
        let Some(newest) = &agent.newest else { return };
        let (current, granted) = (h.run.admission, newest.admission);
        if granted <= current {
            return;
        }
        let wanted: BTreeMap<ServerKey, Epoch> =
            newest.warm.iter().chain(&newest.servers).map(|order| (order.key.clone(), order.epoch)).collect();
        let reports = reports(agent, tick);
        let tended: BTreeSet<ServerKey> = agent.tasks.keys().chain(reports.keys()).cloned().collect();
        let state =
            State { current, granted, wanted: Some(&wanted), tended: &tended, silent: &agent.silent.0, strays: false, reports: &reports };
        let next = if self.options.is(Mutant::GateBeforeOrphans) { Some(granted) } else { admission::next(state) };
        if let Some(next) = next {
            h.run.admission = next;
            if next > Admission::FIRST {
                self.tally.readmissions += 1;
            }
            note!(self, "{} takes part as number {next}", self.hosts[host].name);
        }
    }

    fn report(&mut self, host: usize) {
        let tick = self.clock(host);
        let role = if self.hosts[host].is(Role::Node) { Role::Node } else { Role::Director };
        if !self.hosts[host].is(role) {
            return;
        }
        let h = &mut self.hosts[host];
        let Some(agent) = &mut h.agent else { return };
        let reports = reports(agent, tick);
        if (reports != agent.told || agent.last_note != h.run.lease) && agent.silent.0.is_empty() {
            agent.report_at = agent.report_at.min(Tick(tick.0 + COALESCE));
            agent.told.clone_from(&reports);
            agent.last_note = h.run.lease;
        }
        if tick < agent.report_at || !agent.silent.0.is_empty() {
            return;
        }
        agent.report_at = Tick(tick.0 + REPORT_EVERY);
        let report = Rc::new(Report {
            version: WIRE_VERSION,
            usage: Vec::new(),
            host: h.name.clone(),
            role,
            boot: h.boot.0,
            sequence: tick.0,
            applied: h.map.generation,
            blank: agent.newest.is_none().then_some(agent.blank),
            restarted: None,
            admission: h.run.lease.0,
            wants_admission: h.run.lease.1,
            refused: Vec::new(),
            beyond: Vec::new(),
            ways: Vec::new(),
            gate: None,
            servers: reports.into_values().collect(),
            connections: Vec::new(),
            problems: Vec::new(),
            pool: None,
            replicas: Vec::new(),
        });
        for number in 0..self.options.controllers {
            let to = self.controllers[number];
            if let Some(takes) = self.reach(host, to) {
                self.post(to, Process::Loop, self.now + takes, Letter::Report(report.clone()));
            }
        }
    }

    fn sleep_agent(&mut self, host: usize) {
        let tick = self.clock(host);
        let h = &self.hosts[host];
        let Some(agent) = &h.agent else { return };
        let reaches = |tick| h.clock.reaches(tick);
        let own = reaches(agent.next_alive).min(agent.poll_at);
        let reporting = if h.is(Role::Node) || h.is(Role::Director) { reaches(agent.report_at) } else { u64::MAX };
        let map = if h.map_next.is_some() { agent.map_at } else { u64::MAX };
        let tasks = agent.tasks.iter().map(|(key, life)| life.next(wish(agent.newest.as_ref(), key), tick, reaches)).min();
        let silent = if agent.silent.0.is_empty() { u64::MAX } else { reaches(agent.silent.1) };
        let hearing = h.director.as_ref().map_or(u64::MAX, |director| reaches(director.next_deadline()));
        let post = h.seats[Process::Agent as usize].inbox.first().map_or(u64::MAX, |at| at + MS);
        // Heartbeats are looked at by the period; they bear the time at which they came.
        let post = if h.director.is_some() { hearing } else { post };
        let all = [own, reporting, map, tasks.unwrap_or(u64::MAX), silent, hearing, post];
        let at = all.into_iter().min().unwrap_or(u64::MAX).max(self.now + MS / 5);
        self.wake(host, Process::Agent, at);
    }
}

fn reports(agent: &Agent, tick: Tick) -> BTreeMap<ServerKey, ServerReport> {
    let newest = agent.newest.as_ref();
    let known = |key: &&ServerKey| !agent.silent.0.contains(*key);
    // Tasks are looked at whenever a desired state comes in, so the newest is the one they follow.
    let followed = newest.map(|newest| newest.generation).unwrap_or_default();
    let of = |key: &ServerKey| {
        let report = agent.tasks[key].report(key, wish(newest, key), tick)?;
        Some((key.clone(), ServerReport { followed, ..report }))
    };
    agent.tasks.keys().filter(known).filter_map(of).collect()
}
