//! The thread that keeps routes and forwarding entries. One owner for both, because the kernel is told
//! everything in order; others hold a [`Network`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use pan_api::desired::Desired;
use pan_linux::guard::Guard;
use pan_linux::overlay::{NetworkSpec, Overlay};
use pan_linux::rtnl::Rtnl;
use pan_linux::underlay::Underlay;
use pan_model::Generation;
use pan_model::host_config::HostConfig;
use pan_model::neighbours::{Limits, Room};
use tokio::sync::{oneshot, watch};

use super::NetworkError;
use super::allowed::Allowed;
use super::gated::{Checks, Gated};
use super::guarded::{Guarded, Refusals};
use super::limited::Limited;
use super::spec::{Port, Standing, repoint, underlay, wanted};
use super::standing;
use crate::error::chain;

/// Fabric interfaces go down and come back without telling us, and take their routes along; so everything
/// is compared with the kernel this often.
const AGAIN: Duration = Duration::from_secs(1);
/// Two per server that starts or stops at the same time is plenty; who finds it full waits.
const ORDERS_MAX: usize = 1024;

/// What the names of servers' ports begin with ([`crate::names::port`]). Bridges are shared with whoever else runs
/// on the host; of their ports only these are a node's.
const SERVER_PORTS: &str = "ps";

enum Order {
    Desired(Arc<Desired>),
    Standing(Standing),
    Attach(Port, oneshot::Sender<()>),
    Detach(String, oneshot::Sender<()>),
}

/// How far the kernel has been brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// The newest desired state whose routes and entries are all in force.
    pub applied: Generation,
    /// What was refused, for people.
    pub problems: Vec<String>,
    /// What is in force and may go wrong all the same, for people.
    pub warnings: Vec<String>,
    /// What servers sent and may not send.
    pub refusals: Refusals,
}

/// A handle on the thread; it ends when the last handle goes. It leaves the kernel as it is.
#[derive(Debug)]
pub(crate) struct Network {
    orders: SyncSender<Order>,
    status: watch::Receiver<Status>,
}

impl Network {
    /// Starts the thread. `ports` are those of servers that run already; no server's packet comes into or
    /// leaves this host but through the `checks` there are.
    pub(crate) fn start(config: HostConfig, ports: Vec<Port>, checks: Checks) -> Result<Arc<Self>, NetworkError> {
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let (status, seen) = watch::channel(Status::default());
        let (rtnl, listening) = (Rtnl::open()?, config.clone());
        let keeper = Keeper {
            underlay: Underlay::new(Rtnl::open()?)?,
            overlay: Overlay::owning(Rtnl::open()?, config.address, SERVER_PORTS)?.with_origins(checks.origins.clone()),
            allowed: Allowed::default(),
            limited: Limited::default(),
            guarded: Guarded::new(Guard::new(rtnl.netns(), SERVER_PORTS)?),
            rtnl,
            gated: Gated::new(checks, &config),
            config,
            desired: None,
            standing: Standing::new(),
            in_force: Vec::new(),
            ports: ports.into_iter().map(|port| (port.name.clone(), port)).collect(),
            closed: BTreeSet::new(),
            room: Room::default(),
            status,
        };
        let thread = std::thread::Builder::new().name("network".into());
        thread.spawn(move || keeper.run(&inbox)).map_err(NetworkError::Thread)?;
        let network = Arc::new(Self { orders, status: seen });
        standing::start(&listening, Arc::downgrade(&network)).map_err(NetworkError::Thread)?;
        Ok(network)
    }

    /// How far the kernel is.
    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Hands over a new desired state. Blocks while a thousand orders wait.
    pub(crate) fn desire(&self, desired: Arc<Desired>) {
        self.send(Order::Desired(desired));
    }

    /// Says which directors stand in for others at present. Blocks likewise.
    pub(crate) fn standing(&self, standing: Standing) {
        self.send(Order::Standing(standing));
    }

    /// Lets a server be reached, and waits until that was tried. Blocks.
    pub(crate) fn attach(&self, port: Port) {
        let (done, wait) = oneshot::channel();
        self.send(Order::Attach(port, done));
        let _ended = wait.blocking_recv();
    }

    /// Cuts a server off, and waits until that was tried. Blocks.
    pub(crate) fn detach(&self, port: &str) {
        let (done, wait) = oneshot::channel();
        self.send(Order::Detach(port.to_owned(), done));
        let _ended = wait.blocking_recv();
    }

    fn send(&self, order: Order) {
        if self.orders.send(order).is_err() {
            // Who watches the status learns of it too, and ends the agent.
            tracing::error!("the thread that keeps the network has ended");
        }
    }
}

struct Keeper {
    underlay: Underlay,
    overlay: Overlay,
    rtnl: Rtnl,
    gated: Gated,
    guarded: Guarded,
    allowed: Allowed,
    limited: Limited,
    config: HostConfig,
    desired: Option<Arc<Desired>>,
    /// Directors that stand in for others.
    standing: Standing,
    /// The networks as they were made last, but for who stands in.
    in_force: Vec<NetworkSpec>,
    ports: BTreeMap<String, Port>,
    closed: BTreeSet<String>,
    room: Room,
    status: watch::Sender<Status>,
}

impl Keeper {
    fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            let first = match inbox.recv_timeout(AGAIN) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // Many servers start together; all that wait are served by one pass.
            let mut waiting = Vec::new();
            for order in first.into_iter().chain(inbox.try_iter()) {
                waiting.extend(self.take(order));
            }
            let status = self.apply();
            self.status.send_if_modified(|old| {
                let changed = *old != status;
                *old = status;
                changed
            });
            for done in waiting {
                // Whoever asked may have been ended meanwhile.
                let _gone = done.send(());
            }
        }
    }

    fn take(&mut self, order: Order) -> Option<oneshot::Sender<()>> {
        match order {
            Order::Desired(desired) => {
                self.desired = Some(desired);
                None
            }
            Order::Standing(standing) => {
                self.standing = standing;
                self.repoint();
                None
            }
            Order::Attach(port, done) => {
                self.allowed.forget(&port.name);
                self.limited.forget(&port.name);
                self.ports.insert(port.name.clone(), port);
                Some(done)
            }
            Order::Detach(port, done) => {
                if self.ports.remove(&port).is_some() {
                    self.close(&port);
                    self.closed.remove(&port);
                }
                Some(done)
            }
        }
    }

    /// Ways to gateways first: clients wait for them. Whatever goes wrong here is told by the whole, which follows.
    fn repoint(&mut self) {
        let Some(desired) = &self.desired else { return };
        let mut networks = self.in_force.clone();
        repoint(&mut networks, desired, &self.standing, self.config.address);
        if let Err(error) = self.overlay.apply(&networks) {
            tracing::debug!(error = chain(&error), "ways to gateways");
        }
    }

    fn apply(&mut self) -> Status {
        let Some(desired) = self.desired.clone() else { return Status::default() };
        let mut problems = Vec::new();
        let mut wanted = wanted(&desired, &self.ports);
        wanted.closed.extend(self.guarded.ports(&self.ports, &mut wanted.networks, &mut problems));
        wanted.closed.extend(self.allowed.ports(&desired, &self.ports, &mut wanted.networks, &mut problems));
        wanted.closed.extend(self.limited.ports(&desired, &self.ports, &mut wanted.networks, &mut problems));
        wanted.closed.extend(self.gated.ports(&mut wanted.networks, &mut problems));
        // Before the bridge lets go of it: a free end that is up would talk to the host itself.
        for port in &wanted.closed {
            if self.closed.insert(port.clone()) {
                self.close(port);
            }
        }
        self.closed.retain(|port| wanted.closed.contains(port));
        if let Err(error) = self.underlay.apply(&underlay(&self.config, &desired)) {
            problems.push(chain(&error));
        }
        self.in_force.clone_from(&wanted.networks);
        repoint(&mut wanted.networks, &desired, &self.standing, self.config.address);
        match self.overlay.apply(&wanted.networks) {
            Ok(done) => problems.extend(done.missing.iter().map(|port| format!("interface {port} is not there"))),
            Err(error) => problems.push(chain(&error)),
        }
        self.gated.outputs(&wanted.networks, &mut problems);
        self.gated.inputs(&mut problems);
        let applied = if problems.is_empty() { desired.generation } else { self.status.borrow().applied };
        let refusals = self.guarded.refused(&self.ports, &mut self.allowed);
        Status { applied, problems, warnings: self.neighbours(desired.peers.iter().count()), refusals }
    }

    /// What the kernel lacks room for. That it cannot be asked is of no matter to anybody's packets.
    fn neighbours(&mut self, others: usize) -> Vec<String> {
        let fabric = self.config.fabrics.a.address.addr();
        let read = |like| self.rtnl.neighbour_limits(like).ok().flatten().map(|found| Limits { soft: found.soft, hard: found.hard });
        if let Some(news) = self.room.look(others, fabric, read) {
            tracing::warn!("{news}");
        }
        self.room.problem().into_iter().collect()
    }

    fn close(&self, port: &str) {
        if let Err(error) = self.rtnl.set_down(port) {
            tracing::debug!(error = chain(&error), port, "a port was gone before it could be closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SERVER_PORTS;
    use pan_model::ServerKey;

    #[test]
    fn the_ports_of_servers_are_a_nodes() {
        let key = ServerKey { partition: "demo".parse().unwrap(), name: "web-1".parse().unwrap() };
        assert!(crate::names::port(&key).starts_with(SERVER_PORTS));
    }
}
