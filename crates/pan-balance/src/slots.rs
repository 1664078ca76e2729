//! Slot tables: a connection is hashed to a slot, and the table says which server has that slot.
//!
//! The tables are Maglev's (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
//! Balancer", NSDI 2016, section 3.4), with weights: every server has its own order of preference over
//! all slots, and in turn each takes the first slot of its order that is still free.

use crate::hash::stable_hash;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Slots of the smallest table. With fewer, shares of two or three servers would differ by over 1 %.
pub const SLOTS_MIN: u32 = 251;
/// Slots of the largest table; loading more into the kernel takes over half a second.
pub const SLOTS_MAX: u32 = 65_537;
/// Up to so many servers each has a table of its own for second choices, which takes as many times as long as
/// one table: with 64 about 12 ms, with 655 it would be 2 s, on the path of every failover.
const EXACT_MAX: usize = 64;
/// Slots per server, which bounds the difference of two equal servers' shares to 1 % (NSDI 2016, 3.4).
const SLOTS_PER_SERVER: u32 = 100;

/// The number of slots for a service of `servers` servers: the smallest prime that is at least 100 a
/// server, within [`SLOTS_MIN`] and [`SLOTS_MAX`]. Count all servers, whatever their state: another
/// size moves nearly every connection to another slot.
#[must_use]
pub fn table_size(servers: usize) -> u32 {
    let wanted = u32::try_from(servers).unwrap_or(u32::MAX).saturating_mul(SLOTS_PER_SERVER);
    let wanted = wanted.clamp(SLOTS_MIN, SLOTS_MAX);
    (wanted..=SLOTS_MAX).find(|candidate| is_prime(*candidate)).expect("SLOTS_MAX is a prime")
}

fn is_prime(number: u32) -> bool {
    number >= 2 && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

/// A server that takes part in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Its fixed number.
    pub index: u32,
    /// Its share in relation to the other members'; at least 1.
    pub weight: u32,
}

/// Which server has which slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// The servers' numbers by slot; empty if there is no server to give slots to.
    pub slots: Vec<u32>,
}

impl Table {
    /// Builds the table of a service. The order of `members` does not matter; one of weight 0, or that
    /// repeats an index, has no part in it. `size` is a prime ([`table_size`]).
    #[must_use]
    pub fn build(service: &str, size: u32, members: &[Member]) -> Self {
        Self { slots: fill(turns(service, size, members), size, |_, _| true).into_iter().flatten().collect() }
    }

    /// The second choice of each slot, for when the first is to be avoided. Servers in `avoid` are nobody's,
    /// where it matters: in the slots of a server in `avoid`. A slot without a second choice keeps its first.
    ///
    /// Where the first is avoided, the second is what [`Table::build`] gives the slot without those in `avoid`:
    /// when a server is suspected its slots go where they will go if it turns out dead. For up to 64 servers
    /// that also holds of every other slot should its first be the next to be avoided.
    #[must_use]
    pub fn second_choices(&self, service: &str, members: &[Member], avoid: &BTreeSet<u32>) -> Self {
        let size = u32::try_from(self.slots.len()).expect("a table has at most SLOTS_MAX slots");
        let without = |out: &dyn Fn(u32) -> bool| {
            let others: Vec<Member> = members.iter().filter(|member| !out(member.index)).copied().collect();
            Self::build(service, size, &others).slots
        };
        let mut second = self.slots.clone();
        let mut take = |seconds: &[u32], of: &dyn Fn(u32) -> bool| {
            for (slot, choice) in seconds.iter().enumerate().filter(|(slot, _)| of(self.slots[*slot])) {
                second[slot] = *choice;
            }
        };
        let firsts: BTreeSet<u32> = self.slots.iter().copied().filter(|first| !avoid.contains(first)).collect();
        if members.len() <= EXACT_MAX {
            for first in firsts {
                take(&without(&|index| index == first), &|index| index == first);
            }
        } else {
            let others = fill(turns(service, size, members), size, |slot, index| self.slots[slot] != index);
            let others: Vec<u32> = others.into_iter().flatten().collect();
            take(&others, &|index| !avoid.contains(&index));
        }
        if !avoid.is_empty() {
            take(&without(&|index| avoid.contains(&index)), &|index| avoid.contains(&index));
        }
        Self { slots: second }
    }

    /// How many slots a server has.
    #[must_use]
    pub fn share(&self, index: u32) -> usize {
        self.slots.iter().filter(|slot| **slot == index).count()
    }
}

/// A server's place in the rounds of [`fill`].
pub(crate) struct Turn {
    pub(crate) index: u32,
    weight: u64,
    /// What `2 * round * weight` must reach for the next turn.
    due: u64,
    at: u64,
    skip: u64,
    size: u64,
}

impl Turn {
    /// Walks its order of preference to the next slot that it may have. The size is a prime, so the order
    /// visits every slot.
    pub(crate) fn next_slot(&mut self, may_have: impl Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..self.size {
            let slot = usize::try_from(self.at).expect("a slot is below SLOTS_MAX");
            self.at = (self.at + self.skip) % self.size;
            if may_have(slot) {
                return Some(slot);
            }
        }
        None
    }
}

/// Lets servers take slots in turn until none is left that anybody may have. Empty without servers.
fn fill(mut turns: Vec<Turn>, size: u32, may_have: impl Fn(usize, u32) -> bool) -> Vec<Option<u32>> {
    let Some(heaviest) = turns.iter().map(|turn| turn.weight).max() else {
        return Vec::new();
    };
    let mut slots: Vec<Option<u32>> = vec![None; size as usize];
    let mut free = slots.len();
    let mut round = 0_u64;
    while free > 0 && !turns.is_empty() {
        round += 1;
        turns.retain_mut(|turn| {
            // The heaviest has a turn in each round, one of half its weight in every second. Turns fall in
            // the middle of their interval, so that shares are rounded, not rounded up; only the first
            // is at once, so that the lightest has a slot too.
            if free == 0 || 2 * round * turn.weight < turn.due {
                return true;
            }
            turn.due = if turn.due == 0 { 3 * heaviest } else { turn.due + 2 * heaviest };
            let index = turn.index;
            let Some(slot) = turn.next_slot(|slot| slots[slot].is_none() && may_have(slot, index)) else { return false };
            slots[slot] = Some(index);
            free -= 1;
            true
        });
    }
    slots
}

pub(crate) fn turns(service: &str, size: u32, members: &[Member]) -> Vec<Turn> {
    let size = u64::from(size);
    let mut members: Vec<Member> = members.iter().filter(|member| member.weight > 0).copied().collect();
    members.sort_unstable();
    members.dedup_by_key(|member| member.index);
    let turn = |member: Member| {
        let hash = |purpose: &[u8]| stable_hash(&[service.as_bytes(), purpose, &member.index.to_be_bytes()]);
        Turn {
            index: member.index,
            weight: u64::from(member.weight),
            due: 0,
            at: hash(b"offset") % size,
            skip: hash(b"skip") % (size - 1) + 1,
            size,
        }
    };
    members.into_iter().map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_primes_within_their_bounds() {
        for (servers, size) in [(0, 251), (1, 251), (2, 251), (3, 307), (10, 1009), (655, 65_519), (656, 65_537), (9999, 65_537)] {
            assert_eq!(table_size(servers), size, "{servers} servers");
        }
    }

    #[test]
    fn nobody_has_slots_when_there_is_nobody() {
        assert!(Table::build("www", 251, &[]).slots.is_empty());
        assert!(Table::build("www", 251, &[Member { index: 1, weight: 0 }]).slots.is_empty());
    }

    #[test]
    fn the_only_server_is_also_the_second_choice() {
        let members = [Member { index: 4, weight: 1 }];
        let table = Table::build("www", 251, &members);
        assert_eq!(table.share(4), 251);
        assert_eq!(table.second_choices("www", &members, &BTreeSet::new()), table);
    }
}
