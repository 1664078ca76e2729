//! Slot tables against what they promise, and against the algorithm as the paper writes it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use pan_balance::{Member, Table, stable_hash, table_size};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn members() -> impl Strategy<Value = Vec<Member>> {
    prop::collection::btree_map(1_u32..5000, 1_u32..=8, 1..24)
        .prop_map(|all| all.into_iter().map(|(index, weight)| Member { index, weight }).collect())
}

fn equal_members(indices: &BTreeSet<u32>) -> Vec<Member> {
    indices.iter().map(|index| Member { index: *index, weight: 1 }).collect()
}

/// Figure 3 of the paper, with whole permutations, for equal weights.
fn reference(service: &str, size: u32, indices: &BTreeSet<u32>) -> Vec<u32> {
    let size = u64::from(size);
    let permutations: Vec<(u32, Vec<u64>)> = indices
        .iter()
        .map(|index| {
            let hash = |purpose: &[u8]| stable_hash(&[service.as_bytes(), purpose, &index.to_be_bytes()]);
            let (offset, skip) = (hash(b"offset") % size, hash(b"skip") % (size - 1) + 1);
            (*index, (0..size).map(|j| (offset + j * skip) % size).collect())
        })
        .collect();
    let mut entry: BTreeMap<u64, u32> = BTreeMap::new();
    loop {
        for (index, permutation) in &permutations {
            let wanted = permutation.iter().find(|slot| !entry.contains_key(slot)).expect("a slot is free");
            entry.insert(*wanted, *index);
            if entry.len() as u64 == size {
                return entry.into_values().collect();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn as_the_paper_says(indices in prop::collection::btree_set(1_u32..5000, 1..8), service in "[a-z]{1,8}") {
        let size = table_size(indices.len());
        let table = Table::build(&service, size, &equal_members(&indices));
        prop_assert_eq!(table.slots, reference(&service, size, &indices));
    }

    #[test]
    fn shares_follow_weights(members in members(), service in "[a-z]{1,8}") {
        let size = table_size(members.len());
        let table = Table::build(&service, size, &members);
        prop_assert_eq!(table.slots.len(), size as usize);
        let total: f64 = members.iter().map(|member| f64::from(member.weight)).sum();
        for member in &members {
            let exact = f64::from(size) * f64::from(member.weight) / total;
            let share = table.share(member.index) as f64;
            prop_assert!((share - exact).abs() <= 2.0, "server {} has {share} slots, its share is {exact:.1}", member.index);
        }
    }

    #[test]
    fn the_order_of_servers_does_not_matter(members in members(), service in "[a-z]{1,8}") {
        let size = table_size(members.len());
        let reversed: Vec<Member> = members.iter().rev().copied().collect();
        prop_assert_eq!(Table::build(&service, size, &members), Table::build(&service, size, &reversed));
    }

    #[test]
    fn the_loss_of_a_server_moves_few_slots_of_others(
        indices in prop::collection::btree_set(1_u32..5000, 2..24),
        pick in any::<prop::sample::Index>(),
        service in "[a-z]{1,8}",
    ) {
        let size = table_size(indices.len());
        let all = equal_members(&indices);
        let lost = all[pick.index(all.len())].index;
        let left: Vec<Member> = all.iter().filter(|member| member.index != lost).copied().collect();
        let before = Table::build(&service, size, &all);
        let after = Table::build(&service, size, &left);
        let moved = before.slots.iter().zip(&after.slots).filter(|(old, new)| **old != lost && old != new).count();
        prop_assert!(moved * 5 <= before.slots.len(), "{moved} of {} slots of living servers moved", before.slots.len());
    }

    #[test]
    fn a_second_choice_is_another_server_and_the_first_after_the_loss(
        members in members(),
        pick in any::<prop::sample::Index>(),
        service in "[a-z]{1,8}",
    ) {
        prop_assume!(members.len() > 1);
        let size = table_size(members.len());
        let table = Table::build(&service, size, &members);
        let second = table.second_choices(&service, &members, &BTreeSet::new());
        prop_assert!(table.slots.iter().zip(&second.slots).all(|(first, second)| first != second));

        let lost = members[pick.index(members.len())].index;
        let left: Vec<Member> = members.iter().filter(|member| member.index != lost).copied().collect();
        let after = Table::build(&service, size, &left);
        for slot in (0..table.slots.len()).filter(|slot| table.slots[*slot] == lost) {
            prop_assert_eq!(second.slots[slot], after.slots[slot]);
        }
    }

    #[test]
    fn large_tables_have_second_choices_in_equal_shares(servers in 65_u32..150, avoided in 1_u32..65, service in "[a-z]{1,8}") {
        let members = equal_members(&(1..=servers).collect());
        let size = table_size(members.len());
        let table = Table::build(&service, size, &members);
        let second = table.second_choices(&service, &members, &BTreeSet::new());
        prop_assert!(table.slots.iter().zip(&second.slots).all(|(first, second)| first != second));
        let fair = f64::from(size) / f64::from(servers);
        prop_assert!((1..=servers).all(|index| (second.share(index) as f64 - fair).abs() <= 2.0));

        let second = table.second_choices(&service, &members, &BTreeSet::from([avoided]));
        let after = Table::build(&service, size, &members.iter().filter(|member| member.index != avoided).copied().collect::<Vec<_>>());
        for slot in (0..table.slots.len()).filter(|slot| table.slots[*slot] == avoided) {
            prop_assert_eq!(second.slots[slot], after.slots[slot]);
        }
    }

    #[test]
    fn sizes_grow_with_the_servers(servers in 0_usize..2000) {
        let size = table_size(servers);
        prop_assert!((251..=65_537).contains(&size));
        prop_assert!(size <= table_size(servers + 1));
        prop_assert!(size as usize >= 100 * servers || size == 65_537);
        prop_assert!((2..size).take_while(|d| d * d <= size).all(|d| !size.is_multiple_of(d)));
    }
}
