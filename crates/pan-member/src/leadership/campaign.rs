//! One controller's part in finding a leader.

use std::time::Duration;

use super::patience::Patience;
use super::words::{Candidate, Effect, LeaderRecord, Reason, Revision, Taken};
use crate::rules::Mutant;
use crate::term::Term;
use crate::tick::Tick;
use crate::wire::{LeaderBeat, Nonce, PreVoteAsk, PreVoteSay, Vote};

/// Owned by one task of a controller, which feeds it and does what it says:
///
/// 1. sleep until [`Campaign::next_deadline`], a datagram, or word from the store;
/// 2. hand in *all* waiting datagrams;
/// 3. [`Campaign::tick`] with the time read after that.
#[derive(Debug, Clone)]
pub struct Campaign {
    pub(super) candidate: Candidate,
    pub(super) role: Role,
    pub(super) known: Known,
    /// The last beat's place in order.
    last_beat: Option<(Term, u64)>,
    /// Silence counts from here: the last beat, a change of the record, or our start.
    pub(super) heard: Tick,
    /// Added to the silence at which this controller stands; drawn anew after each beat.
    backoff: Option<Duration>,
    pub(super) stand_after: Tick,
    patience: Patience,
    /// A term whose taking the store never confirmed.
    in_doubt: Option<Term>,
    pub(super) read_at: Option<Tick>,
    pub(super) last_tick: Tick,
    nonce: Nonce,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    Following,
    Asking {
        ask: PreVoteAsk,
        /// Bit by number among the controllers.
        yes: u64,
        until: Tick,
    },
    Taking {
        term: Term,
    },
    Leading(Leading),
}

/// The state of a leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leading {
    pub(super) term: Term,
    pub(super) revision: Revision,
    /// Whether the record is known to be ours, as far as this process can know.
    pub(super) sure: bool,
    pub(super) store_reached: Tick,
    pub(super) beat_at: Tick,
    pub(super) beats: u64,
}

/// What is known of the leader record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    NotRead,
    Absent,
    Present(LeaderRecord),
}

impl Campaign {
    /// Of a controller that has just started.
    #[must_use]
    pub fn new(candidate: Candidate, now: Tick) -> Self {
        let nonce = candidate.nonce;
        Self {
            candidate,
            role: Role::Following,
            known: Known::NotRead,
            last_beat: None,
            heard: now,
            backoff: None,
            stand_after: now,
            patience: Patience::default(),
            in_doubt: None,
            read_at: None,
            last_tick: now,
            nonce,
        }
    }

    pub(super) fn silence(&self) -> Duration {
        self.candidate.timing.leader_silence
    }

    fn known_term(&self) -> Term {
        match &self.known {
            Known::Present(record) => record.term,
            Known::NotRead | Known::Absent => Term::default(),
        }
    }

    /// Time passes. `random` is a number that nobody can guess, drawn for this call.
    pub fn tick(&mut self, now: Tick, random: u64) -> Vec<Effect> {
        let pause = now.since(self.last_tick.plus(self.candidate.timing.leader_period()));
        if pause > self.candidate.timing.leader_period() {
            // What we slept through counts for nobody.
            self.heard = self.heard.plus(pause).min(now);
        }
        self.last_tick = self.last_tick.max(now);
        match self.role {
            Role::Following => self.follow_on(now, random),
            Role::Asking { until, .. } if now >= until => {
                self.role = Role::Following;
                self.stand_after = now.plus(fraction(self.silence(), random));
                Vec::new()
            }
            Role::Asking { .. } | Role::Taking { .. } => Vec::new(),
            Role::Leading(_) => self.lead_on(now, pause),
        }
    }

    fn follow_on(&mut self, now: Tick, random: u64) -> Vec<Effect> {
        if self.known == Known::NotRead {
            return self.read(now);
        }
        if self.may_stand(now, random) { self.stand(now, random) } else { Vec::new() }
    }

    fn may_stand(&mut self, now: Tick, random: u64) -> bool {
        if self.candidate.controllers.len() == 1 {
            return now >= self.stand_after;
        }
        let half = self.silence() / 2;
        let backoff = *self.backoff.get_or_insert_with(|| fraction(half, random));
        self.is_silent(now, backoff) && now >= self.stand_after
    }

    fn is_silent(&self, now: Tick, extra: Duration) -> bool {
        now.since(self.heard) >= self.patience.needed(self.silence(), now) + extra
    }

    fn stand(&mut self, now: Tick, random: u64) -> Vec<Effect> {
        let term = self.known_term().max(self.last_beat.map_or(Term::default(), |(term, _)| term)).next();
        if self.candidate.rules.majority(self.candidate.controllers.len()) == 1 || self.candidate.rules.breaks(Mutant::NoPreVote) {
            return self.take(term);
        }
        self.nonce = self.nonce.next();
        let ask = PreVoteAsk { candidate: self.candidate.me.clone(), term, nonce: self.nonce };
        let until = now.plus(self.silence() / 2 + fraction(self.silence() / 2, random.rotate_left(32)));
        self.role = Role::Asking { ask: ask.clone(), yes: 0, until };
        vec![Effect::AskPreVotes(ask)]
    }

    fn take(&mut self, term: Term) -> Vec<Effect> {
        self.role = Role::Taking { term };
        let expected = match &self.known {
            Known::Present(record) => Some(record.revision),
            Known::NotRead | Known::Absent => None,
        };
        vec![Effect::TakeRecord { expected, term }]
    }

    /// Another controller asks whether it may stand.
    #[must_use]
    pub fn asked(&self, ask: &PreVoteAsk, now: Tick) -> PreVoteSay {
        // Beats may wait behind this datagram if we were paused.
        let punctual = now.since(self.last_tick) <= self.candidate.timing.leader_period() * 2;
        let leads = matches!(self.role, Role::Leading(_));
        let later = self.known != Known::NotRead && ask.term > self.known_term();
        let vote = if punctual && !leads && later && self.is_silent(now, Duration::ZERO) { Vote::Yes } else { Vote::No };
        let (voter, silent_for) = (self.candidate.me.clone(), now.since(self.heard));
        PreVoteSay { voter, term: ask.term, nonce: ask.nonce, silent_for, vote }
    }

    /// Another controller answered.
    pub fn said(&mut self, say: &PreVoteSay) -> Vec<Effect> {
        let number = self.candidate.controllers.iter().position(|known| *known == say.voter && *known != self.candidate.me);
        let majority = self.candidate.rules.majority(self.candidate.controllers.len());
        let Role::Asking { ask, yes, .. } = &mut self.role else { return Vec::new() };
        let (Some(number), Vote::Yes) = (number, say.vote) else { return Vec::new() };
        if (say.nonce, say.term) != (ask.nonce, ask.term) {
            return Vec::new();
        }
        *yes |= 1 << number;
        if yes.count_ones() as usize + 1 < majority {
            return Vec::new();
        }
        let term = ask.term;
        self.take(term)
    }

    /// The store answered [`Effect::TakeRecord`].
    pub fn taken(&mut self, taken: Taken, now: Tick) -> Vec<Effect> {
        let Role::Taking { term } = self.role else { return Vec::new() };
        match taken {
            Taken::Done { revision } => return self.lead(term, revision, now),
            Taken::Lost => {}
            Taken::InDoubt => self.in_doubt = Some(term),
        }
        self.role = Role::Following;
        self.stand_after = now.plus(self.silence() / 2);
        self.read_at = None;
        self.read(now)
    }

    /// The leader record was read, or a watch of it said something. An older state than the known one is ignored.
    pub fn observed(&mut self, record: Option<LeaderRecord>, now: Tick) -> Vec<Effect> {
        self.read_at = None;
        let (before, after) = (self.known.revision(), record.as_ref().map(|record| record.revision));
        if after.is_some() && after < before {
            return Vec::new();
        }
        let first = self.known == Known::NotRead;
        let changed = first || before != after;
        self.known = record.clone().map_or(Known::Absent, Known::Present);
        if changed && !first {
            self.patience.changed(now);
            self.heard = now;
        }
        let mut effects = self.confirm_leading(after, now);
        match (&self.role, record) {
            // It may have been read before the attempt was known to be in doubt, and be no news now.
            (Role::Following | Role::Asking { .. }, Some(record)) if self.was_taken_in_doubt(&record) => {
                effects.extend(self.lead(record.term, record.revision, now));
            }
            (Role::Following | Role::Asking { .. }, Some(record)) if changed => {
                self.role = Role::Following;
                if record.leader != self.candidate.me {
                    effects.push(Effect::Follow { leader: record.leader, term: record.term });
                }
            }
            (Role::Following | Role::Asking { .. } | Role::Taking { .. } | Role::Leading(_), _) => {}
        }
        effects
    }

    fn was_taken_in_doubt(&self, record: &LeaderRecord) -> bool {
        let Candidate { me, instance, .. } = &self.candidate;
        (&record.leader, &record.instance, Some(record.term)) == (me, instance, self.in_doubt)
    }

    /// A leader's beat whose authenticity was checked. Old ones that come again are ignored.
    pub fn beat(&mut self, beat: &LeaderBeat, now: Tick) -> Vec<Effect> {
        let order = (beat.term, beat.sequence);
        let ours = beat.leader == self.candidate.me || !self.candidate.controllers.contains(&beat.leader);
        if ours || beat.term < self.known_term() || self.last_beat.is_some_and(|last| order <= last) {
            return Vec::new();
        }
        if matches!(self.role, Role::Leading(_)) && beat.term == self.known_term() {
            return Vec::new();
        }
        self.last_beat = Some(order);
        self.heard = now;
        self.backoff = None;
        match &mut self.role {
            Role::Asking { .. } => self.role = Role::Following,
            Role::Leading(leading) => leading.sure = false,
            Role::Following | Role::Taking { .. } => {}
        }
        if beat.term > self.known_term() { self.read(now) } else { Vec::new() }
    }

    /// Asks for the record, unless that was done a moment ago.
    pub(super) fn read(&mut self, now: Tick) -> Vec<Effect> {
        if self.read_at.is_some_and(|read| now.since(read) < self.silence()) {
            return Vec::new();
        }
        self.read_at = Some(now);
        vec![Effect::ReadRecord]
    }

    /// Whether this controller leads, as far as its campaign knows.
    #[must_use]
    pub const fn leads(&self) -> bool {
        matches!(self.role, Role::Leading(_))
    }

    pub(super) fn lead(&mut self, term: Term, revision: Revision, now: Tick) -> Vec<Effect> {
        let Candidate { me, instance, .. } = &self.candidate;
        let record = Known::Present(LeaderRecord { leader: me.clone(), instance: *instance, term, revision });
        if self.known != record {
            self.patience.changed(now);
        }
        self.known = record;
        self.in_doubt = None;
        self.role = Role::Leading(Leading { term, revision, sure: true, store_reached: now, beat_at: now, beats: 0 });
        let mut effects = vec![Effect::Lead { term, revision }];
        effects.extend(self.beats(now));
        effects
    }

    /// Leads no longer.
    pub(super) fn leave(&mut self, reason: Reason, now: Tick) -> Vec<Effect> {
        self.role = Role::Following;
        self.heard = now;
        // Others, who have heard nothing for as long, are to go first.
        self.stand_after = now.plus(self.silence() * 2);
        vec![Effect::StepDown(reason)]
    }

    /// Leads no longer, and looks who does.
    pub(super) fn step_down(&mut self, reason: Reason, now: Tick) -> Vec<Effect> {
        let mut effects = self.leave(reason, now);
        self.read_at = None;
        effects.extend(self.read(now));
        effects
    }

    /// When [`Campaign::tick`] is to be called next, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Tick {
        let usual = self.last_tick.plus(self.candidate.timing.leader_period() / 2);
        match &self.role {
            Role::Leading(leading) => leading.beat_at.min(usual),
            Role::Following | Role::Asking { .. } | Role::Taking { .. } => usual,
        }
    }
}

impl Known {
    pub(super) fn revision(&self) -> Option<Revision> {
        match self {
            Self::Present(record) => Some(record.revision),
            Self::NotRead | Self::Absent => None,
        }
    }
}

/// A random part of `whole`.
fn fraction(whole: Duration, random: u64) -> Duration {
    let part = u32::try_from(random >> 48).expect("sixteen bits");
    whole * part / (1 << 16)
}
