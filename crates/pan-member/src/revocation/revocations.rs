//! All revocations of one leadership.

use std::collections::BTreeMap;
use std::time::Duration;

use pan_model::{Admission, HostName};

use super::office::{Asked, Nonces, Office};
use super::pending::Pending;
use crate::term::Term;
use crate::tick::Tick;
use crate::wire::{Ask, Heard, Message, Refused, Revoke, Revoked};

/// Between two announcements of the term to a lessor that does not know it.
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(500);
/// How often lessors that know the term are asked whether they still do.
const REMIND_EVERY: Duration = Duration::from_secs(1);
/// So long ago at most one was asked before it is told of a revocation.
const REMIND_BEFORE: Duration = Duration::from_millis(100);

/// From when on nothing of a host is on the network that was admitted up to `through`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartAfter {
    pub through: Admission,
    /// By the clock of the leader. In the past for a host that is truly dead.
    pub at: Tick,
}

/// What an answer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It counts, and a majority has not answered yet.
    Noted,
    /// A majority has revoked: what ran on `host` may start elsewhere from then on. Said again, never later,
    /// when further answers come in.
    Revoked { host: HostName, after: StartAfter },
    /// `lessor` knows of a later term: this leadership is over.
    Deposed { lessor: HostName, term: Term },
    /// `lessor` knew the term and does not any more: its disk is new, or an older copy. What it revoked it has forgotten as well, so the term
    /// must not be told to it again: only a leadership that begins revokes everything anew, in a term that makes it count.
    Forgot { lessor: HostName, term: Term },
    /// It answers no question of ours.
    Ignored,
}

/// Revokes hosts' admissions at the lessors: any number of hosts at once.
#[derive(Debug, Clone)]
pub struct Revocations {
    office: Office,
    nonces: Nonces,
    pending: BTreeMap<HostName, Pending>,
    /// Lessors that have not confirmed that they know the term, and when each was told.
    uninformed: BTreeMap<HostName, Asked>,
    /// Those that have, and when each was asked whether it still does.
    informed: BTreeMap<HostName, Asked>,
}

impl Revocations {
    /// Of a leadership that begins.
    #[must_use]
    pub fn new(office: Office) -> Self {
        let uninformed = office.lessors.iter().map(|lessor| (lessor.clone(), Asked::default())).collect();
        Self { nonces: Nonces::from(office.nonce), office, pending: BTreeMap::new(), uninformed, informed: BTreeMap::new() }
    }

    /// Begins to revoke every admission of `host` up to `through`. One that is under way for a lower admission begins anew;
    /// otherwise nothing happens.
    pub fn begin(&mut self, host: HostName, through: Admission) {
        if self.pending.get(&host).is_some_and(|pending| pending.through >= through) {
            return;
        }
        self.pending.insert(host, Pending::new(through, self.office.lessors.len()));
    }

    /// The host was started elsewhere, or let in anew: asks nobody any more.
    pub fn end(&mut self, host: &HostName) {
        self.pending.remove(host);
    }

    /// What to send to which lessor now. Also makes the term known to those that do not know it: a lessor that
    /// knows the term is told apart from one that was restored from an old disk.
    pub fn due(&mut self, now: Tick) -> Vec<(HostName, Message)> {
        let Self { office, nonces, pending, uninformed, informed } = self;
        let (again_after, majority) = (office.timing.ask_again_after(), office.majority());
        let mut messages = Vec::new();
        for (host, pending) in pending {
            for lessor in pending.due(now, again_after, majority) {
                // It takes over the term with this: what it knew before is to be found out first.
                if informed.get_mut(&office.lessors[lessor]).is_some_and(|asked| asked.is_due(now, REMIND_BEFORE)) {
                    messages.push((office.lessors[lessor].clone(), Message::Ask(office.reminder(nonces.draw()))));
                }
                let (leader, term, through) = (office.leader.clone(), office.term, pending.through);
                let revoke = Revoke { leader, term, nonce: nonces.draw(), host: host.clone(), through };
                messages.push((office.lessors[lessor].clone(), Message::Revoke(revoke)));
            }
        }
        for (lessor, asked) in uninformed {
            if !asked.is_due(now, ANNOUNCE_AGAIN) {
                continue;
            }
            let ask = Ask { leader: office.leader.clone(), term: office.term, nonce: nonces.draw(), hosts: Vec::new() };
            messages.push((lessor.clone(), Message::Ask(ask)));
        }
        for (lessor, asked) in informed {
            if !asked.is_due(now, REMIND_EVERY) {
                continue;
            }
            messages.push((lessor.clone(), Message::Ask(office.reminder(nonces.draw()))));
        }
        messages
    }

    /// When [`Revocations::due`] has something to say next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        let (again_after, majority) = (self.office.timing.ask_again_after(), self.office.majority());
        let pending = self.pending.values().filter_map(|pending| pending.next(again_after, majority));
        let announcing = self.uninformed.values().map(|asked| asked.next(ANNOUNCE_AGAIN));
        pending.chain(announcing).chain(self.informed.values().map(|asked| asked.next(REMIND_EVERY))).min()
    }

    /// A message whose authenticity was checked came in at `now`.
    pub fn answer(&mut self, message: &Message, now: Tick) -> Outcome {
        match message {
            Message::Revoked(said) => self.revoked(said, now),
            Message::Refused(Refused { lessor, term, nonce, .. }) if self.nonces.has(*nonce) && *term > self.office.term => {
                Outcome::Deposed { lessor: lessor.clone(), term: *term }
            }
            Message::Refused(Refused { lessor, term, nonce, .. }) if self.nonces.has(*nonce) => self.knows(lessor, *term),
            Message::Heard(Heard { lessor, term, nonce, .. }) if self.nonces.has(*nonce) => {
                if *term >= self.office.term {
                    self.inform(lessor, now);
                    return Outcome::Noted;
                }
                self.knows(lessor, *term)
            }
            Message::Refused(_)
            | Message::Heard(_)
            | Message::Revoke(_)
            | Message::Ask(_)
            | Message::LeaderBeat(_)
            | Message::PreVoteAsk(_)
            | Message::PreVoteSay(_) => Outcome::Ignored,
        }
    }

    /// A lessor says of which term it is.
    fn knows(&self, lessor: &HostName, term: Term) -> Outcome {
        if self.informed.contains_key(lessor) && term < self.office.term {
            return Outcome::Forgot { lessor: lessor.clone(), term };
        }
        Outcome::Ignored
    }

    fn inform(&mut self, lessor: &HostName, now: Tick) {
        if self.uninformed.remove(lessor).is_some() {
            self.informed.insert(lessor.clone(), Asked::at(now));
        }
    }

    fn revoked(&mut self, said: &Revoked, now: Tick) -> Outcome {
        let Some(number) = self.office.number_of(&said.lessor).filter(|_| self.nonces.has(said.nonce)) else {
            return Outcome::Ignored;
        };
        self.inform(&said.lessor, now);
        let Some(pending) = self.pending.get_mut(&said.host).filter(|pending| pending.through == said.through) else {
            return Outcome::Ignored;
        };
        pending.answered(number, said.open, now);
        match self.start_after(&said.host) {
            Some(after) => Outcome::Revoked { host: said.host.clone(), after },
            None => Outcome::Noted,
        }
    }

    /// From when on what ran on `host` may start elsewhere; `None` until a majority has revoked.
    #[must_use]
    pub fn start_after(&self, host: &HostName) -> Option<StartAfter> {
        let pending = self.pending.get(host)?;
        let at = pending.over(self.office.majority())?;
        Some(StartAfter { through: pending.through, at })
    }
}
