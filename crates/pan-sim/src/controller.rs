//! A controller's process: the ear and the loop around the real core, and what it has published.

use crate::ear::Ear;
use crate::host::Process;
use crate::owner::Owner;
use crate::sim::Sim;
use pan_api::desired::Desired;
use std::rc::Rc;

/// The process.
pub struct Controller {
    pub(crate) ear: Ear,
    pub(crate) owner: Owner,
    /// The desired state of each host, for streams.
    pub(crate) published: Vec<Option<Rc<Desired>>>,
}

impl Controller {
    /// Whether it decides, as far as it knows.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.owner.world.leading
    }
}

impl Sim {
    /// Starts the process, which knows nothing but its configuration.
    pub(crate) fn start_controller(&mut self, host: usize) {
        let instance = self.dice.roll();
        let ear = self.new_ear(host, instance);
        let owner = Owner::new(instance, self.clock(host));
        self.hosts[host].controller = Some(Controller { ear, owner, published: vec![None; self.hosts.len()] });
        self.reload(host);
        let at = self.now + self.dice.millis(1, 50);
        self.wake(host, Process::Ear, at);
        self.wake(host, Process::Loop, at);
    }

    /// The loop or anybody else says something to the ear, which hears it at once.
    pub(crate) fn order(&mut self, host: usize, order: crate::letter::Order) {
        let at = self.now + 20_000;
        self.post(host, Process::Ear, at, crate::letter::Letter::Order(order));
        self.wake(host, Process::Ear, at);
    }
}
