//! What time it is for bills: the leader's clock may be wrong, or jump.

use super::super::seen::Life;
use super::super::world::{Now, World};
use pan_member::Tick;
use std::time::Duration;

/// A clock that was set is not believed for so long, unless by a little: by then hosts, which tell theirs every two seconds, have been compared with it.
const DOUBTED_FOR: Duration = Duration::from_secs(600);
/// What is a little, microseconds.
const STEP_MAX: i64 = 60_000_000;

/// The leader's clock, or, where most hosts' differ from it by more than a little, theirs.
pub(super) fn agreed(world: &World, now: Now) -> i64 {
    let mut skews: Vec<i64> = world.seen.hosts.values().filter(|seen| seen.life == Life::Alive).filter_map(|seen| seen.skew).collect();
    skews.sort_unstable();
    let Some(median) = skews.get(skews.len() / 2) else { return now.wall };
    if median.abs() > STEP_MAX { now.wall.saturating_add(*median) } else { now.wall }
}

/// The clock that is counted by.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    /// When it was right last.
    right: Option<(Tick, i64)>,
}

impl Clock {
    /// What time it is, microseconds since 1970. It goes on evenly for some minutes where the clock it is read from does not.
    pub(super) fn read(&mut self, agreed: i64, now: Tick) -> i64 {
        if let Some((at, wall)) = self.right {
            let passed = now.since(at);
            let expected = wall.saturating_add(i64::try_from(passed.as_micros()).unwrap_or(i64::MAX));
            if (agreed - expected).abs() > STEP_MAX && passed < DOUBTED_FOR {
                return expected;
            }
        }
        self.right = Some((now, agreed));
        agreed
    }
}
