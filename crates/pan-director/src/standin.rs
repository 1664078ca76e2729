//! Which units of others this director answers for: those that it is the successor of, while their owner is silent and the map still says that
//! it is the owner's. Pure.

use pan_api::desired::{Desired, Seat};
use pan_model::{Epoch, HostName};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Units of others, by their networks' identifiers, and the epochs under which those have them.
pub(crate) type Standing = BTreeMap<u32, Epoch>;

/// The seats that this director would take now.
pub(crate) fn due<'a>(desired: &'a Desired, silent: &'a BTreeSet<HostName>) -> impl Iterator<Item = &'a Seat> {
    let mine = |seat: &&Seat| seat.successor.as_ref() == Some(&desired.host) && seat.owner != desired.host && silent.contains(&seat.owner);
    let served = |seat: &&Seat| desired.units.iter().any(|unit| unit.vni == seat.vni && !unit.owner);
    desired.seats.iter().filter(mine).filter(served)
}

/// What of `standing` is still due.
pub(crate) fn still(desired: &Desired, silent: &BTreeSet<HostName>, standing: &Standing) -> Standing {
    let stays = |seat: &&Seat| standing.get(&seat.vni) == Some(&seat.epoch);
    if standing.is_empty() { Standing::new() } else { due(desired, silent).filter(stays).map(|seat| (seat.vni, seat.epoch)).collect() }
}

/// What is wanted, as if the units that it stands in for were its own.
pub(crate) fn over<'a>(desired: &'a Desired, standing: &Standing) -> Cow<'a, Desired> {
    if standing.is_empty() {
        return Cow::Borrowed(desired);
    }
    let mut wanted = desired.clone();
    wanted.units.iter_mut().filter(|unit| standing.contains_key(&unit.vni)).for_each(|unit| unit.owner = true);
    Cow::Owned(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{desired, unit};

    fn seat(owner: &str, successor: Option<&str>) -> Seat {
        Seat { vni: 100, epoch: Epoch(4), owner: owner.parse().unwrap(), successor: successor.map(|name| name.parse().unwrap()) }
    }

    fn hosts(names: &[&str]) -> BTreeSet<HostName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// Whether d1 answers for the unit.
    fn check(owner: bool, seat: Seat, silent: &[&str], expected: bool) {
        let mut wanted = desired(vec![unit(Vec::new())]);
        wanted.units[0].owner = owner;
        wanted.seats = vec![seat];
        let found = due(&wanted, &hosts(silent)).count();
        assert_eq!(found, usize::from(expected), "{:?}, silent {silent:?}", wanted.seats);
    }

    #[test]
    fn it_answers_for_units_of_silent_directors_that_the_map_leaves_to_it() {
        check(false, seat("d2", Some("d1")), &["d2"], true);
        check(false, seat("d2", Some("d1")), &[], false);
        check(false, seat("d2", Some("d1")), &["d3"], false);
        check(false, seat("d2", Some("d3")), &["d2"], false);
        check(false, seat("d2", None), &["d2"], false);
        check(false, Seat { vni: 7, ..seat("d2", Some("d1")) }, &["d2"], false);
        // Its own it has anyway.
        check(true, seat("d1", Some("d2")), &["d1", "d2"], false);
        check(true, seat("d1", Some("d1")), &["d1"], false);
    }

    #[test]
    fn it_stands_in_under_the_epoch_of_then_and_no_other() {
        let mut wanted = desired(vec![unit(Vec::new())]);
        wanted.units[0].owner = false;
        wanted.seats = vec![seat("d2", Some("d1"))];
        let (silent, standing) = (hosts(&["d2"]), Standing::from([(100, Epoch(4)), (7, Epoch(4))]));
        let kept = still(&wanted, &silent, &standing);
        assert_eq!(kept, Standing::from([(100, Epoch(4))]));
        assert!(over(&wanted, &kept).units[0].owner);
        assert!(matches!(over(&wanted, &Standing::new()), Cow::Borrowed(_)));
        assert!(still(&wanted, &hosts(&[]), &standing).is_empty());
        wanted.seats[0].epoch = Epoch(5);
        assert!(still(&wanted, &silent, &standing).is_empty());
    }
}
