//! One host that holds a lease, lessors, and leaders that revoke it, with clocks that run at their own speeds
//! and a network, disks and processes that do their worst.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pan_model::host::Fabric;
use pan_model::{Admission, HostName};

use super::dice::Dice;
use crate::frame::BootId;
use crate::lease::relative::{Command, Driver, Model};
use crate::lease::{Holder, Outcome};
use crate::lessor::{Durable, Effect, Heartbeat, Lessor, Ticket};
use crate::profile::{Gate, Profile, Tenure, Timing};
use crate::revocation::{Office, Revocations};
use crate::rules::Rules;
use crate::term::Term;
use crate::tick::Tick;
use crate::wire::{Ack, Message, Nonce};

const MS: u64 = 1_000_000;
const BOOT: BootId = BootId(1);
const BEAT: u64 = 20 * MS;

/// What kind of world.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) rules: Rules,
    pub(super) gate: Gate,
    /// Whether a lessor's disk may once be restored from before the last change of leader. No leader speaks to it
    /// after that, and it happens only where the host has heard of the change.
    pub(super) old_disks: bool,
    /// The profiles of the host: whenever its heartbeat process is followed by another, that has the next.
    pub(super) profiles: &'static [Profile],
}

impl Options {
    /// The length of the host's leases, after so many changes of its heartbeat process.
    fn lease(&self, follows: usize) -> Duration {
        self.profiles[follows % self.profiles.len()].timing(7).lease
    }
}

#[derive(Debug, Clone)]
enum Event {
    Beat,
    ToLessor {
        lessor: usize,
        sequence: u64,
        tenure: Tenure,
        fabric: Fabric,
        admission: Admission,
    },
    ToHolder(Ack),
    /// The process that drives the relative gate goes on.
    Compute {
        until: Tick,
    },
    Apply(Command),
    Request {
        lessor: usize,
        message: Message,
    },
    Persisted {
        lessor: usize,
        life: u64,
        ticket: Ticket,
        state: Durable,
    },
    Answer {
        leader: usize,
        message: Message,
    },
    Lead {
        leader: usize,
    },
    Start {
        lessor: usize,
    },
    Admit(Admission),
}

#[derive(Debug, Clone, Copy)]
struct Clock {
    offset: u64,
    per_mille: u64,
}

impl Clock {
    fn new(dice: &mut Dice) -> Self {
        Self { offset: dice.below(1000) * MS, per_mille: 990 + dice.below(21) }
    }

    fn read(self, now: u64) -> Tick {
        Tick(self.offset + now * self.per_mille / 1000)
    }
}

struct Site {
    core: Option<Lessor>,
    clock: Clock,
    disk: Durable,
    in_flight: Option<Durable>,
    old: Durable,
    life: u64,
}

struct Leader {
    clock: Clock,
    revocations: Revocations,
}

pub(super) struct World {
    options: Options,
    /// Of the PAN.
    timing: Timing,
    /// How often the host's heartbeat process was followed by another.
    follows: usize,
    now: u64,
    number: u64,
    queue: BTreeMap<(u64, u64), Event>,
    dice: Dice,
    clock: Clock,
    holder: Holder,
    sequence: u64,
    busy_until: u64,
    driver: Driver,
    kernel: Model,
    /// The admission that the gate was last opened or renewed under.
    opened_under: Admission,
    names: Vec<HostName>,
    sites: Vec<Site>,
    leaders: Vec<Leader>,
    /// The host's admission in the store.
    record: Admission,
    /// The highest admission that some leader was told may start elsewhere.
    gone: Admission,
    cut: BTreeSet<usize>,
    mute: BTreeSet<usize>,
    lost: Option<usize>,
    delay_max: u64,
    pub(super) deaths: usize,
    pub(super) renewals: usize,
    pub(super) problem: Option<String>,
}

fn victim() -> HostName {
    HostName::new("n1").unwrap()
}

impl World {
    pub(super) fn new(seed: u64, options: Options) -> Self {
        let mut dice = Dice::new(seed);
        let lessors = [1, 3, 3, 5][dice.below(4) as usize];
        let names: Vec<HostName> = (0..lessors).map(|number| HostName::new(format!("s{number}")).unwrap()).collect();
        let timing = Profile::Lan.timing(7).for_gate(options.gate);
        let holder = Holder::with_rules(BOOT, &names, options.lease(0), options.rules);
        let site = |dice: &mut Dice| {
            let clock = Clock::new(dice);
            Site { core: None, clock, disk: Durable::default(), in_flight: None, old: Durable::default(), life: 0 }
        };
        let mut world = Self {
            timing,
            follows: 0,
            now: 0,
            number: 0,
            queue: BTreeMap::new(),
            clock: Clock::new(&mut dice),
            holder,
            sequence: 0,
            busy_until: 0,
            driver: Driver::new(options.lease(0)),
            kernel: Model::new(options.rules),
            opened_under: Admission::NONE,
            sites: names.iter().map(|_| site(&mut dice)).collect(),
            names,
            leaders: Vec::new(),
            record: Admission::FIRST,
            gone: Admission::NONE,
            cut: BTreeSet::new(),
            mute: BTreeSet::new(),
            lost: None,
            delay_max: [2, 2, 60, 400][dice.below(4) as usize],
            deaths: 0,
            renewals: 0,
            problem: None,
            options,
            dice,
        };
        (0..world.sites.len()).for_each(|lessor| world.push(0, Event::Start { lessor }));
        world.push(0, Event::Beat);
        world.push(0, Event::Admit(Admission::FIRST));
        world.elect();
        world
    }

    /// Lives through `faults` faults.
    pub(super) fn run(mut self, faults: usize) -> Self {
        for _ in 0..faults {
            // Sometimes long enough for a lessor that was started anew to be of use again.
            let quiet = self.dice.one_in(10);
            let end = self.now + if quiet { 7000 } else { self.dice.below(400) } * MS;
            self.run_until(end);
            self.fault();
        }
        let end = self.now + 1000 * MS;
        self.run_until(end);
        self
    }

    fn push(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.queue.insert((at, self.number), event);
    }

    fn run_until(&mut self, end: u64) {
        while let Some((&(at, number), _)) = self.queue.first_key_value().filter(|((at, _), _)| *at <= end) {
            let event = self.queue.remove(&(at, number)).unwrap();
            self.now = at;
            self.happen(event);
            self.check();
        }
        self.now = end;
    }

    fn check(&mut self) {
        let now = self.clock.read(self.now);
        let open = match self.options.gate {
            Gate::Absolute => self.holder.deadline().is_some_and(|until| now < until),
            Gate::Relative => self.kernel.is_open(now),
        };
        if open && self.opened_under <= self.gone && self.problem.is_none() {
            self.problem = Some(format!("at {} ms admission {} is open and gone", self.now / MS, self.opened_under));
        }
    }

    fn happen(&mut self, event: Event) {
        let of_holder = matches!(event, Event::Beat | Event::ToHolder(_) | Event::Admit(_));
        if of_holder && self.now < self.busy_until {
            return self.push(self.busy_until, event);
        }
        match event {
            Event::Beat => self.beat(),
            Event::ToLessor { lessor, sequence, tenure, fabric, admission } => self.arrive(lessor, (sequence, tenure), fabric, admission),
            Event::ToHolder(ack) => {
                let outcome = self.holder.ack(&ack, self.clock.read(self.now));
                self.drive(outcome);
            }
            Event::Compute { until } => self.compute(until),
            Event::Apply(command) => self.apply(command),
            Event::Request { lessor, message } => self.request(lessor, message),
            Event::Persisted { lessor, life, ticket, state } => self.persisted(lessor, life, ticket, state),
            Event::Answer { leader, message } => {
                let now = self.leaders[leader].clock.read(self.now);
                self.leaders[leader].revocations.answer(&message, now);
            }
            Event::Lead { leader } => self.lead(leader),
            Event::Start { lessor } => {
                let mut core = Lessor::with_rules(self.names[lessor].clone(), self.timing, self.options.rules);
                let now = self.sites[lessor].clock.read(self.now);
                if self.sites[lessor].life == 0 {
                    core.begin(now);
                } else {
                    core.load(self.sites[lessor].disk.clone(), now);
                }
                self.sites[lessor].core = Some(core);
                self.sites[lessor].life += 1;
            }
            Event::Admit(admission) => self.holder.admitted(admission, self.clock.read(self.now)),
        }
    }

    fn delay(&mut self) -> u64 {
        let long = self.dice.one_in(4);
        self.dice.below(if long { self.delay_max } else { 2 } * MS) + 1
    }

    fn beat(&mut self) {
        self.sequence += 1;
        let tenure = Tenure { gate: self.options.gate, lease: self.options.lease(self.follows) };
        self.holder.sent(self.sequence, self.clock.read(self.now));
        for lessor in 0..self.sites.len() {
            for fabric in Fabric::BOTH {
                if !self.cut.contains(&lessor) && !self.dice.one_in(20) {
                    let (sequence, admission) = (self.sequence, self.holder.admission());
                    let at = self.now + self.delay();
                    self.push(at, Event::ToLessor { lessor, sequence, tenure, fabric, admission });
                }
            }
        }
        self.push(self.now + BEAT, Event::Beat);
    }

    fn arrive(&mut self, lessor: usize, (sequence, tenure): (u64, Tenure), fabric: Fabric, admission: Admission) {
        let site = &mut self.sites[lessor];
        let now = site.clock.read(self.now);
        let (host, boot) = (victim(), BOOT);
        let heartbeat = Heartbeat { host: &host, fabric, boot, sequence, admission, tenure, received: now };
        let Some(ack) = site.core.as_mut().and_then(|core| core.heartbeat(&heartbeat, now)) else { return };
        let at = self.now + self.delay();
        self.push(at, Event::ToHolder(ack));
    }

    fn drive(&mut self, outcome: Outcome) {
        let (Outcome::Opened { until } | Outcome::Renewed { until }) = outcome else {
            if outcome == Outcome::Fenced {
                self.driver.applied(Command::Shut, self.kernel.apply(Command::Shut, self.clock.read(self.now)));
            }
            return;
        };
        self.renewals += 1;
        if self.options.gate == Gate::Absolute {
            self.opened_under = self.holder.admission();
            return;
        }
        if let Some(arm) = self.driver.prepare() {
            self.driver.applied(arm, self.kernel.apply(arm, self.clock.read(self.now)));
        }
        self.pause(Event::Compute { until });
    }

    /// The process is stopped for a while, or not.
    fn pause(&mut self, then: Event) {
        let long = self.dice.one_in(20);
        self.busy_until = self.now + if long { self.dice.below(1500) * MS } else { 0 };
        self.push(self.busy_until, then);
    }

    fn compute(&mut self, until: Tick) {
        if let Some(command) = self.driver.grant(until, self.clock.read(self.now)) {
            self.pause(Event::Apply(command));
        }
    }

    fn apply(&mut self, command: Command) {
        let result = self.kernel.apply(command, self.clock.read(self.now));
        self.driver.applied(command, result);
        if result.is_ok() {
            self.opened_under = self.holder.admission();
        }
    }

    fn request(&mut self, lessor: usize, message: Message) {
        let site = &mut self.sites[lessor];
        let now = site.clock.read(self.now);
        let Some(core) = &mut site.core else { return };
        let effects = match message {
            Message::Revoke(revoke) => core.revoke(revoke, now),
            Message::Ask(ask) => core.ask(ask, now),
            other => panic!("a lessor is never sent {other:?}"),
        };
        self.carry_out(lessor, effects);
    }

    fn carry_out(&mut self, lessor: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist { state, ticket } => {
                    self.sites[lessor].in_flight = Some(state.clone());
                    let (life, at) = (self.sites[lessor].life, self.now + self.dice.below(30) * MS);
                    self.push(at, Event::Persisted { lessor, life, ticket, state });
                }
                Effect::Answer { to, message } => {
                    let leader = to.as_str()[1..].parse().unwrap();
                    let at = self.now + self.delay();
                    self.push(at, Event::Answer { leader, message });
                }
            }
        }
    }

    fn persisted(&mut self, lessor: usize, life: u64, ticket: Ticket, state: Durable) {
        let site = &mut self.sites[lessor];
        if site.life != life || site.core.is_none() {
            return;
        }
        if state.term > site.disk.term {
            site.old = site.disk.clone();
        }
        (site.disk, site.in_flight) = (state, None);
        let now = site.clock.read(self.now);
        let effects = site.core.as_mut().map(|core| core.persisted(ticket, now)).unwrap_or_default();
        self.carry_out(lessor, effects);
    }

    fn lead(&mut self, number: usize) {
        let leader = &mut self.leaders[number];
        let now = leader.clock.read(self.now);
        let ready = leader.revocations.start_after(&victim()).filter(|after| after.at <= now);
        if let Some(after) = ready {
            leader.revocations.end(&victim());
            self.gone = self.gone.max(after.through);
            self.deaths += 1;
            // The worst moment for a lessor to forget.
            let lessor = self.dice.below(self.sites.len() as u64) as usize;
            self.restore(lessor);
            // Only the last leader can commit; it lets the host in again, which ends what is not its own first.
            if number + 1 == self.leaders.len() && after.through == self.record {
                self.admit();
            }
        }
        for (to, message) in self.leaders[number].revocations.due(now) {
            let lessor = self.names.iter().position(|name| *name == to).unwrap();
            if !self.mute.contains(&lessor) && self.lost != Some(lessor) {
                let at = self.now + self.delay();
                self.push(at, Event::Request { lessor, message });
            }
        }
        self.push(self.now + 5 * MS, Event::Lead { leader: number });
    }

    fn admit(&mut self) {
        self.record = self.record.next();
        let at = self.now + self.dice.below(400) * MS;
        self.push(at, Event::Admit(self.record));
    }

    /// Another leader, with a clock of its own; earlier ones go on for ever.
    fn elect(&mut self) {
        let number = self.leaders.len();
        let office = Office {
            leader: HostName::new(format!("c{number}")).unwrap(),
            term: Term(number as u64 + 1),
            lessors: self.names.clone(),
            timing: self.timing,
            nonce: Nonce(self.dice.next()),
            rules: self.options.rules,
        };
        let clock = Clock::new(&mut self.dice);
        self.leaders.push(Leader { clock, revocations: Revocations::new(office) });
        self.push(self.now, Event::Lead { leader: number });
    }

    fn fault(&mut self) {
        let lessor = self.dice.below(self.sites.len() as u64) as usize;
        let leader = self.dice.below(self.leaders.len() as u64) as usize;
        let usual = if self.options.old_disks && self.leaders.len() > 1 { 16 } else { 12 };
        match self.dice.below(usual) {
            0..=2 => {
                self.leaders[leader].revocations.begin(victim(), self.record);
            }
            3 if self.leaders.len() < 4 => self.elect(),
            4 => {
                // Thought better of it: the host is let in anew, and nobody revokes the earlier admission any more.
                self.leaders.iter_mut().for_each(|leader| leader.revocations.end(&victim()));
                self.admit();
            }
            5 | 6 => self.crash(lessor),
            7 => drop(self.cut.insert(lessor)),
            8 => drop(self.mute.insert(lessor)),
            9 => self.cut.clear(),
            10 => self.mute.clear(),
            11 if self.options.profiles.len() > 1 => self.follow(),
            _ => self.restore(lessor),
        }
    }

    /// Another process goes on with the host's heartbeats, and finds another profile in the configuration.
    fn follow(&mut self) {
        self.follows += 1;
        let next = Holder::with_rules(BOOT, &self.names, self.options.lease(self.follows), self.options.rules);
        self.holder = next.resume(&self.holder.memory()).expect("of the same boot, with the same lessors");
        if self.options.gate == Gate::Relative {
            self.driver = Driver::new(self.options.lease(self.follows));
        }
    }

    fn crash(&mut self, lessor: usize) {
        let landed = self.dice.one_in(2);
        let site = &mut self.sites[lessor];
        site.core = None;
        if let Some(state) = site.in_flight.take().filter(|_| landed) {
            site.disk = state;
        }
        let at = self.now + self.dice.below(300) * MS;
        self.push(at, Event::Start { lessor });
    }

    fn restore(&mut self, lessor: usize) {
        let newest = Term(self.leaders.len() as u64);
        let site = &self.sites[lessor];
        let heard_of = self.holder.term_floor() == newest;
        if self.options.old_disks && self.lost.is_none() && heard_of && site.old.term < newest && site.core.is_some() {
            self.sites[lessor].disk = self.sites[lessor].old.clone();
            self.sites[lessor].in_flight = None;
            self.sites[lessor].core = None;
            self.lost = Some(lessor);
            self.queue.retain(|_, event| !matches!(event, Event::Request { lessor: to, .. } if *to == lessor));
            self.push(self.now + 1, Event::Start { lessor });
        }
    }
}
