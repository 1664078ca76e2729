//! In whose name lessors are asked, and how often.

use pan_model::HostName;

use crate::profile::Timing;
use crate::rules::Rules;
use crate::term::Term;
use crate::tick::Tick;
use crate::wire::{Ask, Nonce};

/// A leadership, as far as lessors are concerned. Made anew for each term.
#[derive(Debug, Clone)]
pub struct Office {
    pub leader: HostName,
    pub term: Term,
    /// The whole fixed set.
    pub lessors: Vec<HostName>,
    pub timing: Timing,
    /// Random, and drawn for this office and purpose: answers to others' questions must not fit.
    pub nonce: Nonce,
    pub rules: Rules,
}

impl Office {
    pub(super) fn majority(&self) -> usize {
        self.rules.majority(self.lessors.len())
    }

    /// Asks whether a lessor knows the term. Of no term: whoever has one refuses it by name of that, and nobody takes it over.
    pub(super) fn reminder(&self, nonce: Nonce) -> Ask {
        Ask { leader: self.leader.clone(), term: Term::default(), nonce, hosts: Vec::new() }
    }

    pub(super) fn number_of(&self, lessor: &HostName) -> Option<usize> {
        self.lessors.iter().position(|known| known == lessor)
    }
}

/// The numbers that were given to questions so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nonces {
    first: Nonce,
    next: Nonce,
}

impl Nonces {
    pub(super) const fn from(first: Nonce) -> Self {
        Self { first, next: first }
    }

    pub(super) fn draw(&mut self) -> Nonce {
        let drawn = self.next;
        self.next = drawn.next();
        drawn
    }

    /// Whether a question had this number.
    pub(super) const fn has(&self, nonce: Nonce) -> bool {
        nonce.0.wrapping_sub(self.first.0) < self.next.0.wrapping_sub(self.first.0)
    }
}

/// When one lessor was asked last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked(Option<Tick>);

impl Asked {
    pub(super) const fn at(now: Tick) -> Self {
        Self(Some(now))
    }

    /// Whether it is time to ask again, if the last question was not answered within `after`; notes that it was asked now.
    pub(super) fn is_due(&mut self, now: Tick, after: std::time::Duration) -> bool {
        let due = self.next(after) <= now;
        if due {
            self.0 = Some(now);
        }
        due
    }

    pub(super) fn next(self, after: std::time::Duration) -> Tick {
        self.0.map_or(Tick(0), |asked| asked.plus(after))
    }
}
