//! The beat process: heartbeats out, acknowledgements in, the gate; and on a lessor the other end of that.

use crate::dice::nanos;
use crate::host::{Process, Shut};
use crate::letter::Letter;
use crate::note;
use crate::sim::{Phase, Sim};
use crate::time::MS;
use pan_member::lease::Outcome;
use pan_member::lease::relative::{Command, Driver};
use pan_member::lessor::{Effect, Heartbeat};
use pan_member::{Ack, Frame, GateState, Holder, Lessor, Load, Message, Permille, Profile, Tick};
use pan_model::host::{Fabric, Role};
use pan_model::{Admission, ByteSize};
use std::collections::VecDeque;
use std::rc::Rc;

/// The next thing that the thread does to the gate.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Write the deadline.
    Deadline { until: Tick, under: Admission },
    /// Read the clock and compute a timeout.
    Compute { until: Tick, under: Admission },
    /// Carry out a transaction.
    Apply { command: Command, under: Admission },
}

/// The process.
pub struct Beat {
    started: Tick,
    sequence: u64,
    /// Heartbeats so far.
    count: u64,
    next: Tick,
    holder: Option<Holder>,
    driver: Driver,
    steps: VecDeque<Step>,
    lessor: Option<Lessor>,
    lag: u64,
    lag_until: Tick,
}

impl Beat {
    /// The number it sends under.
    #[must_use]
    pub fn admission(&self) -> Option<Admission> {
        self.holder.as_ref().map(Holder::admission)
    }

    /// The term that a majority of lessors was seen with.
    #[must_use]
    pub fn term_floor(&self) -> Option<pan_member::Term> {
        self.holder.as_ref().map(Holder::term_floor)
    }

    /// How its lease stands.
    #[must_use]
    pub fn lease(&self, now: Tick) -> Option<pan_member::lease::State> {
        self.holder.as_ref().map(|holder| holder.state(now))
    }
}

/// The periods of a PAN that grows and shrinks all the time, which every host learns of at another moment: each beats by one for
/// fifty heartbeats, then by the next.
fn stretched(count: u64, host: usize) -> Option<std::time::Duration> {
    let periods = [None, Some(35), Some(50)];
    periods[(count as usize / 50 + host) % periods.len()].map(std::time::Duration::from_millis)
}

impl Sim {
    /// Starts the beat process of a host.
    pub(crate) fn start_beat(&mut self, host: usize) {
        let rules = self.options.rules();
        let (timing, lessors) = (self.timing, self.lessor_names.clone());
        let now = self.clock(host);
        let h = &mut self.hosts[host];
        let holder = h.is(Role::Node).then(|| Holder::with_rules(h.boot, &lessors, h.lease, rules));
        let lessor = h.lessor.as_mut().map(|disk| {
            let mut lessor = Lessor::with_rules(h.name.clone(), timing, rules);
            if std::mem::replace(&mut disk.used, true) {
                lessor.load(disk.content.clone(), now);
            } else {
                lessor.begin(now);
            }
            lessor
        });
        h.beat = Some(Beat {
            started: now,
            sequence: now.0,
            count: 0,
            next: now,
            holder,
            driver: Driver::new(h.lease),
            steps: VecDeque::new(),
            lessor,
            lag: 0,
            lag_until: now,
        });
        let at = self.now + self.dice.millis(0, 20);
        self.wake(host, Process::Beat, at);
    }

    /// Whatever is due; then sleeps until more is.
    pub(crate) fn run_beat(&mut self, host: usize) {
        if let Some(step) = self.hosts[host].beat.as_mut().and_then(|beat| beat.steps.pop_front()) {
            self.gate_step(host, step);
        } else {
            self.hear_beat(host);
        }
        let Some(beat) = &self.hosts[host].beat else { return };
        if !beat.steps.is_empty() {
            // Now and then the thread is stopped between two steps of a renewal.
            if self.phase == Phase::Storm && self.dice.one_in(2000) {
                let lasts = self.dice.millis(1, 3000);
                self.pause(host, Process::Beat, lasts);
            }
            self.wake(host, Process::Beat, self.now + 20_000);
            return;
        }
        if self.clock(host) >= beat.next {
            self.send_beats(host);
        }
        let next = self.hosts[host].beat.as_ref().map_or(Tick(0), |beat| beat.next);
        let at = self.hosts[host].clock.reaches(next);
        let arrives = self.hosts[host].seats[Process::Beat as usize].inbox.first();
        let soon = arrives.map_or(u64::MAX, |at| at.max(self.now) + 100_000);
        self.wake(host, Process::Beat, at.min(soon));
    }

    fn hear_beat(&mut self, host: usize) {
        let mut questions = Vec::new();
        while let Some((arrived, letter)) = self.hosts[host].seats[Process::Beat as usize].inbox.pop(self.now) {
            match letter {
                Letter::Beat(frame) => self.acknowledge(host, &frame, arrived),
                Letter::Ack(ack) => {
                    self.take_ack(host, &ack);
                    if self.hosts[host].beat.as_ref().is_some_and(|beat| !beat.steps.is_empty()) {
                        break;
                    }
                }
                question => questions.push(question),
            }
        }
        let now = self.clock(host);
        let mut effects = Vec::new();
        let Some(lessor) = self.hosts[host].beat.as_mut().and_then(|beat| beat.lessor.as_mut()) else { return };
        let mut done = Vec::new();
        for question in questions {
            match question {
                Letter::Message(message) => match &*message {
                    Message::Revoke(revoke) => effects.extend(lessor.revoke(revoke.clone(), now)),
                    Message::Ask(ask) => effects.extend(lessor.ask(ask.clone(), now)),
                    _ => {}
                },
                Letter::Persisted { ticket, state, written } => {
                    effects.extend(if written {
                        lessor.persisted(ticket, now)
                    } else {
                        lessor.persist_failed(ticket);
                        Vec::new()
                    });
                    done.push((state, written));
                }
                _ => {}
            }
        }
        for (state, written) in done {
            self.written(host, state, written);
        }
        for effect in effects {
            self.lessor_effect(host, effect);
        }
    }

    fn written(&mut self, host: usize, state: pan_member::lessor::Durable, written: bool) {
        let Some(disk) = self.hosts[host].lessor.as_mut() else { return };
        disk.in_flight = None;
        if written {
            if state.term > disk.content.term {
                disk.old = disk.content.clone();
            }
            disk.content = state;
        }
    }

    fn lessor_effect(&mut self, host: usize, effect: Effect) {
        match effect {
            Effect::Persist { state, ticket } => {
                let Some(disk) = self.hosts[host].lessor.as_mut() else { return };
                disk.in_flight = Some(state.clone());
                let (slow, written) = (disk.slow, !disk.full);
                let takes = self.dice.within(MS / 2, 8 * MS) + self.dice.below(slow + 1);
                self.post(host, Process::Beat, self.now + takes, Letter::Persisted { ticket, state, written });
            }
            Effect::Answer { to, message } => {
                if let Some(to) = self.index_of(&to) {
                    self.datagrams(host, to, Process::Ear, &Letter::Message(Rc::new(message)));
                }
            }
        }
    }

    fn acknowledge(&mut self, host: usize, frame: &Frame, arrived: u64) {
        let (received, now) = (self.hosts[host].clock.read(arrived), self.clock(host));
        let Some(lessor) = self.hosts[host].beat.as_mut().and_then(|beat| beat.lessor.as_mut()) else { return };
        let Some(ack) = lessor.heartbeat(&Heartbeat::of(frame, received), now) else { return };
        if let Some(to) = self.index_of(&frame.host).filter(|to| self.hosts[*to].is(Role::Node)) {
            let fabric = frame.fabric;
            self.datagram(fabric, host, to, Process::Beat, &Letter::Ack(ack));
        }
    }

    fn take_ack(&mut self, host: usize, ack: &Ack) {
        let now = self.clock(host);
        let Some(beat) = self.hosts[host].beat.as_mut() else { return };
        let Some(holder) = beat.holder.as_mut() else { return };
        let outcome = holder.ack(ack, now);
        let under = holder.admission();
        let absolute = matches!(self.hosts[host].gate.as_ref().map(|gate| &gate.shut), Some(Shut::Absolute(_)));
        match outcome {
            Outcome::Opened { until } | Outcome::Renewed { until } => {
                let Some(beat) = self.hosts[host].beat.as_mut() else { return };
                if absolute {
                    beat.steps.push_back(Step::Deadline { until, under });
                    return;
                }
                let first = beat.driver.prepare().map(|command| Step::Apply { command, under });
                beat.steps.extend(first.into_iter().chain([Step::Compute { until, under }]));
            }
            Outcome::Fenced => {
                self.tally.fenced_nodes += 1;
                note!(self, "{} is fenced as number {under}", self.hosts[host].name);
                self.apply_gate(host, Command::Shut, under);
            }
            Outcome::Counted | Outcome::Doubted | Outcome::Ignored(_) => {}
        }
    }

    fn gate_step(&mut self, host: usize, step: Step) {
        let now = self.clock(host);
        match step {
            Step::Deadline { until, under } => {
                let Some(gate) = self.hosts[host].gate.as_mut() else { return };
                if !gate.is_open(now) {
                    note!(self, "{}: the gate opens as number {under}", self.hosts[host].name);
                }
                let Some(gate) = self.hosts[host].gate.as_mut() else { return };
                gate.shut = Shut::Absolute(Some(until));
                gate.under = under;
                self.gate_written(host);
            }
            Step::Compute { until, under } => {
                let Some(beat) = self.hosts[host].beat.as_mut() else { return };
                if let Some(command) = beat.driver.grant(until, now) {
                    beat.steps.push_back(Step::Apply { command, under });
                }
            }
            Step::Apply { command, under } => self.apply_gate(host, command, under),
        }
    }

    fn apply_gate(&mut self, host: usize, command: Command, under: Admission) {
        let now = self.clock(host);
        let h = &mut self.hosts[host];
        let Some(gate) = h.gate.as_mut() else { return };
        match &mut gate.shut {
            Shut::Absolute(until) => *until = None,
            Shut::Relative(model) => {
                let result = model.apply(command, now);
                if result.is_ok() && matches!(command, Command::Open { .. } | Command::Renew { .. }) {
                    gate.under = under;
                }
                if let Some(beat) = &mut h.beat {
                    beat.driver.applied(command, result);
                }
            }
        }
        self.gate_written(host);
    }

    fn send_beats(&mut self, host: usize) {
        let (now, margin, lan) = (self.clock(host), MS, self.options.profile == Profile::Lan);
        let shortest = self.timing.period;
        let gate = self.hosts[host].gate.as_ref().map(|gate| match gate.shut {
            Shut::Absolute(_) => pan_member::profile::Gate::Absolute,
            Shut::Relative(_) => pan_member::profile::Gate::Relative,
        });
        let h = &mut self.hosts[host];
        let agent_age = now.since(h.run.alive.max(h.beat.as_ref().map_or(now, |beat| beat.started)));
        let granted = h.run.admission;
        let Some(beat) = h.beat.as_mut() else { return };
        if now >= beat.lag_until {
            (beat.lag, beat.lag_until) = (0, Tick(now.0 + 1000 * MS));
        }
        let late = now.0.saturating_sub(beat.next.0);
        beat.lag = beat.lag.max(if late > margin { late } else { 0 });
        beat.count += 1;
        let said = stretched(beat.count, host).filter(|_| lan);
        let period = nanos(said.unwrap_or(shortest));
        beat.next = Tick(beat.next.0 + period * (late / period + 1));
        beat.sequence += 1;
        let mut frame = Frame {
            host: h.name.clone(),
            roles: h.roles.iter().copied().collect(),
            fabric: Fabric::A,
            boot: h.boot,
            sequence: beat.sequence,
            admission: Admission::NONE,
            term: pan_member::Term::default(),
            agent_age,
            acknowledged: [None; 2],
            lag: std::time::Duration::from_nanos(beat.lag),
            load: Load { cpu: Permille(0), memory: ByteSize(0), pressure: None },
            lease: pan_member::LeaseState::None,
            gate: gate.map_or(GateState::None, GateState::Present),
            period: said,
            lease_length: beat.holder.is_some().then_some(h.lease),
        };
        if let Some(holder) = &mut beat.holder {
            holder.admitted(granted, now);
            frame.admission = holder.admission();
            holder.sent(frame.sequence, now);
            frame.lease = holder.state(now).on_the_wire();
            h.run.lease = (holder.admission(), holder.wants_admission(now));
        }
        for fabric in Fabric::BOTH {
            let letter = Letter::Beat(Rc::new(Frame { fabric, ..frame.clone() }));
            for at in 0..self.listeners.len() {
                let to = self.listeners[at];
                self.heartbeat(fabric, host, to, &letter);
            }
        }
    }
}
