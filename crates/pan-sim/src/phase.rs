//! The course of a run: boot, calm, storm, repair, proof; and when a run counts as at rest.

use crate::controller::Controller;
use crate::fault::Undo;
use crate::host::Process;
use crate::note;
use crate::options::Calm;
use crate::sim::{Event, Phase, Sim};
use crate::time::{MS, SECOND};
use crate::user::{TIDE, partition, water};
use pan_controller::core::record::Intent;
use pan_controller::core::seen::Life;
use pan_controller::core::world::World;
use pan_model::host::{Fabric, Role};
use pan_model::{Epoch, ServerKey};
use std::collections::BTreeMap;

/// I8: after the last fault is repaired, everything is as it should be within this time. Ten seconds of the mass brake,
/// ten of a server's pause between two starts, four of a new leader's patience, twice over.
pub const BOUND: u64 = 45 * SECOND;
/// How long the calm part lasts.
const CALM: u64 = 7 * SECOND;
/// A run has at least so many faults, and lasts at least so long.
const FAULTS_MIN: u64 = 5;
const LASTS_MIN: u64 = 60 * SECOND;

impl Sim {
    /// Looks how far the run is, and goes on to its next part.
    pub(crate) fn look(&mut self) {
        match self.phase {
            Phase::Boot => self.at_rest_then(None, Self::begin_calm),
            Phase::Calm => self.calm(),
            Phase::Settle => self.at_rest_then(None, Self::begin_storm),
            Phase::Storm => {
                if self.now >= self.phase_until && self.tally.faults_total() >= FAULTS_MIN {
                    self.heal();
                    self.enter(Phase::Heal, BOUND);
                }
            }
            Phase::Heal => self.at_rest_then(None, Self::begin_proof),
            Phase::Proof => self.at_rest_then(self.victim, Self::end_proof),
            Phase::Rest if self.now < LASTS_MIN => self.phase_until = self.phase_until.max(LASTS_MIN + BOUND),
            Phase::Rest => self.at_rest_then(None, |sim| {
                sim.check_promised();
                sim.check_protected();
                sim.phase = Phase::Over;
            }),
            Phase::Over => {}
        }
        let pause = if self.phase == Phase::Calm { 20 * MS } else { 100 * MS };
        self.queue.push(self.now + pause, Event::Look);
    }

    fn enter(&mut self, phase: Phase, lasts: u64) {
        note!(self, "PHASE {phase:?}");
        (self.phase, self.phase_until) = (phase, self.now + lasts);
    }

    fn at_rest_then(&mut self, without: Option<usize>, next: impl FnOnce(&mut Self)) {
        match self.unrest(without) {
            None => next(self),
            Some(why) if self.now >= self.phase_until => {
                let text = format!("in part {:?} of the run: {why}", self.phase);
                self.violation("I8", text);
            }
            Some(_) => {}
        }
    }

    pub(crate) fn leader(&self) -> Option<usize> {
        self.book.pan.leader.as_ref().and_then(|leader| self.index_of(leader))
    }

    /// The controller that leads, as the store and it itself say.
    pub(crate) fn leading(&self) -> Option<&Controller> {
        self.hosts[self.leader()?].controller.as_ref().filter(|controller| controller.leads())
    }

    fn begin_calm(&mut self) {
        self.enter(Phase::Calm, CALM);
        note!(self, "CALM {:?}", self.options.calm);
        let runs = self.running();
        self.book.calm = Some(runs);
        let leader = self.leader().expect("somebody leads at rest");
        let nodes: Vec<usize> = (0..self.hosts.len()).filter(|at| self.hosts[*at].is(Role::Node)).collect();
        let start = self.now + 500 * MS;
        match self.options.calm {
            Calm::DeafController => {
                let other = self.controllers.iter().copied().find(|at| *at != leader).expect("there are three");
                let deaf = Fabric::BOTH.iter().flat_map(|fabric| nodes.iter().map(|node| (*fabric, *node, leader)));
                let mut ways: Vec<_> = deaf.collect();
                ways.extend(Fabric::BOTH.map(|fabric| (fabric, leader, other)));
                let undo = self.cut(ways);
                self.undo_after(5 * SECOND, undo);
            }
            Calm::Stalls => {
                for (number, host) in self.controllers.clone().into_iter().enumerate() {
                    // Less than two periods may pass for lost heartbeats, and a suspicion is the worst that comes of it.
                    let lasts = self.dice.within(3 * crate::dice::nanos(self.timing.period), 1500 * MS);
                    self.queue.push(start + number as u64 * 2 * SECOND, Event::Stall { host, lasts });
                }
            }
            Calm::OneFabric => {
                let undo = self.fabric_down();
                self.undo_after(5 * SECOND, undo);
            }
            Calm::Flicker => {
                let (suspect, dead) = (crate::dice::nanos(self.timing.suspect_after()), crate::dice::nanos(self.timing.dead_after()));
                let longest = dead - 2 * crate::dice::nanos(self.timing.period) - 40 * MS;
                for number in 0..4 {
                    let (host, lasts) = (self.dice.pick(&nodes), self.dice.within(suspect + 20 * MS, longest));
                    self.queue.push(start + number * 3 * SECOND / 2, Event::Stall { host, lasts });
                }
            }
            Calm::NoControllers => {
                let dead = self.dice.one_in(2);
                for host in self.controllers.clone() {
                    if dead {
                        self.kill(host, Process::Ear);
                        self.undo_after(CALM, Undo::Restart(host, Process::Ear));
                    } else {
                        self.pause(host, Process::Ear, CALM);
                    }
                }
            }
            Calm::Agents => {
                for (number, host) in nodes.into_iter().enumerate() {
                    self.queue.push(start + number as u64 * 800 * MS, Event::Stall { host, lasts: 0 });
                }
            }
        }
    }

    /// Something drawn for the calm part happens now.
    pub(crate) fn stall(&mut self, host: usize, lasts: u64) {
        if self.phase != Phase::Calm {
            return;
        }
        note!(self, "{} for {} ms", self.hosts[host].name, lasts / MS);
        match self.options.calm {
            Calm::Stalls => {
                self.freeze(host, lasts);
                self.book.stalled = Some((host, self.now + lasts));
            }
            Calm::Flicker => {
                let undo = self.isolate(host);
                self.undo_after(lasts, undo);
            }
            Calm::Agents => {
                if self.kill(host, Process::Agent) {
                    let away = self.dice.millis(50, 1500);
                    self.undo_after(away, Undo::Restart(host, Process::Agent));
                }
            }
            Calm::DeafController | Calm::OneFabric | Calm::NoControllers => {}
        }
    }

    /// I7, and that nothing moves.
    fn calm(&mut self) {
        let Some(before) = &self.book.calm else { return };
        if *before != self.running() {
            self.violation("I7", format!("{before:?} ran, and now {:?}", self.running()));
            return;
        }
        if matches!(self.options.calm, Calm::NoControllers | Calm::Agents) {
            let shut = self.hosts.iter().find(|host| host.is(Role::Node) && !host.sends(self.now));
            if let Some(name) = shut.map(|host| host.name.clone()) {
                self.violation("I7", format!("the gate of {name} is shut"));
                return;
            }
        }
        if self.now >= self.phase_until {
            self.heal();
            self.enter(Phase::Settle, BOUND);
        }
    }

    fn running(&self) -> BTreeMap<ServerKey, (usize, Epoch)> {
        let of = |(at, host): (usize, &crate::host::Host)| {
            let each = host.instances.iter().map(move |(key, instance)| (key.clone(), (at, instance.epoch)));
            each.collect::<Vec<_>>()
        };
        self.hosts.iter().enumerate().flat_map(of).collect()
    }

    fn begin_storm(&mut self) {
        let longer = self.options.long_pause.unwrap_or(0);
        let lasts = (38 * SECOND).saturating_sub(self.now).max(22 * SECOND) + longer;
        self.enter(Phase::Storm, lasts);
        self.queue.push(self.now + MS, Event::Fault);
    }

    /// The next fault.
    pub(crate) fn storm(&mut self) {
        if self.phase != Phase::Storm {
            return;
        }
        self.draw_fault();
        let pause = self.dice.within(100 * MS, self.options.gap.max(200 * MS));
        self.queue.push(self.now + pause, Event::Fault);
    }

    fn begin_proof(&mut self) {
        self.tally.healed = self.now + BOUND - self.phase_until;
        let most =
            self.hosts.iter().enumerate().filter(|(_, host)| host.is(Role::Node)).max_by_key(|(at, host)| (host.instances.len(), *at));
        let victim = most.map(|(at, _)| at).expect("there are nodes");
        self.enter(Phase::Proof, BOUND);
        self.victim = Some(victim);
        self.failovers_due = self.tally.failovers + self.hosts[victim].instances.len() as u64;
        self.power_off(victim);
    }

    fn end_proof(&mut self) {
        self.tally.failover_took = self.now + BOUND - self.phase_until;
        // Also of a server that had no place for a moment.
        self.tally.failovers = self.tally.failovers.max(self.failovers_due);
        self.enter(Phase::Rest, BOUND);
        if let Some(victim) = self.victim.take() {
            self.power_on(victim);
        }
    }

    /// What is not as it should be, `without` being off.
    fn unrest(&self, without: Option<usize>) -> Option<String> {
        let here = |at: &usize| Some(*at) != without;
        let Some(controller) = self.leading() else { return Some("nobody leads".into()) };
        if !self.user.has_applied() || !controller.owner.warm {
            return Some("the leader is not ready".into());
        }
        let leaders = self.controllers.iter().filter(|at| self.hosts[**at].controller.as_ref().is_some_and(|other| other.leads()));
        if leaders.count() > 1 {
            return Some("two controllers believe that they lead".into());
        }
        let world = &controller.owner.world;
        if world.hosts.len() != self.hosts.len() {
            return Some(format!("{} of {} hosts are known", world.hosts.len(), self.hosts.len()));
        }
        for at in (0..self.hosts.len()).filter(here) {
            let host = &self.hosts[at];
            if !host.up || world.seen.life(&host.name) != Life::Alive {
                return Some(format!("{} is {:?}", host.name, world.seen.life(&host.name)));
            }
            if let Some(why) = self.host_unrest(at, controller) {
                return Some(format!("{}: {why}", host.name));
            }
        }
        if let Some(name) = without.map(|at| &self.hosts[at].name)
            && world.seen.life(name) != Life::Dead
        {
            return Some(format!("{name} is {:?}", world.seen.life(name)));
        }
        self.servers_unrest(controller)
    }

    fn host_unrest(&self, at: usize, controller: &Controller) -> Option<String> {
        let host = &self.hosts[at];
        if let Some(desired) = &controller.published[at]
            && host.map.generation != desired.generation
        {
            return Some(format!("its map is of {}, and {} is published", host.map.generation, desired.generation));
        }
        if !host.is(Role::Node) {
            return None;
        }
        let granted = controller.owner.world.hosts[&host.name].admission;
        let admission = host.beat.as_ref().and_then(crate::beat::Beat::admission);
        if admission != Some(granted) || !host.sends(self.now) {
            let lease = host.beat.as_ref().and_then(|beat| beat.lease(self.clock(at)));
            return Some(format!("it takes part as {admission:?}, {granted} is granted, its lease is {lease:?}"));
        }
        let settled = host.agent.as_ref().is_some_and(crate::node::Agent::is_settled);
        (!settled).then(|| "its servers are not at rest".into())
    }

    fn servers_unrest(&self, controller: &Controller) -> Option<String> {
        let world = &controller.owner.world;
        let mut placed = 0;
        let quarantined = world.seen.hosts.values().any(|host| host.quarantined);
        for (key, server) in &world.servers {
            if server.ending.is_some() {
                return Some(format!("{key} is on its way"));
            }
            let Some(node) = &server.node else {
                if quarantined && world.seen.not_placed.contains_key(key) {
                    continue;
                }
                return Some(format!("{key} has no place: {:?}", world.seen.not_placed.get(key)));
            };
            placed += 1;
            let at = self.names[node];
            let healthy = self.hosts[at].agent.as_ref().and_then(|agent| agent.healthy(key, self.clock(at)));
            if server.intent != Intent::Run || healthy != Some(server.epoch) {
                return Some(format!("{key} is to run on {node} under epoch {}, and {healthy:?} is healthy there", server.epoch));
            }
            if world.seen.current_phase(key, server) != Some(pan_api::report::Phase::Healthy) {
                return Some(format!("{key} is healthy, and the leader does not know"));
            }
        }
        let instances: usize = self.hosts.iter().map(|host| host.instances.len()).sum();
        // Quarantined nodes take no new servers; the user sees to it.
        if placed == 0 {
            return Some("no server has a place".into());
        }
        if instances != placed {
            return Some(format!("{instances} processes run, and {placed} servers have a place"));
        }
        for (cluster, size) in self.user.sizes() {
            let found = world.servers_of(&(partition(), cluster.clone())).len();
            if found != size as usize {
                return Some(format!("cluster {cluster} has {found} servers, and {size} were asked for"));
            }
        }
        self.ebb(world)
    }

    /// Whether the cluster that follows the clock has other numbers than the clock says.
    fn ebb(&self, world: &World) -> Option<String> {
        let tide = (partition(), TIDE.0.parse().expect("a name"));
        let record = world.clusters.get(&tide).filter(|_| self.options.tide)?;
        let (wanted, found) = (water(self.now), world.servers_of(&tide).len());
        let says = (record.wanted(), record.spec.servers) == (wanted, TIDE.1) && found == wanted as usize;
        (!says).then(|| format!("{found} servers of {} of {} wanted, and by the clock it is {wanted}", TIDE.0, record.wanted()))
    }
}
