//! The relative gate: a set element of the packet filter with a timeout, where the kernel takes no deadline.
//!
//! A timeout counts from when it is applied, and whoever applies it may have been stopped since it computed it.
//! Two things keep that from opening the gate late:
//!
//! - A *renewal* deletes the element and adds it with a new timeout, in one transaction. If the element has
//!   expired there is nothing to delete, and the transaction fails.
//! - An *opening* needs a token, an element of its own that lives for L: the process applies the token, then reads
//!   the clock and computes the timeout, then deletes the token and adds the element in one transaction. If it
//!   was stopped in between for longer, there is no token to delete.
//!
//! So what is computed at c from the deadline D is applied before c + L: the element it replaces, or the
//! token, was applied by the same thread before c, and lived for at most L. The gate is open until less than
//! c + L + (D - c) = D + L: twice L after the heartbeat was sent ([`crate::Timing::lease_bound`]).

use std::time::Duration;

use crate::rules::{Mutant, Rules};
use crate::tick::Tick;

/// A transaction of the packet filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Put the token, in place of any other, for so long.
    Arm { timeout: Duration },
    /// Delete the token, and add the element for so long.
    Open { timeout: Duration },
    /// Delete the element, and add it for so long.
    Renew { timeout: Duration },
    /// Delete element and token, if they are there.
    Shut,
}

/// What a transaction wanted to delete was not there: nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what was to be replaced has expired")]
pub struct Gone;

/// The rule by which a process drives the gate. Everything happens on one thread, in the kernel when the
/// call returns: a transaction left to a child process could come late after all.
#[derive(Debug, Clone)]
pub struct Driver {
    lease: Duration,
    believed: Believed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Believed {
    Shut,
    Open,
}

impl Driver {
    /// For leases of length `lease`; the gate counts as shut, whatever it is.
    #[must_use]
    pub const fn new(lease: Duration) -> Self {
        Self { lease, believed: Believed::Shut }
    }

    /// What to apply first, once the lease is granted and before the clock is read for [`Driver::grant`].
    #[must_use]
    pub const fn prepare(&self) -> Option<Command> {
        match self.believed {
            Believed::Shut => Some(Command::Arm { timeout: self.lease }),
            Believed::Open => None,
        }
    }

    /// What to apply for a lease until `until`, `now` having been read after [`Driver::prepare`] was applied.
    /// `None` if the lease is over.
    #[must_use]
    pub fn grant(&self, until: Tick, now: Tick) -> Option<Command> {
        let timeout = until.since(now).min(self.lease);
        match self.believed {
            _ if timeout.is_zero() => None,
            Believed::Shut => Some(Command::Open { timeout }),
            Believed::Open => Some(Command::Renew { timeout }),
        }
    }

    /// What became of a command.
    pub const fn applied(&mut self, command: Command, result: Result<(), Gone>) {
        self.believed = match (command, result, self.believed) {
            (Command::Open { .. } | Command::Renew { .. }, Ok(()), _) => Believed::Open,
            (Command::Arm { .. }, Ok(()), believed) => believed,
            (Command::Shut, _, _) | (_, Err(Gone), _) => Believed::Shut,
        };
    }
}

/// What the kernel does, for simulators.
#[derive(Debug, Clone)]
pub struct Model {
    token: Option<Tick>,
    element: Option<Tick>,
    rules: Rules,
}

impl Model {
    /// A gate that is shut, and keeps `rules`.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self { token: None, element: None, rules }
    }

    /// Whether packets pass at `now`.
    #[must_use]
    pub fn is_open(&self, now: Tick) -> bool {
        self.element.is_some_and(|until| now < until)
    }

    /// Carries out a transaction.
    ///
    /// # Errors
    /// [`Gone`], and then nothing has changed.
    pub fn apply(&mut self, command: Command, now: Tick) -> Result<(), Gone> {
        match command {
            Command::Arm { timeout } => self.token = Some(now.plus(timeout)),
            Command::Open { timeout } => {
                self.token.take().filter(|until| now < *until).ok_or(Gone)?;
                self.element = Some(now.plus(timeout));
            }
            Command::Renew { .. } if !self.is_open(now) && !self.rules.breaks(Mutant::RenewalAfterExpiry) => return Err(Gone),
            Command::Renew { timeout } => self.element = Some(now.plus(timeout)),
            Command::Shut => (self.token, self.element) = (None, None),
        }
        Ok(())
    }
}
