//! Fencing, as far as the ear is concerned: one leadership's revocations, and the question who else hears the silent.

use crate::core::hosts::LifeChange;
use pan_member::revocation::Outcome;
use pan_member::{Confirmation, Confirmed, Message, Nonce, Office, Revocations, Rules, StartAfter, Term, Tick, Timing};
use pan_model::{Admission, HostName};
use std::collections::{BTreeMap, BTreeSet};

/// What an answer of a lessor showed.
#[derive(Default)]
pub struct Heard {
    /// There is a later term than ours.
    pub deposed: Option<Term>,
    /// This lessor has forgotten ours.
    pub forgotten: Option<HostName>,
    /// A majority hears none of these.
    pub confirmed: Option<BTreeSet<HostName>>,
}

/// Owned by one ear.
pub struct Fencing {
    me: HostName,
    lessors: Vec<HostName>,
    timing: Timing,
    nonce: Nonce,
    /// While this controller leads.
    term: Option<Term>,
    revocations: Option<Revocations>,
    confirmation: Option<Confirmation>,
    /// Revoked by a majority, and to be waited for.
    over: BTreeMap<HostName, StartAfter>,
    rules: Rules,
}

impl Fencing {
    pub fn new(me: HostName, lessors: Vec<HostName>, timing: Timing, nonce: Nonce) -> Self {
        let (revocations, confirmation) = (None, None);
        Self { me, lessors, timing, nonce, term: None, revocations, confirmation, over: BTreeMap::new(), rules: Rules::SOUND }
    }

    /// The same, keeping `rules`.
    #[must_use]
    pub fn keeping(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    fn office(&mut self) -> Option<Office> {
        let term = self.term?;
        // Far enough from each other that no two offices of this process ever ask with the same number.
        self.nonce = Nonce(self.nonce.0.wrapping_add(1 << 32));
        let (leader, lessors) = (self.me.clone(), self.lessors.clone());
        Some(Office { leader, term, lessors, timing: self.timing, nonce: self.nonce, rules: self.rules })
    }

    /// This controller leads.
    pub fn lead(&mut self, term: Term) {
        self.resign();
        self.term = Some(term);
        if !self.lessors.is_empty() {
            self.revocations = self.office().map(Revocations::new);
        }
    }

    /// It leads no more.
    pub fn resign(&mut self) {
        (self.term, self.revocations, self.confirmation) = (None, None, None);
        self.over.clear();
    }

    /// Begins to fence a node, or has it fenced at once where there are no lessors: nobody holds a lease there.
    pub fn begin(&mut self, host: HostName, through: Admission, term: u64) -> Option<LifeChange> {
        if self.lessors.is_empty() {
            return Some(LifeChange::Fenced(host, through));
        }
        let revocations = self.revocations.as_mut().filter(|_| self.term == Some(Term(term)))?;
        revocations.begin(host, through);
        None
    }

    /// The host is heard again.
    pub fn end(&mut self, host: &HostName) {
        self.over.remove(host);
        if let Some(revocations) = &mut self.revocations {
            revocations.end(host);
        }
    }

    /// The brake holds these deaths: lessors are asked about them.
    pub fn held(&mut self, hosts: &BTreeSet<HostName>) {
        let asked = self.confirmation.as_ref().is_some_and(|confirmation| confirmation.hosts().iter().eq(hosts.iter()));
        if hosts.is_empty() || self.lessors.is_empty() {
            self.confirmation = None;
        } else if !asked {
            self.confirmation = self.office().map(|office| Confirmation::new(office, hosts));
        }
    }

    /// What to send to which lessor now.
    pub fn due(&mut self, now: Tick) -> Vec<(HostName, Message)> {
        let mut all = self.revocations.as_mut().map(|revocations| revocations.due(now)).unwrap_or_default();
        all.extend(self.confirmation.as_mut().map(|confirmation| confirmation.due(now)).unwrap_or_default());
        all
    }

    pub fn answer(&mut self, message: &Message, now: Tick) -> Heard {
        let mut heard = Heard::default();
        if let Some(revocations) = &mut self.revocations {
            match revocations.answer(message, now) {
                Outcome::Revoked { host, after } => drop(self.over.insert(host, after)),
                Outcome::Deposed { term, .. } => heard.deposed = Some(term),
                Outcome::Forgot { lessor, .. } => heard.forgotten = Some(lessor),
                Outcome::Noted | Outcome::Ignored => {}
            }
        }
        if let (Some(confirmation), Message::Heard(said)) = (&mut self.confirmation, message)
            && confirmation.heard(said, now) == Confirmed::Yes
        {
            heard.confirmed = Some(confirmation.hosts().iter().cloned().collect());
        }
        heard
    }

    /// The nodes of which nothing can be on the network any more.
    pub fn over(&mut self, now: Tick) -> Vec<LifeChange> {
        let over = self.over.extract_if(.., |_, after| now >= after.at);
        let over: Vec<_> = over.map(|(host, after)| (host, after.through)).collect();
        for (host, _) in &over {
            if let Some(revocations) = &mut self.revocations {
                revocations.end(host);
            }
        }
        over.into_iter().map(|(host, through)| LifeChange::Fenced(host, through)).collect()
    }

    pub fn next_deadline(&self) -> Option<Tick> {
        let asking = self.revocations.as_ref().and_then(Revocations::next_deadline);
        let confirming = self.confirmation.as_ref().and_then(Confirmation::next_deadline);
        asking.into_iter().chain(confirming).chain(self.over.values().map(|after| after.at)).min()
    }
}
