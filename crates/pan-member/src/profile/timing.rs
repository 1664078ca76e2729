//! The numbers of a profile, and what follows from them.

use std::time::Duration;

/// Misses after which a host is suspect.
const SUSPECT_MISSES: u32 = 3;

/// How far a boot clock's speed may be off, in thousandths. Crystals stay far below.
const DRIFT_PERMILLE: u32 = 10;

/// What the inequality leaves for reading clocks and writing the gate's deadline.
const MARGIN: Duration = Duration::from_millis(20);

/// What every timing leaves for jitter.
pub(super) const ALLOWANCE_MIN: Duration = Duration::from_millis(20);

/// How the kernel enforces a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Gate {
    /// A deadline on the boot clock: open for at most L after the heartbeat was sent.
    #[default]
    Absolute,
    /// A timeout that counts from when it is applied: open for at most 2 L ([`crate::lease::relative`]).
    Relative,
}

/// How long an acknowledged heartbeat may keep a host's gate open: each host has its own, which need not be what those
/// who judge it would have chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    pub gate: Gate,
    /// L of the host.
    pub lease: Duration,
}

impl Tenure {
    /// Longer than any host's: `wan`, by the slower gate.
    pub const LONGEST: Self = Self { gate: Gate::Relative, lease: Duration::from_millis(3200) };
}

/// The numbers a profile chooses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Basics {
    pub(super) period: Duration,
    pub(super) misses: u32,
    pub(super) allowance: Duration,
    pub(super) lease: Duration,
    pub(super) leader_silence: Duration,
    pub(super) store_silence: Duration,
    pub(super) stretch_max: Duration,
}

/// The numbers of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats of a host on one fabric (h).
    pub period: Duration,
    /// Missed heartbeats that make a death (K).
    pub misses: u32,
    /// Added for jitter (j).
    pub allowance: Duration,
    /// How long an acknowledged heartbeat keeps the sender's gate open (L).
    pub lease: Duration,
    /// How far a boot clock's speed may be off, in thousandths (rho).
    pub drift_permille: u32,
    /// What the inequality leaves for everything else (epsilon).
    pub margin: Duration,
    /// Silence of a leader after which another controller may stand (`T_c`).
    pub leader_silence: Duration,
    /// Silence of the store after which a leader makes way for one that may reach it: longer than etcd takes to find a leader
    /// of its own, for until then nobody else can reach it either.
    pub store_silence: Duration,
    /// The most by which a host's own reported lag puts off its death.
    pub stretch_max: Duration,
    /// What enforces the leases.
    pub gate: Gate,
}

/// A lease could outlive the announcement of its holder's death, or the numbers make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    #[error("a lease of {lease:?} may last {lasts:?} by a slow clock, but its holder is called dead after {dead_after:?}")]
    LeaseTooLong { lease: Duration, lasts: Duration, dead_after: Duration },
    #[error("a period of zero, or fewer misses ({misses}) than the {SUSPECT_MISSES} that make a suspicion")]
    NoSense { misses: u32 },
    #[error("clocks that may be off by {permille} thousandths: expected less than 500")]
    Drift { permille: u32 },
}

impl Timing {
    pub(super) fn new(basics: Basics) -> Self {
        let Basics { period, misses, allowance, lease, leader_silence, store_silence, stretch_max } = basics;
        let (drift_permille, margin, gate) = (DRIFT_PERMILLE, MARGIN, Gate::Absolute);
        Self { period, misses, allowance, lease, drift_permille, margin, leader_silence, store_silence, stretch_max, gate }
    }

    /// The timing for a PAN whose least strict gate is `gate`: deaths are said no sooner than leases end.
    #[must_use]
    pub fn for_gate(self, gate: Gate) -> Self {
        let timing = Self { gate, ..self };
        let missing = timing.lease_bound(gate).saturating_sub(timing.dead_after());
        let whole = u64::try_from(missing.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self { allowance: self.allowance + Duration::from_millis(whole), ..timing }
    }

    /// The timing for a host that says it beats every `period`, which is another one than its hearer expects where a large
    /// PAN has stretched it. What it has missed is counted in its own periods; silence is death as soon as ever, so that
    /// nothing that follows from leases depends on when anybody learned of the period. One that is too long to be suspected
    /// by before its death is taken for the longest that is not.
    #[must_use]
    pub fn at_period(self, period: Duration) -> Self {
        let dead_after = self.dead_after();
        let period = period.min(dead_after / SUSPECT_MISSES);
        if period == self.period || period.is_zero() {
            return self;
        }
        let room = dead_after.saturating_sub(self.allowance.min(ALLOWANCE_MIN));
        let misses = u32::try_from(room.as_nanos() / period.as_nanos()).unwrap_or(u32::MAX).max(SUSPECT_MISSES);
        Self { period, misses, allowance: dead_after - period * misses, ..self }
    }

    /// Silence on both fabrics after which a host is dead.
    #[must_use]
    pub fn dead_after(&self) -> Duration {
        self.period * self.misses + self.allowance
    }

    /// The same for a host that says its own loop was late by `lag`: what the allowance does not cover is
    /// added, up to the profile's cap (Lifeguard, Dadgar et al. 2017).
    #[must_use]
    pub fn dead_after_with(&self, lag: Duration) -> Duration {
        self.dead_after() + lag.saturating_sub(self.allowance).min(self.stretch_max)
    }

    /// Silence on both fabrics after which a host is suspect.
    #[must_use]
    pub fn suspect_after(&self) -> Duration {
        self.period * SUSPECT_MISSES
    }

    /// Silence on one fabric, the other being heard, after which that link is down.
    #[must_use]
    pub fn link_down_after(&self) -> Duration {
        (self.suspect_after() * 2).min(self.dead_after())
    }

    /// Between two beats of a leader: five fit into the silence that unseats it.
    #[must_use]
    pub fn leader_period(&self) -> Duration {
        self.leader_silence / 5
    }

    /// Between two requests to a lessor that has not answered.
    #[must_use]
    pub fn ask_again_after(&self) -> Duration {
        (self.period / 2).max(Duration::from_millis(10))
    }

    /// [`Timing::bound_of`] a host with this timing's lease.
    ///
    /// # Panics
    /// As that.
    #[must_use]
    pub fn lease_bound(&self, gate: Gate) -> Duration {
        self.bound_of(Tenure { gate, lease: self.lease })
    }

    /// How long after a lessor acknowledged a heartbeat the sender's gate may still be open, by anybody's
    /// clock: `n L (1 + rho) / (1 - rho) + epsilon`, n being 1 for an absolute gate and 2 for a relative one.
    /// The holder's clock may be slow while the one that measures this is fast; hence the quotient.
    ///
    /// # Panics
    /// The drift must be below a thousand thousandths; [`Timing::check`] sees to it.
    #[must_use]
    pub fn bound_of(&self, tenure: Tenure) -> Duration {
        let lasts = match tenure.gate {
            Gate::Absolute => tenure.lease,
            Gate::Relative => tenure.lease * 2,
        };
        lasts * (1000 + self.drift_permille) / (1000 - self.drift_permille) + self.margin
    }

    /// Checks the inequality of this module.
    ///
    /// # Errors
    /// [`TimingError`] says which numbers do not fit.
    pub fn check(&self) -> Result<(), TimingError> {
        if self.period.is_zero() || self.misses < SUSPECT_MISSES {
            return Err(TimingError::NoSense { misses: self.misses });
        }
        if self.drift_permille >= 500 {
            return Err(TimingError::Drift { permille: self.drift_permille });
        }
        let (lasts, dead_after) = (self.lease_bound(self.gate), self.dead_after());
        if lasts > dead_after {
            return Err(TimingError::LeaseTooLong { lease: self.lease, lasts, dead_after });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Profile;
    use super::*;

    #[test]
    fn a_lease_that_outlives_its_holder_is_refused() {
        let timing = Timing { lease: Duration::from_micros(247_500), ..Profile::Lan.timing(7) };
        assert_eq!(
            timing.check().unwrap_err().to_string(),
            "a lease of 247.5ms may last 272.5ms by a slow clock, but its holder is called dead after 270ms"
        );
        let timing = Timing { gate: Gate::Relative, ..Profile::Lan.timing(7) };
        assert!(matches!(timing.check(), Err(TimingError::LeaseTooLong { .. })));
        let timing = Timing { misses: 2, ..Profile::Lan.timing(7) };
        assert_eq!(timing.check(), Err(TimingError::NoSense { misses: 2 }));
        let timing = Timing { drift_permille: 500, ..Profile::Lan.timing(7) };
        assert_eq!(timing.check(), Err(TimingError::Drift { permille: 500 }));
    }

    #[test]
    fn a_stretched_period_changes_suspicion_and_never_death() {
        for gate in [Gate::Absolute, Gate::Relative] {
            for profile in Profile::ALL {
                let small = profile.timing(7).for_gate(gate);
                for micros in (0..700_000).step_by(311).chain([1, u64::from(u32::MAX)]) {
                    let timing = small.at_period(Duration::from_micros(micros));
                    assert_eq!(timing.dead_after(), small.dead_after(), "{profile} at {micros} us");
                    assert_eq!(timing.check(), Ok(()), "{profile} at {micros} us");
                    assert!(timing.suspect_after() <= timing.dead_after(), "{profile} at {micros} us");
                }
            }
        }
        for hosts in [7, 200, 1100, 2000] {
            let large = Profile::Lan.timing(hosts);
            assert_eq!(Profile::Lan.timing(7).at_period(large.period), large, "{hosts} hosts");
        }
    }

    #[test]
    fn lag_stretches_a_death_up_to_the_cap() {
        let timing = Profile::Lan.timing(7);
        let dead_after = |lag| timing.dead_after_with(Duration::from_millis(lag)).as_millis();
        assert_eq!([0, 30, 31, 100, 160, 9999].map(dead_after), [270, 270, 271, 340, 400, 400]);
    }
}
