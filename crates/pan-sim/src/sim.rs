//! One run: everything there is, and what happens next.

use crate::check::Book;
use crate::dice::Dice;
use crate::fault::Undo;
use crate::host::{Host, KernelGate, LessorDisk, Process, RunDir};
use crate::letter::Letter;
use crate::network::Network;
use crate::options::Options;
use crate::report::{Outcome, Tally, Violation};
use crate::store::{Ask, Store};
use crate::time::{Clock, MS, Queue, SECOND};
use crate::user::User;
use pan_api::report::{Hello, Offer};
use pan_member::profile::Timing;
use pan_member::{BootId, Tick};
use pan_model::host::{Fabric, Role};
use pan_model::{ByteSize, Cpu, HostName};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A run that is not over by then never ends.
const END: u64 = 400 * SECOND;

/// Writes a line of the log, if one is kept.
#[macro_export]
macro_rules! note {
    ($sim:expr, $($text:tt)*) => {
        if $sim.log.is_some() {
            let text = format!($($text)*);
            $sim.write(&text);
        }
    };
}

/// Something that is to happen.
#[derive(Debug)]
pub enum Event {
    Wake {
        host: usize,
        process: Process,
    },
    Store {
        host: usize,
        life: u64,
        number: u64,
        ask: Rc<Ask>,
        answered: bool,
    },
    User,
    /// The next fault of the storm.
    Fault,
    FaultEnds {
        number: u64,
    },
    /// Time to look how far the run is.
    Look,
    /// A process that was drawn to stand still, in the calm part.
    Stall {
        host: usize,
        lasts: u64,
    },
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Hosts start, and the user applies a document.
    Boot,
    /// Small faults that must move nothing.
    Calm,
    /// After them.
    Settle,
    /// All faults.
    Storm,
    /// Everything is repaired and must come to rest.
    Heal,
    /// One node dies, and nothing else.
    Proof,
    /// It is back.
    Rest,
    Over,
}

/// A run.
pub struct Sim {
    pub(crate) options: Options,
    pub(crate) seed: u64,
    pub(crate) now: u64,
    pub(crate) queue: Queue<Event>,
    pub(crate) dice: Dice,
    pub(crate) timing: Timing,
    pub(crate) hosts: Vec<Host>,
    pub(crate) names: BTreeMap<HostName, usize>,
    pub(crate) controllers: Vec<usize>,
    pub(crate) lessors: Vec<usize>,
    pub(crate) lessor_names: Vec<HostName>,
    /// Hosts that hear heartbeats.
    pub(crate) listeners: Vec<usize>,
    pub(crate) hellos: Vec<Rc<Hello>>,
    pub(crate) net: Network,
    pub(crate) store: Store,
    pub(crate) user: User,
    pub(crate) active: BTreeMap<u64, Undo>,
    pub(crate) fault_number: u64,
    pub(crate) phase: Phase,
    pub(crate) phase_until: u64,
    pub(crate) victim: Option<usize>,
    /// How many failovers there were once everything of the victim runs elsewhere.
    pub(crate) failovers_due: u64,
    pub(crate) book: Book,
    /// Instances or maps have changed.
    pub(crate) doubts: bool,
    pub(crate) tally: Tally,
    pub(crate) violation: Option<Violation>,
    pub(crate) log: Option<String>,
}

fn roles(options: &Options) -> Vec<(String, Vec<Role>)> {
    let of = |letter: char, count: usize, role: Role| (1..=count).map(move |number| (format!("{letter}{number}"), vec![role]));
    let controllers = of('c', options.controllers, Role::Controller);
    let rest = of('d', 2, Role::Director).chain(of('n', options.nodes, Role::Node)).chain(of('s', 2, Role::Storage));
    controllers.chain(rest).collect()
}

fn hello(number: usize, host: &Host) -> Hello {
    let address = |net: u8| format!("10.{net}.0.{}", number + 1).parse().expect("an address");
    let offer = Offer { cpu: Cpu(4000), memory: ByteSize(4 << 30), labels: BTreeMap::new() };
    Hello {
        version: pan_api::WIRE_VERSION,
        host: host.name.clone(),
        roles: host.roles.clone(),
        software: "sim".into(),
        address: address(200),
        a: address(201),
        b: address(202),
        node: host.is(Role::Node).then_some(offer),
        storage: None,
    }
}

impl Sim {
    /// A run of `seed`, with a log if wanted.
    #[must_use]
    pub fn new(seed: u64, mutant: Option<crate::Mutant>, log: Option<String>) -> Self {
        let mut dice = Dice::new(seed);
        let options = Options::draw(&mut dice, mutant);
        let rules = options.rules();
        let named = |name: String| HostName::new(name).expect("a name");
        let mut hosts: Vec<Host> =
            roles(&options).into_iter().map(|(name, roles)| Host::new(named(name), roles, Clock::draw(&mut dice, options.drift))).collect();
        let names: BTreeMap<_, _> = hosts.iter().enumerate().map(|(at, host)| (host.name.clone(), at)).collect();
        let wanted: &[&str] = if options.lessors == 3 { &["c1", "s1", "d1"] } else { &["c1", "s1", "s2", "d1", "d2"] };
        let lessors: Vec<usize> = wanted.iter().map(|name| names[&named((*name).to_owned())]).collect();
        let nodes = hosts.iter_mut().filter(|host| host.is(Role::Node));
        for (host, (kind, profile)) in nodes.zip(options.gates.iter().zip(&options.profiles)) {
            (host.gate, host.lease) = (Some(KernelGate::new(*kind, rules)), profile.timing(1).lease);
        }
        for at in &lessors {
            hosts[*at].lessor = Some(LessorDisk::default());
        }
        let hears = |at: &usize| lessors.contains(at) || hosts[*at].is(Role::Controller) || hosts[*at].is(Role::Director);
        let with = |role| (0..hosts.len()).filter(|at| hosts[*at].is(role)).collect::<Vec<_>>();
        Self {
            seed,
            now: 0,
            queue: Queue::default(),
            timing: options.profile.timing(hosts.len()),
            controllers: with(Role::Controller),
            listeners: (0..hosts.len()).filter(hears).collect(),
            lessor_names: lessors.iter().map(|at| hosts[*at].name.clone()).collect(),
            hellos: hosts.iter().enumerate().map(|(number, host)| Rc::new(hello(number, host))).collect(),
            net: Network::new(hosts.len(), options.loss),
            lessors,
            names,
            store: Store::default(),
            user: User::default(),
            active: BTreeMap::new(),
            fault_number: 0,
            phase: Phase::Boot,
            phase_until: 30 * SECOND,
            victim: None,
            failovers_due: 0,
            book: Book::new(hosts.len()),
            doubts: false,
            tally: Tally::new(&options),
            violation: None,
            log,
            dice,
            hosts,
            options,
        }
    }

    /// Runs to the end, or to the first violation.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        note!(self, "seed {}: {:?}", self.seed, self.options);
        for host in 0..self.hosts.len() {
            self.power_on(host);
        }
        self.queue.push(300 * MS, Event::User);
        self.queue.push(100 * MS, Event::Look);
        while self.phase != Phase::Over && self.violation.is_none() {
            let Some((at, event)) = self.queue.pop(END) else {
                self.violation("I8", "the run does not end".into());
                break;
            };
            self.now = at;
            self.tally.events += 1;
            self.happen(event);
            self.check();
        }
        self.tally.seconds = self.now / SECOND;
        note!(self, "end: {}", self.violation.as_ref().map_or("all held".to_owned(), ToString::to_string));
        Outcome { seed: self.seed, violation: self.violation, tally: self.tally, log: self.log.unwrap_or_default() }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake { host, process } => self.woken(host, process),
            Event::Store { host, life, number, ask, answered } => self.store_hears(host, life, number, &ask, answered),
            Event::User => self.user_step(),
            Event::Fault => self.storm(),
            Event::FaultEnds { number } => self.fault_ends(number),
            Event::Look => self.look(),
            Event::Stall { host, lasts } => self.stall(host, lasts),
        }
    }

    fn woken(&mut self, host: usize, process: Process) {
        let seat = &mut self.hosts[host].seats[process as usize];
        if seat.wake_at != self.now || !seat.up {
            return;
        }
        seat.wake_at = u64::MAX;
        if seat.paused_until > self.now {
            let at = seat.paused_until;
            self.wake(host, process, at);
            return;
        }
        match process {
            Process::Beat => self.run_beat(host),
            Process::Agent => self.run_agent(host),
            Process::Ear => self.run_ear(host),
            Process::Loop => self.run_loop(host),
        }
    }

    /// A process is to run at `at`, at the latest.
    pub(crate) fn wake(&mut self, host: usize, process: Process, at: u64) {
        let seat = &mut self.hosts[host].seats[process as usize];
        let at = at.max(self.now + 1);
        if seat.up && at < seat.wake_at {
            seat.wake_at = at;
            self.queue.push(at, Event::Wake { host, process });
        }
    }

    /// Something arrives at a process, which looks at it soon.
    pub(crate) fn post(&mut self, host: usize, process: Process, at: u64, letter: Letter) {
        let slack = match (&letter, process) {
            (Letter::Beat(_), Process::Agent) => u64::MAX,
            (Letter::Beat(_), Process::Ear) => self.options.slack,
            (Letter::Beat(_), _) => self.options.slack / 4,
            _ => 20_000,
        };
        let seat = &mut self.hosts[host].seats[process as usize];
        if seat.up {
            seat.inbox.push(at, letter);
            self.wake(host, process, at.saturating_add(slack));
        }
    }

    /// Sends a datagram.
    pub(crate) fn datagram(&mut self, fabric: Fabric, from: usize, to: usize, process: Process, letter: &Letter) {
        for takes in self.net.send(&mut self.dice, fabric, from, to).into_iter().flatten() {
            if let Some(at) = self.arrives(to, takes) {
                self.post(to, process, at, letter.clone());
            }
        }
    }

    /// Sends one over both fabrics.
    pub(crate) fn datagrams(&mut self, from: usize, to: usize, process: Process, letter: &Letter) {
        for fabric in Fabric::BOTH {
            self.datagram(fabric, from, to, process, letter);
        }
    }

    /// Sends a heartbeat, to every process of a host that hears heartbeats.
    pub(crate) fn heartbeat(&mut self, fabric: Fabric, from: usize, to: usize, letter: &Letter) {
        for takes in self.net.send(&mut self.dice, fabric, from, to).into_iter().flatten() {
            let Some(at) = self.arrives(to, takes) else { continue };
            if self.hosts[to].lessor.is_some() {
                self.post(to, Process::Beat, at, letter.clone());
            }
            if self.hosts[to].is(Role::Controller) {
                self.post(to, Process::Ear, at, letter.clone());
            }
            if self.hosts[to].is(Role::Director) {
                self.post(to, Process::Agent, at, letter.clone());
            }
        }
    }

    /// When a datagram is received; a machine that stands still keeps few.
    fn arrives(&mut self, to: usize, takes: u64) -> Option<u64> {
        let (at, frozen_until) = (self.now + takes, self.hosts[to].frozen_until);
        if at >= frozen_until {
            return Some(at);
        }
        self.dice.one_in(8).then_some(frozen_until)
    }

    /// How long a message of a stream takes now, if there is a way.
    pub(crate) fn reach(&mut self, from: usize, to: usize) -> Option<u64> {
        let open = Fabric::BOTH.iter().any(|fabric| self.net.joins(*fabric, from, to));
        let up = self.hosts[to].up && !self.is_frozen(to);
        (open && up).then(|| self.net.stream(&mut self.dice, from, to))
    }

    pub(crate) fn clock(&self, host: usize) -> Tick {
        self.hosts[host].clock.read(self.now)
    }

    pub(crate) fn index_of(&self, name: &HostName) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub(crate) fn is_frozen(&self, host: usize) -> bool {
        self.hosts[host].frozen_until > self.now
    }

    fn processes(&self, host: usize) -> Vec<Process> {
        let count = if self.hosts[host].is(Role::Controller) { 3 } else { 2 };
        Process::ALL[..count].to_vec()
    }

    pub(crate) fn power_on(&mut self, host: usize) {
        if self.hosts[host].up {
            return;
        }
        let boot = BootId(self.dice.roll());
        let h = &mut self.hosts[host];
        (h.up, h.boot, h.run) = (true, boot, RunDir::default());
        for process in self.processes(host) {
            self.start(host, process);
        }
    }

    /// Says whether it was on.
    pub(crate) fn power_off(&mut self, host: usize) -> bool {
        if !self.hosts[host].up {
            return false;
        }
        note!(self, "{} loses power", self.hosts[host].name);
        for process in self.processes(host) {
            self.kill(host, process);
        }
        let rules = self.options.rules();
        let h = &mut self.hosts[host];
        (h.up, h.frozen_until) = (false, 0);
        h.instances.clear();
        h.map = crate::host::Map::default();
        h.map_next = None;
        if let Some(gate) = &mut h.gate {
            let kind = match gate.shut {
                crate::host::Shut::Absolute(_) => pan_member::profile::Gate::Absolute,
                crate::host::Shut::Relative(_) => pan_member::profile::Gate::Relative,
            };
            *gate = KernelGate::new(kind, rules);
        }
        self.doubts = true;
        true
    }

    pub(crate) fn freeze(&mut self, host: usize, lasts: u64) {
        let until = self.now + lasts;
        let h = &mut self.hosts[host];
        h.frozen_until = h.frozen_until.max(until);
        for seat in &mut h.seats {
            seat.paused_until = seat.paused_until.max(until);
        }
    }

    pub(crate) fn pause(&mut self, host: usize, process: Process, lasts: u64) {
        let until = self.now + lasts;
        for part in parts(process) {
            let seat = &mut self.hosts[host].seats[*part as usize];
            seat.paused_until = seat.paused_until.max(until);
        }
    }

    /// A controller's process that stands still goes on at `at`.
    pub(crate) fn end_pause(&mut self, host: usize, at: u64) {
        for process in [Process::Ear, Process::Loop] {
            let seat = &mut self.hosts[host].seats[process as usize];
            if seat.paused_until > at {
                seat.paused_until = at;
                self.wake(host, process, at);
            }
        }
    }

    /// Ends a process. Says whether it ran.
    pub(crate) fn kill(&mut self, host: usize, process: Process) -> bool {
        if !self.hosts[host].runs(process) {
            return false;
        }
        let landed = self.dice.one_in(2);
        let h = &mut self.hosts[host];
        for part in parts(process) {
            let seat = &mut h.seats[*part as usize];
            (seat.up, seat.wake_at) = (false, u64::MAX);
            seat.inbox.clear();
        }
        match process {
            Process::Beat => {
                h.beat = None;
                if let Some(disk) = &mut h.lessor
                    && let Some(state) = disk.in_flight.take()
                    && landed
                    && !disk.full
                {
                    disk.content = state;
                }
            }
            Process::Agent => (h.agent, h.director) = (None, None),
            Process::Ear | Process::Loop => h.controller = None,
        }
        true
    }

    /// Starts a process of a machine that is on.
    pub(crate) fn start(&mut self, host: usize, process: Process) {
        if !self.hosts[host].up || self.hosts[host].runs(process) {
            return;
        }
        for part in parts(process) {
            let seat = &mut self.hosts[host].seats[*part as usize];
            (seat.up, seat.life, seat.wake_at) = (true, seat.life + 1, u64::MAX);
        }
        match process {
            Process::Beat => {
                self.start_beat(host);
                if self.hosts[host].is(Role::Node) {
                    self.repair_disks();
                }
            }
            Process::Agent => self.start_agent(host),
            Process::Ear | Process::Loop => self.start_controller(host),
        }
    }

    pub(crate) fn violation(&mut self, checker: &'static str, text: String) {
        note!(self, "VIOLATION of {checker}: {text}");
        let at = self.now;
        self.violation.get_or_insert(Violation { checker, at, text });
    }

    pub(crate) fn write(&mut self, text: &str) {
        let (now, log) = (self.now, self.log.as_mut());
        if let Some(log) = log {
            log.push_str(&format!("{:>4}.{:06} {text}\n", now / SECOND, now / 1000 % 1_000_000));
        }
    }
}

/// What ends and stands still together.
const fn parts(process: Process) -> &'static [Process] {
    match process {
        Process::Beat => &[Process::Beat],
        Process::Agent => &[Process::Agent],
        Process::Ear | Process::Loop => &[Process::Ear, Process::Loop],
    }
}
