//! Whether lessors hear hosts that the leader does not.

use std::collections::BTreeSet;
use std::time::Duration;

use pan_model::HostName;

use super::office::{Asked, Nonces, Office};
use crate::tick::Tick;
use crate::wire::{ASKED_MAX, Ask, Heard, Message, Nonce};

/// What lessors have said so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// A majority hears none of the hosts either: they may be called dead ([`crate::Detector::confirm`]).
    Yes,
    /// Not enough lessors have said so, or some hear one of them.
    NotYet,
}

/// Asks all lessors about one set of hosts, until a majority has been silent about all of them for the profile's
/// deadline. Replaced by another when the set changes. If there is never a majority, the brake lets go by itself,
/// when those that are heard have been heard for its hold time.
#[derive(Debug, Clone)]
pub struct Confirmation {
    office: Office,
    nonces: Nonces,
    hosts: Vec<HostName>,
    /// For each lessor, for each datagram's worth of hosts.
    views: Vec<Vec<View>>,
}

/// So many questions to a lessor may be under way: an answer may take longer than the next question.
const QUESTIONS: usize = 4;

/// What a lessor said counts for so many turns after it was asked: what it hears may change.
const FRESH_TURNS: u32 = 8;

#[derive(Debug, Clone, Copy, Default)]
struct View {
    asked: Asked,
    /// The last questions and when they were asked, the newest last.
    questions: [Option<(Nonce, Tick)>; QUESTIONS],
    /// The answer to the newest that was answered: when that was asked, and whether all were silent.
    said: Option<(Tick, bool)>,
}

impl View {
    fn note(&mut self, nonce: Nonce, now: Tick) {
        self.questions.rotate_left(1);
        self.questions[QUESTIONS - 1] = Some((nonce, now));
    }

    fn asked_at(&self, nonce: Nonce) -> Option<Tick> {
        self.questions.iter().flatten().find(|question| question.0 == nonce).map(|question| question.1)
    }

    fn all_silent(&self, now: Tick, fresh: Duration) -> bool {
        self.said.is_some_and(|(asked, silent)| silent && now.since(asked) <= fresh)
    }
}

impl Confirmation {
    /// About `hosts`, of which none must be named twice.
    #[must_use]
    pub fn new(office: Office, hosts: &BTreeSet<HostName>) -> Self {
        let chunks = hosts.len().div_ceil(ASKED_MAX);
        let views = vec![vec![View::default(); chunks]; office.lessors.len()];
        Self { nonces: Nonces::from(office.nonce), office, hosts: hosts.iter().cloned().collect(), views }
    }

    /// The hosts it is about.
    #[must_use]
    pub fn hosts(&self) -> &[HostName] {
        &self.hosts
    }

    fn again_after(&self) -> Duration {
        self.office.timing.ask_again_after()
    }

    /// What to send to which lessor now.
    pub fn due(&mut self, now: Tick) -> Vec<(HostName, Message)> {
        let again_after = self.again_after();
        let Self { office, nonces, hosts, views } = self;
        let mut messages = Vec::new();
        for (lessor, views) in office.lessors.iter().zip(views) {
            for (view, hosts) in views.iter_mut().zip(hosts.chunks(ASKED_MAX)) {
                if view.asked.is_due(now, again_after) {
                    let nonce = nonces.draw();
                    view.note(nonce, now);
                    let ask = Ask { leader: office.leader.clone(), term: office.term, nonce, hosts: hosts.to_vec() };
                    messages.push((lessor.clone(), Message::Ask(ask)));
                }
            }
        }
        messages
    }

    /// When [`Confirmation::due`] has something to say next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        self.views.iter().flatten().map(|view| view.asked.next(self.again_after())).min()
    }

    /// A lessor's answer whose authenticity was checked. Of the last few questions, the answer to the newest counts.
    pub fn heard(&mut self, heard: &Heard, now: Tick) -> Confirmed {
        let dead_after = self.office.timing.dead_after();
        if let Some(number) = self.office.number_of(&heard.lessor)
            && let Some((chunk, asked_at)) =
                self.views[number].iter().enumerate().find_map(|(chunk, view)| Some((chunk, view.asked_at(heard.nonce)?)))
        {
            let asked = self.hosts.chunks(ASKED_MAX).nth(chunk).map_or(0, <[HostName]>::len);
            let all_silent = heard.ages.len() == asked && heard.ages.iter().all(|age| *age >= dead_after);
            let view = &mut self.views[number][chunk];
            if view.said.is_none_or(|(before, _)| before <= asked_at) {
                view.said = Some((asked_at, all_silent));
            }
        }
        self.confirmed(now)
    }

    /// Whether a majority hears none of them, by what it said of late.
    #[must_use]
    pub fn confirmed(&self, now: Tick) -> Confirmed {
        let fresh = self.again_after() * FRESH_TURNS;
        let sure = self.views.iter().filter(|views| views.iter().all(|view| view.all_silent(now, fresh))).count();
        if sure >= self.office.majority() { Confirmed::Yes } else { Confirmed::NotYet }
    }
}
