//! The part of a campaign that is won: beats, and knowing when it is over.

use std::time::Duration;

use super::campaign::{Campaign, Role};
use super::words::{Effect, Reason, Revision};
use crate::term::Term;
use crate::tick::Tick;
use crate::wire::LeaderBeat;

impl Campaign {
    /// As what this controller may act now: its term, and the revision that every transaction compares. `None`
    /// for a follower, and for a leader that has to look at the record first.
    #[must_use]
    pub fn may_act(&self) -> Option<(Term, Revision)> {
        match &self.role {
            Role::Leading(leading) if leading.sure => Some((leading.term, leading.revision)),
            Role::Leading(_) | Role::Following | Role::Asking { .. } | Role::Taking { .. } => None,
        }
    }

    /// A transaction was refused because the leader record had changed.
    pub fn commit_refused(&mut self, now: Tick) -> Vec<Effect> {
        self.depose(Reason::CommitRefused, now)
    }

    /// A lessor knows of a later term than ours.
    pub fn later_term(&mut self, term: Term, now: Tick) -> Vec<Effect> {
        match &self.role {
            Role::Leading(leading) if leading.term < term => self.depose(Reason::LaterTerm(term), now),
            Role::Leading(_) | Role::Following | Role::Asking { .. } | Role::Taking { .. } => Vec::new(),
        }
    }

    /// No other host is heard any more ([`crate::Detector::is_deaf`]): a controller that hears them should lead. Where there is no other
    /// controller, there is none.
    pub fn deaf(&mut self, now: Tick) -> Vec<Effect> {
        if self.candidate.controllers.len() == 1 { Vec::new() } else { self.depose(Reason::Deaf, now) }
    }

    /// A lessor has forgotten our term.
    pub fn forgotten(&mut self, now: Tick) -> Vec<Effect> {
        self.depose(Reason::Forgotten, now)
    }

    /// The store answered something.
    pub fn store_reached(&mut self, now: Tick) {
        if let Role::Leading(leading) = &mut self.role {
            leading.store_reached = leading.store_reached.max(now);
        }
    }

    fn depose(&mut self, reason: Reason, now: Tick) -> Vec<Effect> {
        match self.role {
            Role::Leading(_) => self.step_down(reason, now),
            Role::Following | Role::Asking { .. } | Role::Taking { .. } => Vec::new(),
        }
    }

    /// The record was read at `revision`: it is ours, or we lead no longer.
    pub(super) fn confirm_leading(&mut self, revision: Option<Revision>, now: Tick) -> Vec<Effect> {
        let Role::Leading(leading) = &mut self.role else { return Vec::new() };
        if revision != Some(leading.revision) {
            return self.leave(Reason::Superseded, now);
        }
        leading.store_reached = now;
        if std::mem::replace(&mut leading.sure, true) { Vec::new() } else { vec![Effect::Resume { term: leading.term }] }
    }

    /// A leader's tick, after not having been run for `pause` longer than intended.
    pub(super) fn lead_on(&mut self, now: Tick, pause: Duration) -> Vec<Effect> {
        let (silence, alone) = (self.silence(), self.candidate.controllers.len() == 1);
        let Role::Leading(leading) = &mut self.role else { return Vec::new() };
        if pause > silence && !alone {
            leading.sure = false;
            // Nobody can reach anything while it sleeps.
            leading.store_reached = leading.store_reached.plus(pause).min(now);
        }
        let out_of_reach = now.since(leading.store_reached);
        let doubtful = !leading.sure || out_of_reach >= silence;
        if out_of_reach >= self.candidate.timing.store_silence && !alone {
            return self.step_down(Reason::StoreUnreachable, now);
        }
        let mut effects = self.beats(now);
        if doubtful && !alone {
            effects.extend(self.read(now));
        }
        effects
    }

    /// The beat that is due.
    pub(super) fn beats(&mut self, now: Tick) -> Vec<Effect> {
        let period = self.candidate.timing.leader_period();
        let leader = self.candidate.me.clone();
        let alone = self.candidate.controllers.len() == 1;
        match &mut self.role {
            // Who is not sure says nothing: his beats would keep others from finding out.
            Role::Leading(leading) if now >= leading.beat_at => {
                leading.beat_at = now.plus(period);
                if alone || !leading.sure {
                    return Vec::new();
                }
                leading.beats += 1;
                vec![Effect::Beat(LeaderBeat { leader, term: leading.term, sequence: leading.beats })]
            }
            Role::Leading(_) | Role::Following | Role::Asking { .. } | Role::Taking { .. } => Vec::new(),
        }
    }
}
