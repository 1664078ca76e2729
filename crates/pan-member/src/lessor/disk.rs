//! What a lessor keeps, and which of it is on the disk by now. One write at a time: changes that come in
//! meanwhile go into the next one together.

use std::collections::BTreeMap;

use pan_model::{Admission, HostName};

use crate::term::Term;

/// What a lessor must never forget.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Durable {
    /// The highest term of a leader that spoke to it.
    pub term: Term,
    /// Up to which admission each host is revoked; hosts that never were are missing.
    pub revoked: BTreeMap<HostName, Admission>,
}

/// Names a write; later ones hold everything of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

#[derive(Debug, Clone)]
pub(super) struct Disk {
    wanted: Durable,
    /// Counts changes of `wanted`.
    changes: Ticket,
    stored: Ticket,
    stored_term: Term,
    writing: Option<(Ticket, Term)>,
}

impl Disk {
    pub(super) fn read(found: Durable) -> Self {
        let (start, stored_term) = (Ticket(0), found.term);
        Self { wanted: found, changes: start, stored: start, stored_term, writing: None }
    }

    /// As another process left it, which writes no more; what it could not make durable is written with the next request.
    pub(super) fn resume(wanted: Durable, stored_term: Term, stored: bool) -> Self {
        let changes = Ticket(u64::from(!stored));
        Self { wanted, changes, stored: Ticket(0), stored_term, writing: None }
    }

    /// Whether a write is under way.
    pub(super) const fn is_busy(&self) -> bool {
        self.writing.is_some()
    }

    pub(super) const fn wanted(&self) -> &Durable {
        &self.wanted
    }

    /// The highest term on the disk.
    pub(super) const fn stored_term(&self) -> Term {
        self.stored_term
    }

    /// The write that makes everything durable that holds now.
    pub(super) const fn needed(&self) -> Ticket {
        self.changes
    }

    pub(super) fn has(&self, ticket: Ticket) -> bool {
        self.stored >= ticket
    }

    pub(super) fn adopt(&mut self, term: Term) {
        if term > self.wanted.term {
            self.wanted.term = term;
            self.changes.0 += 1;
        }
    }

    pub(super) fn revoke(&mut self, host: &HostName, through: Admission) {
        if self.revoked(host) < through {
            self.wanted.revoked.insert(host.clone(), through);
            self.changes.0 += 1;
        }
    }

    pub(super) fn revoked(&self, host: &HostName) -> Admission {
        self.wanted.revoked.get(host).copied().unwrap_or(Admission::NONE)
    }

    /// What to write now, if anything.
    pub(super) fn write(&mut self) -> Option<(Durable, Ticket)> {
        if self.writing.is_some() || self.stored >= self.changes {
            return None;
        }
        self.writing = Some((self.changes, self.wanted.term));
        Some((self.wanted.clone(), self.changes))
    }

    pub(super) fn written(&mut self, ticket: Ticket) {
        if let Some((_, term)) = self.writing.take_if(|(writing, _)| *writing == ticket) {
            (self.stored, self.stored_term) = (ticket, term);
        }
    }

    pub(super) fn failed(&mut self, ticket: Ticket) {
        self.writing.take_if(|(writing, _)| *writing == ticket);
    }
}
