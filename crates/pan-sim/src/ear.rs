//! The ear of a controller: orders are obeyed, everything that arrived is heard, then hosts are judged.

use crate::host::Process;
use crate::letter::{Letter, Order};
use crate::mutant::Mutant;
use crate::note;
use crate::sim::Sim;
use crate::time::MS;
use pan_controller::core::hosts::LifeChange;
use pan_controller::ear::{Fencing, Known, Leases, Outbox, speaks_for_the_dead, translate};
use pan_member::leadership::Effect;
use pan_member::{Beat, BootId, Campaign, Candidate, Change, Detector, Frame, Message, Nonce, Settings, Tick};
use pan_model::HostName;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Longest sleep.
const SLEEP_MAX: u64 = 20 * MS;
/// The same while the loop has no room for what it is to be told.
const SLEEP_FULL: u64 = 2 * MS;
/// A host may take this long to be heard after a controller took over.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// The thread.
pub struct Ear {
    detector: Detector,
    campaign: Campaign,
    fencing: Fencing,
    leases: Leases,
    known: BTreeMap<HostName, Known>,
    changes: Vec<LifeChange>,
    out: Outbox<Letter>,
    /// Messages that went to the loop.
    told: u64,
}

impl Ear {
    fn next_deadline(&self) -> Tick {
        let own = self.detector.next_deadline().min(self.campaign.next_deadline());
        self.fencing.next_deadline().map_or(own, |fencing| own.min(fencing))
    }
}

impl Sim {
    pub(crate) fn new_ear(&mut self, host: usize, instance: u64) -> Ear {
        let (now, rules, timing) = (self.clock(host), self.options.rules(), self.timing);
        let me = self.hosts[host].name.clone();
        let candidate = Candidate {
            me: me.clone(),
            instance: BootId(instance),
            controllers: self.controllers.iter().map(|at| self.hosts[*at].name.clone()).collect(),
            timing,
            nonce: Nonce(self.dice.roll()),
            rules,
        };
        let settings = Settings { timing, grace: GRACE, protected_failures: 1 };
        Ear {
            detector: Detector::with_rules(settings, now, rules).on(me.clone()),
            campaign: Campaign::new(candidate, now),
            fencing: Fencing::new(me, self.lessor_names.clone(), timing, Nonce(self.dice.roll())).keeping(rules),
            leases: Leases::new(timing.lease),
            known: BTreeMap::new(),
            changes: Vec::new(),
            out: Outbox::thinned_from(self.options.crowd),
            told: 0,
        }
    }

    /// One round of the thread.
    pub(crate) fn run_ear(&mut self, host: usize) {
        let mut heard = Vec::new();
        while let Some((at, letter)) = self.hosts[host].seats[Process::Ear as usize].inbox.pop(self.now) {
            match letter {
                Letter::Order(order) => self.obey(host, order),
                other => heard.push((at, other)),
            }
        }
        for (at, letter) in heard {
            match letter {
                Letter::Beat(frame) => self.ear_hears(host, &frame, at),
                Letter::Message(message) => self.ear_message(host, &message),
                _ => {}
            }
        }
        self.judge(host);
        let Some(controller) = &mut self.hosts[host].controller else { return };
        let changes = std::mem::take(&mut controller.ear.changes);
        if !changes.is_empty() {
            self.heard_changes(host, &changes);
        }
        let held = self.tell(host, changes);
        let Some(controller) = &self.hosts[host].controller else { return };
        let due = self.hosts[host].clock.reaches(controller.ear.next_deadline());
        let arrives = self.hosts[host].seats[Process::Ear as usize].inbox.first();
        let hears = arrives.map_or(u64::MAX, |at| at.max(self.now) + self.options.slack);
        self.wake(host, Process::Ear, due.min(hears).min(self.now + if held { SLEEP_FULL } else { SLEEP_MAX }).max(self.now + 20_000));
    }

    /// As much as the loop has room for; it is never waited for. Says whether some is left.
    fn tell(&mut self, host: usize, changes: Vec<LifeChange>) -> bool {
        let (now, room) = (self.clock(host), self.options.room);
        let Some(controller) = &mut self.hosts[host].controller else { return false };
        let ear = &mut controller.ear;
        ear.out.life(changes, now);
        let mut letters = Vec::new();
        while ear.told - controller.owner.heard_so_far < room
            && let Some(letter) = ear.out.pop()
        {
            ear.told += 1;
            letters.push(letter);
        }
        let held = !ear.out.is_empty();
        self.tally.held += u64::from(held);
        for letter in letters {
            self.post(host, Process::Loop, self.now + 10_000, letter);
        }
        held
    }

    fn obey(&mut self, host: usize, order: Order) {
        let now = self.clock(host);
        let Some(controller) = &mut self.hosts[host].controller else { return };
        let ear = &mut controller.ear;
        let effects = match order {
            Order::Hosts(known) => {
                for host in known.keys().filter(|host| !ear.known.contains_key(*host)) {
                    ear.detector.add_host(host.clone(), now);
                }
                for host in ear.known.keys().filter(|host| !known.contains_key(*host)) {
                    ear.detector.remove_host(host);
                }
                ear.known = known;
                return;
            }
            Order::Fence { host, through, term } => return ear.changes.extend(ear.fencing.begin(host, through, term)),
            Order::Unfence(host) => return ear.fencing.end(&host),
            Order::Protected(failures) => return ear.detector.set_protected_failures(failures),
            Order::Stored => return ear.campaign.store_reached(now),
            Order::Record(record) => ear.campaign.observed(record, now),
            Order::Taken(taken) => ear.campaign.taken(taken, now),
            Order::Resigned => ear.campaign.commit_refused(now),
        };
        self.lead_or_follow(host, effects);
    }

    fn ear_hears(&mut self, host: usize, frame: &Frame, arrived: u64) {
        let received = self.hosts[host].clock.read(arrived);
        let Some(controller) = &mut self.hosts[host].controller else { return };
        let ear = &mut controller.ear;
        if ear.known.get(&frame.host).is_some_and(|known| speaks_for_the_dead(known, frame.admission)) {
            return;
        }
        let before = ear.detector.counters();
        let changes = ear.detector.on_beat(&Beat::of(frame, received));
        ear.changes.extend(changes.into_iter().filter_map(|change| translate(change, received)));
        if ear.detector.counters() == before {
            ear.changes.extend(ear.leases.heard(frame));
        }
    }

    fn ear_message(&mut self, host: usize, message: &Message) {
        let now = self.clock(host);
        let Some(controller) = &mut self.hosts[host].controller else { return };
        let ear = &mut controller.ear;
        let effects = match message {
            Message::PreVoteAsk(ask) => {
                let say = Letter::Message(Rc::new(Message::PreVoteSay(ear.campaign.asked(ask, now))));
                if let Some(to) = self.index_of(&ask.candidate) {
                    self.datagrams(host, to, Process::Ear, &say);
                }
                return;
            }
            Message::PreVoteSay(say) => ear.campaign.said(say),
            Message::LeaderBeat(beat) => ear.campaign.beat(beat, now),
            Message::Revoked(_) | Message::Refused(_) | Message::Heard(_) => {
                let heard = ear.fencing.answer(message, now);
                if let Some(silent) = heard.confirmed {
                    let deaths = ear.detector.confirm(&silent, now);
                    ear.changes.extend(deaths.into_iter().filter_map(|change| translate(change, now)));
                }
                let mut effects = heard.deposed.map(|term| ear.campaign.later_term(term, now)).unwrap_or_default();
                if heard.forgotten.is_some() {
                    effects.extend(ear.campaign.forgotten(now));
                }
                effects
            }
            Message::Revoke(_) | Message::Ask(_) => return,
        };
        self.lead_or_follow(host, effects);
    }

    fn judge(&mut self, host: usize) {
        let (now, random) = (self.clock(host), self.dice.roll());
        let early = self.options.is(Mutant::SuspicionIsDeath);
        let Some(controller) = &mut self.hosts[host].controller else { return };
        let ear = &mut controller.ear;
        let due = ear.detector.is_due(now);
        let judged = if due { ear.detector.tick(now) } else { Vec::new() };
        for change in judged {
            if let Change::Suspect { host, silent_for } = &change
                && early
            {
                let micros = i64::try_from(silent_for.as_micros()).unwrap_or(i64::MAX);
                ear.changes.push(LifeChange::Dead(host.clone(), micros));
                continue;
            }
            ear.changes.extend(translate(change, now));
        }
        let mut effects = ear.campaign.tick(now, random);
        if ear.detector.is_deaf() {
            effects.extend(ear.campaign.deaf(now));
        }
        self.lead_or_follow(host, effects);
        let Some(controller) = &mut self.hosts[host].controller else { return };
        let ear = &mut controller.ear;
        ear.fencing.held(&ear.detector.held(now));
        let due = ear.fencing.due(now);
        let over = ear.fencing.over(now);
        ear.changes.extend(over);
        for (lessor, message) in due {
            if let Some(to) = self.index_of(&lessor) {
                self.datagrams(host, to, Process::Beat, &Letter::Message(Rc::new(message)));
            }
        }
    }

    fn lead_or_follow(&mut self, host: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ReadRecord if self.hosts[host].controller.as_ref().is_some_and(|controller| controller.ear.campaign.leads()) => {
                    self.tell_loop(host, Letter::ReadRecord { by_the_loop: true });
                }
                // Whoever reads it is beside the loop.
                Effect::ReadRecord => self.post(host, Process::Loop, self.now + 10_000, Letter::ReadRecord { by_the_loop: false }),
                Effect::AskPreVotes(ask) => self.tell_controllers(host, Message::PreVoteAsk(ask)),
                Effect::TakeRecord { expected, term } => {
                    let expected = expected.map_or(0, |revision| revision.0);
                    self.tell_loop(host, Letter::Take { expected, term: term.0 });
                }
                Effect::Beat(beat) => self.tell_controllers(host, Message::LeaderBeat(beat)),
                Effect::Lead { term, .. } => {
                    if let Some(controller) = &mut self.hosts[host].controller {
                        controller.ear.fencing.lead(term);
                    }
                    self.tell_loop(host, Letter::Lead { term: term.0 });
                }
                Effect::StepDown(reason) => {
                    note!(self, "{} steps down: {reason:?}", self.hosts[host].name);
                    if let Some(controller) = &mut self.hosts[host].controller {
                        controller.ear.fencing.resign();
                    }
                    self.tell_loop(host, Letter::StepDown);
                }
                Effect::Resume { .. } | Effect::Follow { .. } => {}
            }
        }
    }

    fn tell_loop(&mut self, host: usize, letter: Letter) {
        if let Some(controller) = &mut self.hosts[host].controller {
            controller.ear.out.push(letter);
        }
    }

    fn tell_controllers(&mut self, host: usize, message: Message) {
        let letter = Letter::Message(Rc::new(message));
        for at in 0..self.controllers.len() {
            let to = self.controllers[at];
            if to != host {
                self.datagrams(host, to, Process::Ear, &letter);
            }
        }
    }
}
