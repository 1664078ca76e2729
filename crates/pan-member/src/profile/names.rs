//! The profiles by name, and their numbers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::timing::{ALLOWANCE_MIN, Basics, Timing};

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
        match self {
            Self::Lan => Timing::new(lan(hosts)),
            Self::Shared => Timing::new(basics([100, 6, 100, 600], [500, 4500, 300])),
            Self::Wan => Timing::new(basics([500, 6, 500, 3200], [2500, 16_000, 1000])),
        }
    }

    /// Between two heartbeats of a director: others stand in for one as soon as it is suspected, and clients wait for that.
    #[must_use]
    pub fn director_period(self) -> Duration {
        self.timing(0).period / 2
    }
}

/// Milliseconds of period, misses, milliseconds of allowance and lease; then of the leader's and the store's silence and of stretch.
fn basics([period, misses, allowance, lease]: [u64; 4], [leader_silence, store_silence, stretch_max]: [u64; 3]) -> Basics {
    let millis = Duration::from_millis;
    Basics {
        period: millis(period),
        misses: u32::try_from(misses).expect("written above"),
        allowance: millis(allowance),
        lease: millis(lease),
        leader_silence: millis(leader_silence),
        store_silence: millis(store_silence),
        stretch_max: millis(stretch_max),
    }
}

/// 20 ms up to 200 hosts, stretching evenly to 50 ms at 2,000; always dead after 270 ms.
fn lan(hosts: usize) -> Basics {
    let small = basics([20, 12, 30, 240], [150, 1000, 130]);
    let dead_after = Duration::from_millis(270);
    let beyond = u64::try_from(hosts.clamp(200, 2000) - 200).expect("at most 1,800");
    let period = Duration::from_micros(20_000 + beyond * 30_000 / 1800);
    let misses = ((dead_after - ALLOWANCE_MIN).as_micros() / period.as_micros()) as u32;
    Basics { period, misses, allowance: dead_after - period * misses, ..small }
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

#[cfg(test)]
mod tests {
    use super::super::Gate;
    use super::*;

    fn millis(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap()
    }

    fn check(profile: Profile, hosts: usize, numbers: [u64; 4]) {
        let timing = profile.timing(hosts);
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
        let silences = Profile::ALL.map(|profile| millis(profile.timing(7).leader_silence));
        assert_eq!(silences, [150, 500, 2500]);
        let silences = Profile::ALL.map(|profile| millis(profile.timing(7).store_silence));
        assert_eq!(silences, [1000, 4500, 16_000]);
    }

    #[test]
    fn no_profile_has_a_longer_lease_than_the_longest() {
        let leases = Profile::ALL.map(|profile| profile.timing(7).lease);
        assert_eq!(leases.iter().max(), Some(&super::super::Tenure::LONGEST.lease));
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
    fn the_relative_gate_is_detected_later() {
        for profile in Profile::ALL {
            let timing = profile.timing(7).for_gate(Gate::Relative);
            assert_eq!(timing.check(), Ok(()), "{profile}");
            assert!(timing.dead_after() >= 2 * timing.lease, "{profile}");
            assert_eq!(timing.suspect_after(), profile.timing(7).suspect_after(), "{profile}");
            assert_eq!(timing.for_gate(Gate::Absolute), timing.for_gate(Gate::Relative).for_gate(Gate::Absolute));
        }
        assert_eq!(millis(Profile::Lan.timing(7).for_gate(Gate::Relative).dead_after()), 510);
    }

    #[test]
    fn names_are_parsed_back() {
        for profile in Profile::ALL {
            assert_eq!(profile.as_str().parse(), Ok(profile));
        }
        assert!("LAN".parse::<Profile>().is_err());
    }
}
