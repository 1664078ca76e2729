//! Directors that answer for others: a director falls silent, and the successor that the map names for each of its units takes
//! the unit's addresses, long before anybody has said that it is dead. Whoever sends to the unit's gateway hears of it from the
//! successor itself ([`StandIn`]) and believes it as long as it is repeated, for units of which the map says the same epoch and that successor.
//!
//! It binds nobody: both directors treat a packet alike, so a moment in which two of them answer, or one whom not everybody
//! follows, costs nothing but the connections that end in a director itself.

use std::collections::BTreeMap;
use std::time::Duration;

use pan_model::{Epoch, HostName};

use crate::frame::BootId;
use crate::tick::Tick;
use crate::wire::StandIn;

/// For so long what a director said is believed. It repeats it every [`REPEATED`].
pub const BELIEVED: Duration = Duration::from_secs(3);

/// See [`BELIEVED`].
pub const REPEATED: Duration = Duration::from_millis(500);

/// Units of which something is remembered: more than a PAN has, and a bound on what a mad director can cost.
const UNITS_MAX: usize = 65_536;

/// What directors said last, by the identifiers of partitions' networks.
#[derive(Debug, Default)]
pub struct StandIns {
    said: BTreeMap<u32, Said>,
}

#[derive(Debug)]
struct Said {
    director: HostName,
    boot: BootId,
    sequence: u64,
    epoch: Epoch,
    /// Until when it answers for the unit; no longer if it said so, or said nothing for too long.
    until: Option<Tick>,
}

impl Said {
    /// Of another director, another life of it, or later: a director that begins anew counts from its clock, so that a datagram of
    /// an earlier life can come again only once, and is overridden by the next of this one.
    fn gives_way_to(&self, said: &StandIn) -> bool {
        self.director != said.director || self.boot != said.boot || said.sequence > self.sequence
    }
}

impl StandIns {
    /// Takes note of a datagram whose hash is right. Says whether anything is otherwise now.
    pub fn hear(&mut self, said: &StandIn, now: Tick) -> bool {
        let before = self.standing();
        for unit in &said.units {
            let room = self.said.len() < UNITS_MAX;
            let known = self.said.get(&unit.vni);
            if known.map_or(!room, |known| !known.gives_way_to(said)) {
                continue;
            }
            let until = unit.here.then(|| now.plus(BELIEVED));
            let (director, boot, sequence, epoch) = (said.director.clone(), said.boot, said.sequence, unit.epoch);
            self.said.insert(unit.vni, Said { director, boot, sequence, epoch, until });
        }
        before != self.standing()
    }

    /// Forgets who has not repeated it. Says whether anything is otherwise now.
    pub fn tick(&mut self, now: Tick) -> bool {
        let mut any = false;
        for said in self.said.values_mut() {
            if said.until.is_some_and(|until| now >= until) {
                (said.until, any) = (None, true);
            }
        }
        any
    }

    /// When [`StandIns::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Tick> {
        self.said.values().filter_map(|said| said.until).min()
    }

    /// Who answers for which unit at present, and under which epoch its owner has it.
    #[must_use]
    pub fn standing(&self) -> BTreeMap<u32, (HostName, Epoch)> {
        let standing = self.said.iter().filter(|(_, said)| said.until.is_some());
        standing.map(|(vni, said)| (*vni, (said.director.clone(), said.epoch))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Stood;

    fn say(director: &str, boot: u64, sequence: u64, here: bool) -> StandIn {
        let units = vec![Stood { vni: 100, epoch: Epoch(4), here }];
        StandIn { director: director.parse().unwrap(), boot: BootId(boot), sequence, units }
    }

    fn at(ms: u64) -> Tick {
        Tick(ms * 1_000_000)
    }

    /// What is believed after each datagram, heard a millisecond apart.
    fn check(said: &[StandIn], expected: &[Option<&str>]) {
        let mut known = StandIns::default();
        for (step, (said, expected)) in (0..).zip(said.iter().zip(expected)) {
            let before = known.standing();
            let news = known.hear(said, at(step));
            let standing = known.standing();
            assert_eq!(news, before != standing, "step {step}");
            assert_eq!(standing.get(&100).map(|(host, _)| host.as_str()), *expected, "step {step}");
        }
    }

    #[test]
    fn what_was_said_last_counts_and_not_what_comes_again() {
        let (one, other) = (Some("d2"), Some("d3"));
        check(&[say("d2", 1, 5, true), say("d2", 1, 5, true)], &[one, one]);
        check(&[say("d2", 1, 5, true), say("d2", 1, 6, false), say("d2", 1, 5, true)], &[one, None, None]);
        check(&[say("d2", 1, 6, false), say("d2", 2, 3, true)], &[None, one]);
        check(&[say("d2", 1, 6, true), say("d3", 9, 1, true)], &[one, other]);
    }

    #[test]
    fn it_is_believed_as_long_as_it_is_repeated() {
        let mut known = StandIns::default();
        assert!(known.hear(&say("d2", 1, 1, true), at(0)));
        assert!(!known.hear(&say("d2", 1, 2, true), at(500)), "nothing new");
        assert_eq!(known.deadline(), Some(at(3500)));
        assert!(!known.tick(at(3499)));
        assert!(known.tick(at(3500)));
        assert!(known.standing().is_empty() && known.deadline().is_none());
        // What it said may still come again, and is no more believed.
        assert!(!known.hear(&say("d2", 1, 2, true), at(3600)));
        assert!(BELIEVED > REPEATED * 5, "some may be lost");
    }
}
