//! What others get to see once a round is committed, and the way between controllers and the store.

use crate::host::Process;
use crate::letter::{Letter, Order};
use crate::sim::{Event, Sim};
use crate::store::{Answer, Ask};
use crate::time::MS;
use pan_api::desired::Desired;
use pan_controller::core::{orders, published};
use pan_controller::ear::Known;
use pan_model::Generation;
use pan_model::host::{Fabric, Role};
use std::rc::Rc;

/// After so long a controller gives up waiting for the store.
const PATIENCE: u64 = 1500 * MS;

impl Sim {
    pub(crate) fn publish(&mut self, host: usize) {
        self.tell_ear(host);
        let owner = self.owner(host);
        if owner.world.leading && owner.warm {
            self.publish_desired(host);
        } else if !owner.latest.is_empty() || !owner.world.leading {
            self.publish_nothing(host);
        }
    }

    pub(crate) fn publish_nothing(&mut self, host: usize) {
        self.owner(host).latest.clear();
        let controller = self.hosts[host].controller.as_mut().expect("it publishes");
        controller.published.fill(None);
    }

    fn tell_ear(&mut self, host: usize) {
        let owner = self.owner(host);
        let world = &owner.world;
        let same = |name: &pan_model::HostName, known: &Known| {
            world.hosts.get(name).is_some_and(|host| known.revoked == host.roles.contains(&Role::Node).then_some(host.revoked))
        };
        let promises = world.clusters.values().filter_map(|cluster| cluster.spec.protect).map(|protect| protect.failures as usize);
        let protected = promises.max().unwrap_or(1).max(1);
        let unchanged = owner.told.0.len() == world.hosts.len() && owner.told.0.iter().all(|(name, known)| same(name, known));
        if !unchanged {
            let known = |roles: &[Role], revoked| Known { revoked: roles.contains(&Role::Node).then_some(revoked) };
            let known = world.hosts.iter().map(|(name, host)| (name.clone(), known(&host.roles, host.revoked)));
            owner.told.0 = known.collect();
            let all = owner.told.0.clone();
            self.order(host, Order::Hosts(all));
        }
        let owner = self.owner(host);
        if owner.world.leading && owner.told.1 != protected {
            owner.told.1 = protected;
            self.order(host, Order::Protected(protected));
        }
    }

    fn publish_desired(&mut self, host: usize) {
        let now = self.core_now(host);
        let owner = self.owner(host);
        let all = orders::all(&owner.world);
        owner.step += 1;
        let generation = Generation { term: owner.world.pan.term, step: owner.step };
        let mut fresh = Vec::new();
        for (name, desired) in all {
            if owner.latest.get(&name) == Some(&desired) {
                continue;
            }
            let out = Rc::new(Desired { generation, ..desired.clone() });
            published::to(&mut owner.world, owner.latest.get(&name), &desired, generation);
            owner.latest.insert(name, desired);
            fresh.push(out);
        }
        published::note(&mut owner.world, now);
        let number = self.controllers.iter().position(|at| *at == host).expect("a controller publishes");
        for desired in fresh {
            let Some(to) = self.index_of(&desired.host) else { continue };
            if !self.hosts[to].is(Role::Node) && !self.hosts[to].is(Role::Director) {
                continue;
            }
            self.check_published(host, &desired);
            if let Some(controller) = &mut self.hosts[host].controller {
                controller.published[to] = Some(desired);
            }
            for fabric in Fabric::BOTH {
                self.offer(number, to, fabric);
            }
        }
        self.check_promises(host);
    }

    /// Sends a question to the store.
    pub(crate) fn ask_store(&mut self, host: usize, number: u64, ask: Ask) {
        let life = self.hosts[host].seats[Process::Loop as usize].life;
        let takes = self.dice.within(MS / 5, 2 * MS) + self.dice.below(self.store.slow + 1);
        let gave_up = self.now + PATIENCE;
        self.post(host, Process::Loop, gave_up, Letter::Store { number, answer: Answer::InDoubt });
        if self.store.cut.contains(&host) {
            return;
        }
        let doubtful = matches!(ask, Ask::Commit { .. }) && self.dice.below(100) < self.store.doubtful;
        // Lost on its way; or applied and the answer lost; or stuck until nobody waits any more.
        let (at, answered) = match (doubtful, self.dice.below(3)) {
            (false, _) => (self.now + takes, true),
            (true, 0) => return,
            (true, 1) => (self.now + takes, false),
            (true, _) => (gave_up + self.dice.millis(1, 3000), false),
        };
        self.queue.push(at, Event::Store { host, life, number, ask: Rc::new(ask), answered });
    }

    /// A question arrives at the store.
    pub(crate) fn store_hears(&mut self, host: usize, life: u64, number: u64, ask: &Ask, answered: bool) {
        let answer = if self.store.down { Answer::Unavailable } else { self.store.apply(ask) };
        if let (Answer::Committed { .. }, Ask::Commit { writes, .. }) = (&answer, ask) {
            self.check_commit(host, writes);
            for at in 0..self.controllers.len() {
                self.pump(self.controllers[at]);
            }
        }
        let seat = &self.hosts[host].seats[Process::Loop as usize];
        if !answered {
            self.store.silent += 1;
        }
        if answered && seat.up && seat.life == life && !self.store.cut.contains(&host) {
            let takes = self.dice.within(MS / 5, 2 * MS) + self.dice.below(self.store.slow + 1);
            self.post(host, Process::Loop, self.now + takes, Letter::Store { number, answer });
        }
    }

    /// Sends a follower what it has not been sent yet.
    pub(crate) fn pump(&mut self, host: usize) {
        if self.store.down || self.store.cut.contains(&host) || !self.hosts[host].runs(Process::Loop) {
            return;
        }
        let takes = self.dice.within(MS / 5, 3 * MS) + self.dice.below(self.store.slow + 1);
        let Some(controller) = &mut self.hosts[host].controller else { return };
        let owner = &mut controller.owner;
        if owner.watch.is_none() {
            return;
        }
        let at = owner.pumped.1.max(self.now + takes);
        let batches: Vec<_> = self.store.since(owner.pumped.0).to_vec();
        owner.pumped = (self.store.revision, at);
        for batch in batches {
            self.post(host, Process::Loop, at, Letter::Followed(batch));
        }
    }
}
