//! The loop of a controller, as `pan_controller::owner` has it: messages, settle, commit, and only then publish and
//! answer. While the store is asked, everything else waits, but for callers of who leads no more.

mod guarded;
mod standing;

use crate::ear::GRACE;
use crate::host::Process;
use crate::letter::{Introduction, Letter, Order};
use crate::mutant::Mutant;
use crate::sim::Sim;
use crate::store::{Answer, Ask, Write};
use crate::time::{MS, WALL};
use guarded::{Guarded, Next};
use pan_api::ApiError;
use pan_api::desired::Desired;
use pan_api::token::AccessRole;
use pan_controller::core::audit::Actor;
use pan_controller::core::request::Reply;
use pan_controller::core::transactions::{Room, transactions};
use pan_controller::core::world::{Effect, Now, Settings, World};
use pan_controller::core::{audit, hosts as hosts_core, persist, place, settle, standing as standing_core};
use pan_controller::ear::Known;
use pan_member::Tick;
use pan_model::{Code, HostName};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Messages taken in one round.
const BATCH_MAX: usize = 512;
/// Between two looks at the time.
const TICK: u64 = 100 * MS;
/// Before the store is asked again after it failed.
const AGAIN: u64 = 100 * MS;

/// An answer to give once the round is committed.
pub(crate) enum Given {
    Request { number: u64, result: Result<Reply, ApiError> },
    Introduced { host: usize, known: Introduction },
}

/// What the loop waits for.
enum Busy {
    Idle,
    /// The rest of the round's transactions, and whether one before was committed.
    Committing {
        number: u64,
        sent: Guarded,
        answers: Vec<Given>,
        rest: VecDeque<Vec<Write>>,
        begun: bool,
        then: Then,
    },
    Taking {
        number: u64,
        sent: Guarded,
        term: u64,
    },
    Loading {
        number: u64,
    },
    LoadAgain {
        at: u64,
    },
}

/// What follows a round's last transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It was what was asked for: now what follows from it.
    Settle,
    Act,
}

/// Whether the ear's task that reads the leader's record is at it, and whether it was asked again meanwhile.
#[derive(Clone, Copy)]
enum Reading {
    Not,
    Asked { number: u64, again: bool },
}

/// The loop's state.
pub struct Owner {
    instance: u64,
    pub(crate) world: World,
    record: Option<u64>,
    /// Up to which revision the store was followed, while another leads.
    pub(crate) watch: Option<u64>,
    /// Up to which revision batches were sent to it, and when the last arrives.
    pub(crate) pumped: (u64, u64),
    pub(crate) step: u64,
    /// The last term that it led in.
    led: u64,
    started: Tick,
    pub(crate) warm: bool,
    pub(crate) latest: BTreeMap<HostName, Desired>,
    pub(crate) told: (BTreeMap<HostName, Known>, usize),
    busy: Busy,
    reading: Reading,
    number: u64,
    tick_at: Tick,
    /// What the ear says, which is taken before the rest.
    heard: VecDeque<Letter>,
    /// How much of it was taken.
    pub(crate) heard_so_far: u64,
    asked: VecDeque<Letter>,
}

fn settings() -> Settings {
    Settings {
        outside: vec!["198.18.0.0/24".parse().expect("a network")],
        pools: vec![("198.18.0.10".parse().expect("an address"), "198.18.0.19".parse().expect("an address"))],
        reserved: Vec::new(),
        host_image_allowed: true,
        layer7: true,
        egress: None,
        reach: None,
        mtu: 1430,
        lessors: Vec::new(),
    }
}

impl Owner {
    pub(crate) fn new(instance: u64, now: Tick) -> Self {
        let mut world = World::new(settings());
        world.leading = false;
        Self {
            instance,
            world,
            record: None,
            watch: None,
            pumped: (0, 0),
            step: 0,
            led: 0,
            started: now,
            warm: false,
            latest: BTreeMap::new(),
            told: (BTreeMap::new(), 1),
            busy: Busy::Idle,
            reading: Reading::Not,
            number: 0,
            tick_at: now,
            heard: VecDeque::new(),
            heard_so_far: 0,
            asked: VecDeque::new(),
        }
    }

    /// What the ear says goes first.
    fn next_letter(&mut self) -> Option<Letter> {
        let heard = self.heard.pop_front();
        self.heard_so_far += u64::from(heard.is_some());
        heard.or_else(|| self.asked.pop_front())
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

fn shared((key, value): persist::RecordWrite) -> Write {
    (key, value.map(Rc::new))
}

impl Sim {
    pub(crate) fn owner(&mut self, host: usize) -> &mut Owner {
        &mut self.hosts[host].controller.as_mut().expect("a loop runs only in a controller").owner
    }

    pub(crate) fn core_now(&self, host: usize) -> Now {
        Now { wall: WALL + i64::try_from(self.now / 1000).unwrap_or(0), boot: self.clock(host) }
    }

    /// Whatever is due; then sleeps until more is.
    pub(crate) fn run_loop(&mut self, host: usize) {
        let now = self.clock(host);
        while let Some((_, letter)) = self.hosts[host].seats[Process::Loop as usize].inbox.pop(self.now) {
            match letter {
                Letter::Store { number, answer } => self.store_answered(host, number, answer),
                Letter::ReadRecord { by_the_loop: false } => self.read_record(host),
                Letter::Liveness(_)
                | Letter::Take { .. }
                | Letter::Lead { .. }
                | Letter::ReadRecord { by_the_loop: true }
                | Letter::StepDown => {
                    self.owner(host).heard.push_back(letter);
                }
                other => self.owner(host).asked.push_back(other),
            }
        }
        if let Busy::LoadAgain { at } = self.owner(host).busy
            && self.now >= at
        {
            self.reload(host);
        }
        self.refuse_meanwhile(host);
        let mut ticked = now >= self.owner(host).tick_at;
        if ticked {
            self.owner(host).tick_at = Tick(now.0 + TICK);
            self.pump(host);
        }
        while matches!(self.owner(host).busy, Busy::Idle) {
            if !self.take_batch(host, &mut ticked) {
                break;
            }
        }
        let tick_at = self.owner(host).tick_at;
        let arrives = self.hosts[host].seats[Process::Loop as usize].inbox.first().unwrap_or(u64::MAX);
        let at = self.hosts[host].clock.reaches(tick_at).min(arrives.saturating_add(20_000));
        let at = if let Busy::LoadAgain { at: again } = self.owner(host).busy { at.min(again) } else { at };
        self.wake(host, Process::Loop, at.max(self.now + 20_000));
    }

    /// Takes what waits and makes a round of it. What changes who decides comes between rounds. Says whether there
    /// was anything to do.
    fn take_batch(&mut self, host: usize, ticked: &mut bool) -> bool {
        let mut answers = Vec::new();
        let mut took = std::mem::take(ticked);
        for _ in 0..BATCH_MAX {
            let control = |letter: &Letter| matches!(letter, Letter::Take { .. } | Letter::Lead { .. } | Letter::StepDown);
            if took && self.owner(host).heard.front().is_some_and(control) {
                break;
            }
            let Some(letter) = self.owner(host).next_letter() else { break };
            match letter {
                Letter::Take { expected, term } => {
                    self.take_over(host, expected, term);
                    return true;
                }
                Letter::Lead { term } => {
                    self.found_leading(host, term);
                    return true;
                }
                Letter::StepDown => {
                    self.step_down(host, "the ear says so");
                    return true;
                }
                Letter::ReadRecord { .. } => self.read_record(host),
                Letter::Request { number, request } if request.is_large() => {
                    let letter = Letter::Request { number, request };
                    if took && !self.owner(host).world.dirty.is_empty() {
                        self.owner(host).asked.push_front(letter);
                        break;
                    }
                    answers.extend(self.take(host, letter));
                    self.commit(host, answers, Then::Settle, false);
                    return true;
                }
                other => {
                    took = true;
                    answers.extend(self.take(host, other));
                }
            }
        }
        if took {
            self.round(host, answers);
        }
        took
    }

    fn take(&mut self, host: usize, letter: Letter) -> Option<Given> {
        let now = self.core_now(host);
        let me = self.hosts[host].name.clone();
        let names = &self.names;
        let world = &mut self.hosts[host].controller.as_mut()?.owner.world;
        match letter {
            Letter::Request { number, request } => {
                let not_leading = || ApiError::new(Code::NotLeading, format!("controller {me} does not lead"));
                let result = if world.leading {
                    let result = audit::request(world, now, &Actor::new(None, None, AccessRole::PanOperator, None), (*request).clone());
                    standing_core::answers(world);
                    result
                } else {
                    Err(not_leading())
                };
                Some(Given::Request { number, result })
            }
            Letter::Hello(hello) => {
                let from = *names.get(&hello.host)?;
                let may = world.leading || hosts_core::is_known(world, &hello);
                let known = may && hosts_core::hello(world, now, &hello).is_ok();
                known.then_some(Given::Introduced { host: from, known: Introduction::Known })
            }
            Letter::Report(report) => {
                let from = *names.get(&report.host)?;
                let told = hosts_core::report(world, now, (*report).clone());
                let unknown = told.is_err_and(|error| error.code == Code::NotFound);
                unknown.then_some(Given::Introduced { host: from, known: Introduction::Unknown })
            }
            Letter::Liveness(changes) => {
                for (noticed, change) in changes {
                    hosts_core::life(world, now, change.after(now.boot.since(noticed)));
                }
                None
            }
            Letter::Followed(batch) => {
                self.follow(host, &batch);
                None
            }
            _ => None,
        }
    }

    fn round(&mut self, host: usize, answers: Vec<Given>) {
        self.settle(host);
        self.commit(host, answers, Then::Act, false);
    }

    fn commit(&mut self, host: usize, answers: Vec<Given>, then: Then, begun: bool) {
        let early = self.options.is(Mutant::ActBeforeCommit);
        // What is applied always fits one transaction: `pan_controller::core::apply` sees to it.
        let writes = if then == Then::Settle { usize::MAX } else { self.options.transaction };
        let room = Room { writes, bytes: usize::MAX };
        let owner = self.owner(host);
        let (dirty, asked) = (std::mem::take(&mut owner.world.dirty), std::mem::take(&mut owner.world.asked));
        if dirty.is_empty() || !owner.world.leading {
            return self.follow_up(host, answers, then);
        }
        let dirty: Vec<_> = dirty.into_iter().collect();
        let cut = transactions(&owner.world, &dirty, &asked, room);
        let rest = cut.into_iter().map(|writes| writes.into_iter().map(shared).collect()).collect();
        let answers = if early {
            self.acted(host, answers);
            Vec::new()
        } else {
            answers
        };
        self.commit_next(host, answers, (rest, then), begun);
    }

    /// Asks for the next transaction of a round, which compares what the one before wrote.
    fn commit_next(&mut self, host: usize, answers: Vec<Given>, (mut rest, then): (VecDeque<Vec<Write>>, Then), begun: bool) {
        let guarded = !self.options.is(Mutant::NoLeaderGuard);
        let (now, writes) = (self.clock(host), rest.pop_front().expect("each round has a transaction"));
        let owner = self.owner(host);
        let sent = Guarded::new(guarded.then_some(owner.record), writes, now);
        let (ask, number) = (sent.ask(), owner.next_number());
        owner.busy = Busy::Committing { number, sent, answers, rest, begun, then };
        self.ask_store(host, number, ask);
    }

    /// What is to be found out of a transaction that is in doubt.
    fn ask_again(&mut self, host: usize, ask: Ask) -> u64 {
        self.tally.resent += u64::from(matches!(ask, Ask::Commit { .. }));
        let number = self.owner(host).next_number();
        self.ask_store(host, number, ask);
        number
    }

    /// The round is committed: hosts, callers and the ear are told.
    fn acted(&mut self, host: usize, answers: Vec<Given>) {
        self.publish(host);
        let owner = self.owner(host);
        let term = owner.world.pan.term;
        for effect in std::mem::take(&mut owner.world.effects) {
            let order = match effect {
                Effect::Fence(node, through) => {
                    self.fencing_begins(host, &node);
                    Order::Fence { host: node, through, term }
                }
                Effect::Unfence(node) => Order::Unfence(node),
            };
            self.order(host, order);
        }
        for answer in answers {
            self.give(host, answer);
        }
    }

    fn give(&mut self, host: usize, answer: Given) {
        match answer {
            Given::Request { number, result } => self.answer_user(number, result),
            Given::Introduced { host: to, known } => {
                if let (Some(controller), Some(takes)) = (self.controllers.iter().position(|at| *at == host), self.reach(host, to)) {
                    self.post(to, Process::Agent, self.now + takes, Letter::Introduced { controller, known });
                }
            }
        }
    }

    fn settle(&mut self, host: usize) {
        let (now, clock) = (self.core_now(host), self.clock(host));
        let owner = self.owner(host);
        if !owner.world.leading {
            place::survey(&mut owner.world, now);
            return;
        }
        if !owner.warm {
            let world = &owner.world;
            let grace = GRACE + Duration::from_secs(1);
            owner.warm = world.hosts.keys().all(|name| hosts_core::has_spoken(world, name)) || clock.since(owner.started) >= grace;
        }
        if owner.warm {
            settle::settle(&mut owner.world, now);
        }
    }

    fn store_answered(&mut self, host: usize, number: u64, answer: Answer) {
        if matches!(self.owner(host).reading, Reading::Asked { number: asked, .. } if asked == number) {
            return self.record_read(host, &answer);
        }
        let now = self.clock(host);
        match std::mem::replace(&mut self.owner(host).busy, Busy::Idle) {
            Busy::Committing { number: asked, mut sent, answers, rest, begun, then } if asked == number => match sent.heard(answer, now) {
                Next::Ask(ask) => {
                    let number = self.ask_again(host, ask);
                    self.owner(host).busy = Busy::Committing { number, sent, answers, rest, begun, then };
                }
                Next::Known(Answer::Committed { revision }) => {
                    self.owner(host).record = Some(revision);
                    self.committed(host, answers, (rest, then));
                }
                Next::Known(answer) => self.not_committed(host, begun || matches!(answer, Answer::InDoubt), answers),
            },
            Busy::Taking { number: asked, mut sent, term } if asked == number => match sent.heard(answer, now) {
                Next::Ask(ask) => {
                    let number = self.ask_again(host, ask);
                    self.owner(host).busy = Busy::Taking { number, sent, term };
                }
                Next::Known(answer) => self.taken(host, &answer, term),
            },
            Busy::Loading { number: asked } if asked == number => self.loaded(host, answer),
            // To a question of an earlier life, or one that was given up.
            other => self.owner(host).busy = other,
        }
    }

    fn committed(&mut self, host: usize, answers: Vec<Given>, (rest, then): (VecDeque<Vec<Write>>, Then)) {
        if !rest.is_empty() {
            return self.commit_next(host, answers, (rest, then), true);
        }
        self.order(host, Order::Stored);
        self.follow_up(host, answers, then);
    }

    fn follow_up(&mut self, host: usize, answers: Vec<Given>, then: Then) {
        match then {
            Then::Settle => {
                self.settle(host);
                self.commit(host, answers, Then::Act, true);
            }
            Then::Act => self.acted(host, answers),
        }
    }

    fn not_committed(&mut self, host: usize, doubt: bool, answers: Vec<Given>) {
        let code = if doubt { Code::InDoubt } else { Code::NotLeading };
        for given in answers {
            if let Given::Request { number, result } = given {
                let code = if result.is_err() { Code::NotLeading } else { code };
                self.answer_user(number, Err(ApiError::new(code, "the store did not take it")));
            }
        }
        self.step_down(host, "a commit failed");
    }
}
