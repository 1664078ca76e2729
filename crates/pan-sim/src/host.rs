//! A simulated machine: its clock, its processes, what its kernel holds, what is on its disk.

use crate::beat::Beat;
use crate::controller::Controller;
use crate::director::Director;
use crate::letter::Letter;
use crate::node::Agent;
use crate::time::{Clock, Queue};
use pan_api::desired::Desired;
use pan_member::lease::relative::Model;
use pan_member::lessor::Durable;
use pan_member::profile::Gate;
use pan_member::{BootId, Tick};
use pan_model::host::Role;
use pan_model::{Admission, Epoch, Generation, HostName, Mac, ServerKey};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Processes of a host. The ear and the loop are two threads of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    Beat,
    Agent,
    Ear,
    Loop,
}

impl Process {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Beat, Self::Agent, Self::Ear, Self::Loop];
}

/// One process's standing with the scheduler.
pub struct Seat {
    /// Which life of it this is.
    pub life: u64,
    pub up: bool,
    /// It does not run before.
    pub paused_until: u64,
    /// When it is to run next; never, if that is the end of time.
    pub wake_at: u64,
    pub inbox: Queue<Letter>,
}

impl Seat {
    fn new() -> Self {
        Self { life: 0, up: false, paused_until: 0, wake_at: u64::MAX, inbox: Queue::default() }
    }
}

/// A server's process as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    pub epoch: Epoch,
    pub incarnation: u64,
    /// True time of its start.
    pub since: u64,
}

/// Who may have an address, as a host's forwarding table says.
#[derive(Debug, Clone, Default)]
pub struct Map {
    pub generation: Generation,
    pub entries: BTreeMap<Mac, (HostName, Epoch)>,
    /// The highest epoch that it ever had of each address.
    pub known: BTreeMap<Mac, Epoch>,
}

/// The kernel's gate on a node.
#[derive(Debug, Clone)]
pub enum Shut {
    /// A deadline on the boot clock.
    Absolute(Option<Tick>),
    /// A set element with a timeout.
    Relative(Model),
}

/// The gate and under which number it was opened last.
#[derive(Debug, Clone)]
pub struct KernelGate {
    pub shut: Shut,
    pub under: Admission,
}

impl KernelGate {
    /// A gate that was never opened.
    #[must_use]
    pub fn new(kind: Gate, rules: pan_member::Rules) -> Self {
        let shut = match kind {
            Gate::Absolute => Shut::Absolute(None),
            Gate::Relative => Shut::Relative(Model::new(rules)),
        };
        Self { shut, under: Admission::NONE }
    }

    /// Whether packets pass at `now`.
    #[must_use]
    pub fn is_open(&self, now: Tick) -> bool {
        match &self.shut {
            Shut::Absolute(until) => until.is_some_and(|until| now < until),
            Shut::Relative(model) => model.is_open(now),
        }
    }
}

/// What a reboot empties.
#[derive(Debug, Default)]
pub struct RunDir {
    /// The number that the agent lets the beat process use.
    pub admission: Admission,
    /// What the beat process says of its lease: its number, and whether it wants another.
    pub lease: (Admission, bool),
    /// The newest desired state.
    pub desired: Option<Rc<Desired>>,
    /// The agent's last sign of life.
    pub alive: Tick,
}

/// A machine.
pub struct Host {
    pub name: HostName,
    pub roles: Vec<Role>,
    pub clock: Clock,
    pub up: bool,
    /// The whole machine stands still until then.
    pub frozen_until: u64,
    pub seats: [Seat; 4],
    pub boot: BootId,
    pub run: RunDir,
    pub gate: Option<KernelGate>,
    /// How long its leases last, on a node: by its own profile.
    pub lease: Duration,
    pub instances: BTreeMap<ServerKey, Instance>,
    pub map: Map,
    /// A map that is being applied, and when that is done.
    pub map_next: Option<Rc<Desired>>,
    pub slow_map: u64,
    pub lessor: Option<LessorDisk>,
    pub beat: Option<Beat>,
    pub agent: Option<Agent>,
    pub director: Option<Director>,
    pub controller: Option<Controller>,
}

/// What a lessor has on its disk, and how that disk is.
#[derive(Debug, Default)]
pub struct LessorDisk {
    /// It says that this host is a lessor.
    pub used: bool,
    pub content: Durable,
    /// What is being written.
    pub in_flight: Option<Durable>,
    /// From before the last change of leader.
    pub old: Durable,
    /// The true content while an old copy is in place.
    pub aside: Option<Durable>,
    pub slow: u64,
    pub full: bool,
}

impl Host {
    /// A machine that is off.
    #[must_use]
    pub fn new(name: HostName, roles: Vec<Role>, clock: Clock) -> Self {
        Self {
            name,
            roles,
            clock,
            up: false,
            frozen_until: 0,
            seats: [Seat::new(), Seat::new(), Seat::new(), Seat::new()],
            boot: BootId(0),
            run: RunDir::default(),
            gate: None,
            lease: Duration::ZERO,
            instances: BTreeMap::new(),
            map: Map::default(),
            map_next: None,
            slow_map: 0,
            lessor: None,
            beat: None,
            agent: None,
            director: None,
            controller: None,
        }
    }

    /// Whether it has a role.
    #[must_use]
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether its servers' packets pass at a point of true time.
    #[must_use]
    pub fn sends(&self, now: u64) -> bool {
        self.up && self.gate.as_ref().is_some_and(|gate| gate.is_open(self.clock.read(now)))
    }

    /// Whether a process runs.
    #[must_use]
    pub fn runs(&self, process: Process) -> bool {
        self.seats[process as usize].up
    }
}
