//! The mass brake: many hosts silent at once are rather one broken switch than many deaths.
//!
//! A stampede of failovers onto the few hosts still heard would turn a network fault into an outage. So
//! beyond a limit no death is said until few enough are silent, or until those that are heard have been
//! heard for the hold time, or until a majority of lessors has confirmed the silence
//! ([`crate::Confirmation`]). While nobody else at all is heard it is we who are cut off, and the brake stays on.

use std::time::Duration;

use crate::profile::Timing;
use crate::rules::{Mutant, Rules};
use crate::tick::Tick;

/// How long the brake holds on the view of the hosts still heard.
pub(super) const HOLD: Duration = Duration::from_secs(10);

/// Silences this close together count as one incident.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brake {
    Off,
    On {
        since: Tick,
    },
    /// Few enough are silent again; those get one more full deadline, for their heartbeats may be next.
    Settling {
        until: Tick,
    },
}

/// What the brake looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) now: Tick,
    pub(super) silent: usize,
    pub(super) limit: usize,
    pub(super) anyone_overdue: Presence,
    pub(super) anyone_heard: Presence,
    pub(super) rules: Rules,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Some,
    None,
}

impl Presence {
    pub(super) fn of(mut things: impl Iterator) -> Self {
        if things.next().is_some() { Self::Some } else { Self::None }
    }
}

/// What the brake says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Deaths may be said.
    Free,
    /// No death is said.
    Held,
    /// No death is said from now on.
    Engaged,
    /// The brake came off by itself; no death is said before the silent ones had another deadline.
    Released,
    /// The hold time is over; deaths are said.
    Expired,
}

impl Brake {
    pub(super) fn look(&mut self, view: &View, timing: &Timing) -> Verdict {
        let many = view.silent > view.limit && !view.rules.breaks(Mutant::BrakeOff);
        let (next, verdict) = match *self {
            Self::Off if many && view.anyone_overdue == Presence::Some => (Self::On { since: view.now }, Verdict::Engaged),
            Self::Off => (Self::Off, Verdict::Free),
            Self::On { .. } if !many => (Self::Settling { until: view.now.plus(timing.dead_after()) }, Verdict::Released),
            Self::On { .. } if view.anyone_heard == Presence::None => (Self::On { since: view.now }, Verdict::Held),
            Self::On { since } if view.now.since(since) < HOLD => (Self::On { since }, Verdict::Held),
            Self::On { .. } => (Self::Off, Verdict::Expired),
            Self::Settling { .. } if many => (Self::On { since: view.now }, Verdict::Engaged),
            Self::Settling { until } if view.now < until => (Self::Settling { until }, Verdict::Held),
            Self::Settling { .. } => (Self::Off, Verdict::Free),
        };
        *self = next;
        verdict
    }

    /// A majority of lessors hears nobody of the silent ones either: from now on deaths are said.
    pub(super) fn confirm(&mut self) {
        *self = Self::Off;
    }

    pub(super) fn holds(self) -> bool {
        self != Self::Off
    }

    pub(super) fn freeze(&mut self, stall: Duration) {
        match self {
            Self::Off => {}
            Self::On { since: at } | Self::Settling { until: at } => *at = at.plus(stall),
        }
    }

    pub(super) fn deadline(self) -> Option<Tick> {
        match self {
            Self::Off => None,
            Self::On { since } => Some(since.plus(HOLD)),
            Self::Settling { until } => Some(until),
        }
    }
}

/// More than this many silent hosts are no coincidence: the failures promised to be survived, one, or a
/// fifth of the hosts rounded up, whichever is most.
pub(super) fn limit(protected_failures: usize, hosts: usize) -> usize {
    protected_failures.max(1).max(hosts.div_ceil(5))
}

#[cfg(test)]
mod tests {
    use super::limit;

    #[test]
    fn the_limit_is_the_most_of_three() {
        for (protected, hosts, wanted) in [(0, 1, 1), (1, 5, 1), (1, 6, 2), (3, 6, 3), (1, 100, 20), (1, 101, 21)] {
            assert_eq!(limit(protected, hosts), wanted, "{protected} protected, {hosts} hosts");
        }
    }
}
