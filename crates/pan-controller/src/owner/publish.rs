//! What others get to see once a round is committed: desired states for hosts, views for the API, news for the ear.

use super::{Owner, now};
use crate::core::world::Effect;
use crate::core::{orders, published};
use crate::ear::{Known, Order};
use pan_api::desired::Desired;
use pan_model::Generation;
use std::sync::{Arc, PoisonError};
use tokio::sync::watch;

impl Owner {
    pub fn publish(&mut self) {
        self.act();
        self.tell_ear();
        if self.world.leading && self.warm {
            self.publish_desired();
        } else {
            self.publish_nothing();
        }
        self.revision += 1;
        let mut view = crate::views::view(&self.world, self.revision);
        // A record that names this controller is of an earlier life of it: nothing is to be passed on to itself.
        view.leader = view.leader.filter(|(name, _)| *name != self.me);
        self.handle.view.store(Arc::new(view));
        self.handle.sure.shows(self.record);
        self.changed.send_replace(self.revision);
    }

    /// Which hosts there are, and under which numbers they take part.
    fn tell_ear(&mut self) {
        let node = |roles: &[pan_model::host::Role]| roles.contains(&pan_model::host::Role::Node);
        let known =
            self.world.hosts.iter().map(|(name, host)| (name.clone(), Known { revoked: node(&host.roles).then_some(host.revoked) }));
        let known: std::collections::BTreeMap<_, _> = known.collect();
        if known != self.told {
            self.told.clone_from(&known);
            self.ear.order(Order::Hosts(known));
        }
        let keys = (self.world.pan.keys.current, self.world.pan.keys.newest);
        if self.told_keys != Some(keys) {
            self.told_keys = Some(keys);
            self.ear.order(Order::Keys { current: keys.0, newest: keys.1 });
        }
        if self.world.leading {
            let promises = self.world.clusters.values().filter_map(|cluster| cluster.spec.protect).map(|protect| protect.failures as usize);
            self.ear.protected_failures(promises.max().unwrap_or(1).max(1));
        }
    }

    /// What is to be done besides publishing. Before it: whoever is to be fenced need not wait until thousands of hosts have their desired
    /// states.
    fn act(&mut self) {
        let term = self.world.pan.term;
        for effect in std::mem::take(&mut self.world.effects) {
            self.ear.order(match effect {
                Effect::Fence(host, through) => Order::Fence { host, through, term },
                Effect::Unfence(host) => Order::Unfence { host },
            });
        }
    }

    fn publish_desired(&mut self) {
        let all = orders::all_like(&self.world, &mut self.rosters);
        self.sealer.turn(self.world.pan.keys.current);
        let mut senders = self.handle.desires.lock().unwrap_or_else(PoisonError::into_inner);
        self.step += 1;
        // Whoever was removed is told nothing more: its stream ends.
        senders.retain(|host, _| all.contains_key(host));
        self.latest.retain(|host, _| all.contains_key(host));
        let generation = Generation { term: self.world.pan.term, step: self.step };
        for (host, mut desired) in all {
            self.sealer.complete(&mut desired);
            if self.latest.get(&host) == Some(&desired) {
                continue;
            }
            let out = Some(Arc::new(Desired { generation, ..desired.clone() }));
            match senders.get(&host) {
                Some(sender) => drop(sender.send_replace(out)),
                None => drop(senders.insert(host.clone(), watch::Sender::new(out))),
            }
            published::to(&mut self.world, self.latest.get(&host), &desired, generation);
            self.latest.insert(host, desired);
        }
        drop(senders);
        self.sealer.sweep();
        published::note(&mut self.world, now());
    }

    /// Hosts may wait here for the day this controller leads; what it said in an earlier term is not said again.
    pub(super) fn publish_nothing(&mut self) {
        let mut senders = self.handle.desires.lock().unwrap_or_else(PoisonError::into_inner);
        senders.retain(|host, _| self.world.hosts.contains_key(host));
        for host in self.world.hosts.keys() {
            if !senders.contains_key(host) {
                senders.insert(host.clone(), watch::Sender::new(None));
            }
        }
        if !self.latest.is_empty() {
            self.latest.clear();
            for sender in senders.values() {
                sender.send_replace(None);
            }
        }
    }
}
