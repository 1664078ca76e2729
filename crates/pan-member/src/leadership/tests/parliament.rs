//! Three controllers, a store, and a network that loses, delays and cuts: from a seed.

use std::collections::{BTreeMap, BTreeSet};

use pan_model::HostName;
use proptest::prelude::*;

use super::super::*;
use crate::frame::BootId;
use crate::profile::Profile;
use crate::rules::{Mutant, Rules};
use crate::term::Term;
use crate::tests::dice::Dice;
use crate::tick::Tick;
use crate::wire::{Message, Nonce};

const CONTROLLERS: usize = 3;
const MS: u64 = 1_000_000;

#[derive(Debug, Clone)]
enum Event {
    Wake,
    Message(Message),
    Take { expected: Option<Revision>, term: Term, life: u64 },
    Read { life: u64 },
    Taken { taken: Taken, life: u64 },
    Record { record: Option<LeaderRecord>, life: u64 },
}

struct World {
    now: u64,
    number: u64,
    queue: BTreeMap<(u64, u64), (usize, Event)>,
    dice: Dice,
    rules: Rules,
    campaigns: Vec<Option<Campaign>>,
    lives: u64,
    /// Which way is cut: (from, to).
    cuts: BTreeSet<(usize, usize)>,
    store_cut: BTreeSet<usize>,
    record: Option<LeaderRecord>,
    revision: u64,
    /// When each last heard a beat of the present term.
    beat_heard: [u64; CONTROLLERS],
    /// Since when it has heard them without a gap.
    steady_since: [u64; CONTROLLERS],
    leaders: BTreeMap<Term, usize>,
    problems: Vec<String>,
}

fn name(number: usize) -> HostName {
    HostName::new(format!("c{number}")).unwrap()
}

impl World {
    fn new(seed: u64, rules: Rules) -> Self {
        let mut world = Self {
            now: 0,
            number: 0,
            queue: BTreeMap::new(),
            dice: Dice::new(seed),
            rules,
            campaigns: vec![None; CONTROLLERS],
            lives: 0,
            cuts: BTreeSet::new(),
            store_cut: BTreeSet::new(),
            record: None,
            revision: 0,
            beat_heard: [0; CONTROLLERS],
            steady_since: [0; CONTROLLERS],
            leaders: BTreeMap::new(),
            problems: Vec::new(),
        };
        (0..CONTROLLERS).for_each(|controller| world.start(controller));
        world
    }

    fn start(&mut self, controller: usize) {
        self.lives += 1;
        let candidate = Candidate {
            me: name(controller),
            instance: BootId(self.lives),
            controllers: (0..CONTROLLERS).map(name).collect(),
            timing: Profile::Lan.timing(7),
            nonce: Nonce(self.dice.next()),
            rules: self.rules,
        };
        self.campaigns[controller] = Some(Campaign::new(candidate, Tick(self.now)));
        self.push(self.now, controller, Event::Wake);
    }

    fn life(&self, controller: usize) -> u64 {
        self.campaigns[controller].as_ref().map_or(0, |campaign| campaign.candidate.instance.0)
    }

    fn push(&mut self, at: u64, to: usize, event: Event) {
        self.number += 1;
        self.queue.insert((at, self.number), (to, event));
    }

    fn run_until(&mut self, end: u64) {
        while let Some((&(at, number), _)) = self.queue.first_key_value().filter(|((at, _), _)| *at <= end) {
            let (to, event) = self.queue.remove(&(at, number)).unwrap();
            self.now = at;
            self.happen(to, event);
        }
        self.now = end;
    }

    fn happen(&mut self, to: usize, event: Event) {
        let now = Tick(self.now);
        let mine = |life| life == self.life(to);
        match event {
            Event::Take { expected, term, life } => return self.take(to, expected, term, life),
            Event::Read { life } => {
                let record = self.record.clone();
                return self.push(self.now + 2 * MS, to, Event::Record { record, life });
            }
            Event::Taken { life, .. } | Event::Record { life, .. } if !mine(life) => return,
            Event::Wake | Event::Message(_) | Event::Taken { .. } | Event::Record { .. } => {}
        }
        let random = self.dice.next();
        let Some(campaign) = &mut self.campaigns[to] else { return };
        let effects = match event {
            Event::Wake => {
                let effects = if campaign.next_deadline() <= now { campaign.tick(now, random) } else { Vec::new() };
                let next = campaign.next_deadline().0;
                self.push(next, to, Event::Wake);
                effects
            }
            Event::Message(Message::LeaderBeat(beat)) => {
                if self.record.as_ref().is_some_and(|record| record.term == beat.term) {
                    if self.now - self.beat_heard[to] > 100 * MS {
                        self.steady_since[to] = self.now;
                    }
                    self.beat_heard[to] = self.now;
                }
                campaign.beat(&beat, now)
            }
            Event::Message(Message::PreVoteAsk(ask)) => {
                let say = Message::PreVoteSay(campaign.asked(&ask, now));
                let back = (0..CONTROLLERS).find(|number| name(*number) == ask.candidate).unwrap();
                self.send(to, back, say);
                Vec::new()
            }
            Event::Message(Message::PreVoteSay(say)) => campaign.said(&say),
            Event::Taken { taken, .. } => campaign.taken(taken, now),
            Event::Record { record, .. } => campaign.observed(record, now),
            Event::Message(_) | Event::Take { .. } | Event::Read { .. } => unreachable!("not sent here"),
        };
        effects.into_iter().for_each(|effect| self.carry_out(to, effect));
    }

    fn carry_out(&mut self, from: usize, effect: Effect) {
        let life = self.life(from);
        let store = self.now + (1 + self.dice.below(5)) * MS;
        match effect {
            Effect::AskPreVotes(ask) => self.send_all(from, &Message::PreVoteAsk(ask)),
            Effect::Beat(beat) => self.send_all(from, &Message::LeaderBeat(beat)),
            // A store out of reach answers nothing to a read, and leaves a take in doubt, done or not.
            Effect::TakeRecord { expected, term } => {
                if !self.store_cut.contains(&from) || self.dice.one_in(2) {
                    self.push(store, from, Event::Take { expected, term, life });
                }
                if self.store_cut.contains(&from) {
                    self.push(self.now + 200 * MS, from, Event::Taken { taken: Taken::InDoubt, life });
                }
            }
            Effect::ReadRecord if self.store_cut.contains(&from) => {}
            Effect::ReadRecord => self.push(store, from, Event::Read { life }),
            Effect::Lead { term, .. } => {
                if let Some(other) = self.leaders.insert(term, from) {
                    self.problems.push(format!("{other} and {from} both led in term {term}"));
                }
            }
            Effect::Resume { .. } | Effect::StepDown(_) | Effect::Follow { .. } => {}
        }
    }

    fn take(&mut self, by: usize, expected: Option<Revision>, term: Term, life: u64) {
        let taken = if self.record.as_ref().map(|record| record.revision) == expected {
            self.judge_take(by);
            self.revision += 1;
            let revision = Revision(self.revision);
            self.record = Some(LeaderRecord { leader: name(by), instance: BootId(life), term, revision });
            (self.beat_heard, self.steady_since) = ([self.now; CONTROLLERS], [self.now; CONTROLLERS]);
            Taken::Done { revision }
        } else {
            Taken::Lost
        };
        self.push(self.now + MS, by, Event::Taken { taken, life });
        for other in 0..CONTROLLERS {
            let (record, life) = (self.record.clone(), self.life(other));
            if !self.store_cut.contains(&other) {
                self.push(self.now + 3 * MS, other, Event::Record { record, life });
            }
        }
    }

    /// A leader that a majority hears is not to be unseated. One that has only just been heard again may be: the
    /// votes were cast before.
    fn judge_take(&mut self, by: usize) {
        let Some(leader) = self.record.as_ref().map(|record| record.leader.clone()) else { return };
        let alive = (0..CONTROLLERS).filter(|number| self.campaigns[*number].is_some() && name(*number) != leader);
        let heard = alive.filter(|number| self.hears(*number)).count();
        let leads = (0..CONTROLLERS)
            .any(|number| name(number) == leader && self.campaigns[number].as_ref().is_some_and(|campaign| campaign.may_act().is_some()));
        if leads && heard + 1 > CONTROLLERS / 2 && self.now > 5000 * MS {
            self.problems.push(format!("at {} ms {by} unseated {leader}, which a majority heard", self.now / MS));
        }
    }

    fn hears(&self, controller: usize) -> bool {
        self.now - self.beat_heard[controller] < 50 * MS && self.now - self.steady_since[controller] > 50 * MS
    }

    fn send_all(&mut self, from: usize, message: &Message) {
        (0..CONTROLLERS).filter(|to| *to != from).for_each(|to| self.send(from, to, message.clone()));
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if !self.cuts.contains(&(from, to)) && !self.dice.one_in(50) {
            let delay = (1 + self.dice.below(4)) * MS;
            self.push(self.now + delay, to, Event::Message(message));
        }
    }

    fn leading(&self) -> Vec<usize> {
        let leads = |number: &usize| self.campaigns[*number].as_ref().is_some_and(|campaign| campaign.may_act().is_some());
        (0..CONTROLLERS).filter(leads).collect()
    }

    fn fault(&mut self) {
        let (one, other) = (self.dice.below(3) as usize, self.dice.below(3) as usize);
        match self.dice.below(8) {
            0 => self.campaigns[one] = None,
            1 | 2 if self.campaigns[one].is_none() => self.start(one),
            1..=4 => drop(self.cuts.insert((one, other))),
            5 => drop(self.store_cut.insert(one)),
            _ => self.heal(),
        }
    }

    fn heal(&mut self) {
        self.cuts.clear();
        self.store_cut.clear();
        (0..CONTROLLERS).for_each(|number| {
            if self.campaigns[number].is_none() {
                self.start(number)
            }
        });
    }
}

fn troubles(seed: u64, rules: Rules) -> Vec<String> {
    let mut world = World::new(seed, rules);
    world.run_until(1000 * MS);
    for _ in 0..30 {
        world.fault();
        let pause = world.dice.below(1500) * MS;
        world.run_until(world.now + pause);
    }
    world.heal();
    world.run_until(world.now + 8000 * MS);
    let (leading, terms) = (world.leading(), world.leaders.len());
    if leading.len() != 1 {
        world.problems.push(format!("after all is healed {leading:?} lead"));
    }
    world.run_until(world.now + 5000 * MS);
    if world.leaders.len() != terms {
        world.problems.push("a healthy leader was replaced".to_owned());
    }
    world.problems
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn one_leader_a_term_none_unseated_that_is_heard_and_one_when_healed(seed: u64) {
        prop_assert_eq!(troubles(seed, Rules::SOUND), Vec::<String>::new());
    }

    /// A leader that dies is replaced within a second, be it young or old.
    #[test]
    fn a_dead_leader_is_replaced_within_a_second(seed: u64, age in 0..3000_u64) {
        let mut world = World::new(seed, Rules::SOUND);
        while world.leading().is_empty() {
            world.run_until(world.now + MS);
            prop_assert!(world.now < 1000 * MS, "the first leader is found in time");
        }
        world.run_until(world.now + age * MS);
        let dead = world.leading()[0];
        world.campaigns[dead] = None;
        world.run_until(world.now + 999 * MS);
        prop_assert_eq!(world.leading().len(), 1);
    }
}

#[test]
fn without_a_pre_vote_leaders_are_unseated() {
    let broken = Rules::broken_by(Mutant::NoPreVote);
    let found = (0..200).find_map(|seed| troubles(seed, broken).into_iter().find(|problem| problem.contains("unseated")));
    assert!(found.is_some(), "nothing was noticed");
}
