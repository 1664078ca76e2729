//! From one slot table to another with other weights: no slot moves that need not, and few at a time.
//!
//! [`Table::build`] gives equal tables to whoever has equal members, but moves more slots than a change of weights
//! asks for. Here a table follows from the one before: who is to have the same one has to have had the same
//! one before, or be given it. For weights that follow load several times a second that is the better bargain;
//! for members that come and go [`Table::build`] stays the way.

use crate::slots::{Member, Table, Turn, turns};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The part of a table that may move in one update, in thousandths: 2 %.
pub const MOVED_MAX: u32 = 20;

/// What an update of a table made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The new table.
    pub table: Table,
    /// Slots of members that went to another one.
    pub moved: usize,
    /// Slots of servers that are no members any more; these go at once, whatever the limit.
    pub given_up: usize,
    /// Slots that have still to move before shares are what weights say.
    pub left: usize,
}

impl Table {
    /// The slots that each member should have: its part by weight, rounded so that the sum is right (largest
    /// remainder, ties to the lower number), at least one each while there are enough.
    #[must_use]
    pub fn quotas(&self, members: &[Member]) -> BTreeMap<u32, usize> {
        let size = self.slots.len() as u64;
        let weights: BTreeMap<u32, u64> =
            members.iter().filter(|member| member.weight > 0).map(|member| (member.index, u64::from(member.weight))).collect();
        let total: u64 = weights.values().sum();
        let whole = |weight: u64| weight * size / total.max(1);
        let mut quotas: BTreeMap<u32, u64> = weights.iter().map(|(index, weight)| (*index, whole(*weight).max(1))).collect();
        let mut remainders: Vec<(u64, u32)> = weights.iter().map(|(index, weight)| (weight * size % total.max(1), *index)).collect();
        remainders.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        let mut sum: u64 = quotas.values().sum();
        for (_, index) in remainders.iter().cycle() {
            if sum >= size {
                break;
            }
            *quotas.get_mut(index).expect("every member has a quota") += 1;
            sum += 1;
        }
        // The least that everybody has may have made it too many: whoever has most gives.
        while sum > size {
            let most = quotas.iter_mut().max_by_key(|(index, quota)| (**quota, Reverse(**index)));
            *most.expect("a sum above 0 has parts").1 -= 1;
            sum -= 1;
        }
        quotas.into_iter().map(|(index, quota)| (index, usize::try_from(quota).expect("a part of a table"))).collect()
    }

    /// Moves the table toward the weights of `members`, at most `moved_max` thousandths of it (at least one slot). Who
    /// is to have more takes slots in its own order of preference, from servers that are no members any more first,
    /// and then from those who have more than they should; nobody else's slots move. O(slots + servers × moved)
    /// expected.
    #[must_use]
    pub fn update(&self, service: &str, members: &[Member], moved_max: u32) -> Update {
        let size = u32::try_from(self.slots.len()).expect("a table has at most SLOTS_MAX slots");
        let quotas = self.quotas(members);
        if size == 0 || quotas.is_empty() {
            return Update { table: Self::default(), moved: 0, given_up: self.slots.len(), left: 0 };
        }
        let limit = (self.slots.len() * moved_max as usize / 1000).max(1);
        let mut work = Work::new(self.slots.clone(), &quotas);
        let given_up = work.take(turns(service, size, members), usize::MAX, From::Gone);
        let moved = work.take(turns(service, size, members), limit, From::Rich);
        let left = work.wanting.values().sum();
        Update { table: Self { slots: work.slots }, moved, given_up, left }
    }
}

/// Whose slots may be taken.
#[derive(Clone, Copy)]
enum From {
    Gone,
    Rich,
}

struct Work {
    slots: Vec<u32>,
    /// How many each member has above its quota.
    surplus: BTreeMap<u32, usize>,
    /// How many each has below it.
    wanting: BTreeMap<u32, usize>,
}

impl Work {
    fn new(slots: Vec<u32>, quotas: &BTreeMap<u32, usize>) -> Self {
        let mut held: BTreeMap<u32, usize> = quotas.keys().map(|index| (*index, 0)).collect();
        for slot in &slots {
            if let Some(count) = held.get_mut(slot) {
                *count += 1;
            }
        }
        let surplus = held.iter().map(|(index, held)| (*index, held.saturating_sub(quotas[index]))).collect();
        let wanting = held.iter().map(|(index, held)| (*index, quotas[index].saturating_sub(*held))).collect();
        Self { slots, surplus, wanting }
    }

    /// Lets those in want take slots, one each in turn, until there is none left or `limit` are taken.
    fn take(&mut self, mut turns: Vec<Turn>, limit: usize, from: From) -> usize {
        let mut taken = 0;
        while taken < limit && !turns.is_empty() {
            turns.retain_mut(|turn| {
                if taken >= limit || self.wanting.get(&turn.index).is_none_or(|wanting| *wanting == 0) {
                    return false;
                }
                let may_have = |slot: usize| {
                    let surplus = self.surplus.get(&self.slots[slot]);
                    match from {
                        From::Gone => surplus.is_none(),
                        From::Rich => surplus.is_some_and(|surplus| *surplus > 0),
                    }
                };
                let Some(slot) = turn.next_slot(may_have) else { return false };
                if let Some(surplus) = self.surplus.get_mut(&self.slots[slot]) {
                    *surplus -= 1;
                }
                *self.wanting.get_mut(&turn.index).expect("it is in want") -= 1;
                self.slots[slot] = turn.index;
                taken += 1;
                true
            });
        }
        taken
    }
}
