//! Timing profiles, and the one inequality that makes a lease safe.
//!
//! A lease may last, by the slowest clock allowed, no longer than the silence after which its holder is
//! called dead: `lease * (1 + drift) + margin <= dead_after`. Timings that break it are refused.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Misses after which a host is suspect.
const SUSPECT_MISSES: u32 = 3;

/// Allowed difference in speed between two boot clocks, in thousandths. Crystals stay far below.
const DRIFT_PERMILLE: u32 = 10;

/// What the inequality leaves for reading clocks and writing the gate's deadline.
const MARGIN: Duration = Duration::from_millis(20);

/// How fast deaths are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Machines of one room with two quiet fabrics.
    #[default]
    Lan,
    /// Machines that share their processors with others, such as CI.
    Shared,
    /// Hosts in several places.
    Wan,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 3] = [Self::Lan, Self::Shared, Self::Wan];

    /// The name, as in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Shared => "shared",
            Self::Wan => "wan",
        }
    }

    /// The timing for a PAN of `hosts` hosts: large ones beat more slowly in `lan`, none detects later.
    #[must_use]
    pub fn timing(self, hosts: usize) -> Timing {
        let millis = Duration::from_millis;
        match self {
            Self::Lan => lan(hosts),
            Self::Shared => Timing::new(millis(100), 6, millis(100), millis(600)),
            Self::Wan => Timing::new(millis(500), 6, millis(500), millis(3200)),
        }
    }
}

/// 20 ms up to 200 hosts, stretching evenly to 50 ms at 2,000; always dead after 270 ms.
fn lan(hosts: usize) -> Timing {
    let millis = Duration::from_millis;
    let (dead_after, allowance_min) = (millis(270), millis(20));
    let beyond = u64::try_from(hosts.clamp(200, 2000) - 200).expect("at most 1,800");
    let period = Duration::from_micros(20_000 + beyond * 30_000 / 1800);
    let misses = ((dead_after - allowance_min).as_micros() / period.as_micros()) as u32;
    Timing::new(period, misses, dead_after - period * misses, millis(240))
}

impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

/// A text names no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown timing profile {found:?}: expected lan, shared or wan")]
pub struct UnknownProfile {
    pub found: String,
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        let known = Self::ALL.into_iter().find(|profile| profile.as_str() == text);
        known.ok_or_else(|| UnknownProfile { found: text.to_owned() })
    }
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
    /// Allowed difference in speed between two boot clocks, in thousandths (rho).
    pub drift_permille: u32,
    /// What the inequality leaves for everything else (epsilon).
    pub margin: Duration,
}

/// A lease could outlive the announcement of its holder's death, or the numbers make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    #[error("a lease of {lease:?} may last {lasts:?} by a slow clock, but its holder is called dead after {dead_after:?}")]
    LeaseTooLong { lease: Duration, lasts: Duration, dead_after: Duration },
    #[error("a period of zero, or fewer misses ({misses}) than the {SUSPECT_MISSES} that make a suspicion")]
    NoSense { misses: u32 },
}

impl Timing {
    fn new(period: Duration, misses: u32, allowance: Duration, lease: Duration) -> Self {
        Self { period, misses, allowance, lease, drift_permille: DRIFT_PERMILLE, margin: MARGIN }
    }

    /// Silence on both fabrics after which a host is dead.
    #[must_use]
    pub fn dead_after(&self) -> Duration {
        self.period * self.misses + self.allowance
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

    /// Checks the inequality of this module.
    ///
    /// # Errors
    /// [`TimingError`] says which numbers do not fit.
    pub fn check(&self) -> Result<(), TimingError> {
        if self.period.is_zero() || self.misses < SUSPECT_MISSES {
            return Err(TimingError::NoSense { misses: self.misses });
        }
        let lasts = self.lease + self.lease * self.drift_permille / 1000 + self.margin;
        if lasts > self.dead_after() {
            return Err(TimingError::LeaseTooLong { lease: self.lease, lasts, dead_after: self.dead_after() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(profile: Profile, hosts: usize, numbers: [u64; 4]) {
        let timing = profile.timing(hosts);
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap();
        let found = [millis(timing.period), u64::from(timing.misses), millis(timing.dead_after()), millis(timing.lease)];
        assert_eq!(found, numbers, "{profile} with {hosts} hosts");
        assert_eq!(timing.check(), Ok(()), "{profile} with {hosts} hosts");
    }

    #[test]
    fn the_profiles_have_the_published_numbers() {
        check(Profile::Lan, 7, [20, 12, 270, 240]);
        check(Profile::Lan, 200, [20, 12, 270, 240]);
        check(Profile::Lan, 1100, [35, 7, 270, 240]);
        check(Profile::Lan, 2000, [50, 5, 270, 240]);
        check(Profile::Lan, 9999, [50, 5, 270, 240]);
        check(Profile::Shared, 7, [100, 6, 700, 600]);
        check(Profile::Wan, 7, [500, 6, 3500, 3200]);
    }

    #[test]
    fn every_size_of_pan_has_a_safe_timing() {
        for hosts in 0..2100 {
            let timing = Profile::Lan.timing(hosts);
            assert_eq!(timing.check(), Ok(()), "{hosts} hosts");
            assert!(timing.allowance >= Duration::from_millis(20), "{hosts} hosts: {timing:?}");
        }
    }

    #[test]
    fn a_lease_that_outlives_its_holder_is_refused() {
        let timing = Timing { lease: Duration::from_millis(250), ..Profile::Lan.timing(7) };
        assert_eq!(
            timing.check().unwrap_err().to_string(),
            "a lease of 250ms may last 272.5ms by a slow clock, but its holder is called dead after 270ms"
        );
        let timing = Timing { misses: 2, ..Profile::Lan.timing(7) };
        assert_eq!(timing.check(), Err(TimingError::NoSense { misses: 2 }));
    }

    #[test]
    fn names_are_parsed_back() {
        for profile in Profile::ALL {
            assert_eq!(profile.as_str().parse(), Ok(profile));
        }
        assert!("LAN".parse::<Profile>().is_err());
    }
}
