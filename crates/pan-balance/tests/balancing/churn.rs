//! Slot tables that follow weights, and the weights that follow load.

use pan_balance::capacity::{self, Report};
use pan_balance::churn::MOVED_MAX;
use pan_balance::{Member, Table, table_size};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn members() -> impl Strategy<Value = Vec<Member>> {
    prop::collection::btree_map(1_u32..40, 1_u32..3000, 1..14)
        .prop_map(|all| all.into_iter().map(|(index, weight)| Member { index, weight }).collect())
}

fn table(members: &[Member]) -> Table {
    Table::build("www", table_size(14), members)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Largest remainder: within one slot of the exact part, unless that is less than one.
    #[test]
    fn quotas_are_rounded_shares(before in members(), after in members()) {
        let table = table(&before);
        let size = table.slots.len();
        let quotas = table.quotas(&after);
        prop_assert_eq!(quotas.values().sum::<usize>(), size);
        let total: f64 = after.iter().map(|member| f64::from(member.weight)).sum();
        let tiny = after.iter().filter(|member| (size as f64) * f64::from(member.weight) < total).count() as f64;
        for member in &after {
            let exact = size as f64 * f64::from(member.weight) / total;
            let quota = quotas[&member.index] as f64;
            prop_assert!(quota >= 1.0 && (quota - exact).abs() < 1.0 + tiny, "{quota} for {exact}");
        }
    }

    /// No update moves more than 2 % of living servers' slots; a slot only ever moves from who has too many to who has too
    /// few; and the updates end after as many as there is to move, at the quotas.
    #[test]
    fn few_slots_move_and_none_that_need_not(before in members(), after in members()) {
        let mut table = table(&before);
        let size = table.slots.len();
        let limit = size * MOVED_MAX as usize / 1000;
        let alive: BTreeSet<u32> = after.iter().map(|member| member.index).collect();
        let quotas = table.quotas(&after);
        let gone = table.slots.iter().filter(|owner| !alive.contains(owner)).count();
        let wanting: usize = quotas.iter().map(|(index, quota)| quota.saturating_sub(table.share(*index))).sum();
        let mut updates = 0;
        loop {
            let next = table.update("www", &after, MOVED_MAX);
            let mut moved = 0;
            for (old, new) in table.slots.iter().zip(&next.table.slots).filter(|(old, new)| old != new) {
                prop_assert!(!alive.contains(old) || table.share(*old) > quotas[old]);
                prop_assert!(table.share(*new) < quotas[new]);
                moved += usize::from(alive.contains(old));
            }
            prop_assert_eq!(moved, next.moved);
            prop_assert!(moved <= limit);
            prop_assert_eq!(next.given_up, if updates == 0 { gone } else { 0 });
            table = next.table;
            if next.left == 0 {
                break;
            }
            prop_assert_eq!(moved, limit, "slower than it may be");
            updates += 1;
        }
        prop_assert!(updates <= wanting.saturating_sub(gone) / limit);
        prop_assert!(quotas.iter().all(|(index, quota)| table.share(*index) == *quota));
        prop_assert_eq!(table.update("www", &after, MOVED_MAX).table, table);
    }

    /// The same members in another order, the same table.
    #[test]
    fn updates_are_the_same_everywhere(before in members(), after in members()) {
        let table = table(&before);
        let reversed: Vec<Member> = after.iter().rev().copied().collect();
        prop_assert_eq!(table.update("www", &after, MOVED_MAX), table.update("www", &reversed, MOVED_MAX));
    }
}

/// The least that everybody has comes from whoever has most.
#[test]
fn the_lightest_have_a_slot_too() {
    let members: Vec<Member> = (1..=14).map(|index| Member { index, weight: if index == 1 { 3_000_000 } else { 1 } }).collect();
    let quotas = table(&members).quotas(&members);
    assert_eq!(quotas.values().copied().collect::<Vec<_>>(), [vec![1396], vec![1; 13]].concat());
}

#[test]
fn nobody_left_is_an_empty_table() {
    let before = table(&[Member { index: 1, weight: 1 }]);
    for members in [vec![], vec![Member { index: 1, weight: 0 }]] {
        let update = before.update("www", &members, MOVED_MAX);
        assert!(update.table.slots.is_empty());
        assert_eq!((update.moved, update.given_up, update.left), (0, before.slots.len(), 0));
    }
}

/// A small change of one weight: what building anew would move, and what an update does; the figure of docs/balancing.md.
#[test]
fn an_update_moves_less_than_a_new_table() {
    let weights =
        |first: u32| -> Vec<Member> { (1..=10).map(|index| Member { index, weight: if index == 1 { first } else { 1000 } }).collect() };
    let before = table(&weights(1000));
    let differing = |other: &Table| before.slots.iter().zip(&other.slots).filter(|(old, new)| old != new).count();
    let update = before.update("www", &weights(900), MOVED_MAX);
    let anew = differing(&table(&weights(900)));
    println!("{} slots: an update moves {}, a new table {anew}", before.slots.len(), update.moved);
    assert_eq!(differing(&update.table), update.moved);
    assert!(update.left == 0 && update.moved <= before.slots.len() / 100 + 1 && anew > 2 * update.moved, "{} {anew}", update.moved);
}

/// Load in proportion to slots over speed.
fn loads(weights: &BTreeMap<u32, u32>, speeds: &[u32], traffic: f64) -> BTreeMap<u32, u32> {
    let total: f64 = weights.values().map(|weight| f64::from(*weight)).sum();
    let load = |index: u32| traffic * f64::from(weights[&index]) / total / f64::from(speeds[index as usize]) * 1000.0;
    weights.keys().map(|index| (*index, load(*index) as u32)).collect()
}

/// Whatever the speeds, weights come to rest where all are equally busy, which is at shares like the speeds.
#[test]
fn weights_follow_load_until_all_are_equally_busy() {
    for speeds in [vec![1, 2], vec![1, 1, 1, 5], vec![3, 4, 5, 6, 7], vec![2; 6]] {
        let mut weights: BTreeMap<u32, u32> = (0..speeds.len() as u32).map(|index| (index, 1000)).collect();
        let traffic = 0.6 * f64::from(speeds.iter().sum::<u32>());
        for _ in 0..60 {
            let load = loads(&weights, &speeds, traffic);
            let reports: Vec<Report> = weights
                .iter()
                .map(|(index, current)| Report { index: *index, weight: 1, current: Some(*current), load: load[index] })
                .collect();
            weights = capacity::weights(&reports).into_iter().map(|member| (member.index, member.weight)).collect();
        }
        let load = loads(&weights, &speeds, traffic);
        assert!(load.values().all(|load| load.abs_diff(600) <= 25), "{speeds:?}: {weights:?} {load:?}");
    }
}

#[test]
fn no_report_moves_a_weight_by_much() {
    let report = |index, load| Report { index, weight: 1, current: Some(1000), load };
    let weights = capacity::weights(&[report(1, 5000), report(2, 100), report(3, 100), report(4, 100)]);
    assert!(weights.iter().all(|member| (650..1350).contains(&member.weight)), "{weights:?}");
    // The silent one keeps a tenth, and who has no weight has none.
    let mut current = vec![1000_u32, 1000];
    for _ in 0..100 {
        let reports = [(0, 9000), (1, 100)].map(|(index, load)| Report { index, weight: 1, current: Some(current[index as usize]), load });
        current = capacity::weights(&reports).iter().map(|member| member.weight).collect();
    }
    assert!(current[0] * 25 > current[1], "{current:?}");
    assert_eq!(capacity::weights(&[Report { index: 1, weight: 0, current: None, load: 1 }]), []);
    let fresh = capacity::weights(&[Report { index: 1, weight: 2, current: None, load: 0 }]);
    assert_eq!(fresh, [Member { index: 1, weight: 2000 }]);
}
