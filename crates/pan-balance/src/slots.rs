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
        let mut turns = turns(service, size, members);
        let Some(heaviest) = turns.iter().map(|turn| turn.weight).max() else {
            return Self::default();
        };
        let mut slots: Vec<Option<u32>> = vec![None; size as usize];
        let mut free = slots.len();
        let mut round = 0_u64;
        while free > 0 {
            round += 1;
            for turn in &mut turns {
                // The heaviest has a turn in each round, one of half its weight in every second. Turns
                // fall in the middle of their interval, so that shares are rounded, not rounded up; only
                // the first is at once, so that the lightest has a slot too.
                if 2 * round * turn.weight < turn.due {
                    continue;
                }
                turn.due = if turn.due == 0 { 3 * heaviest } else { turn.due + 2 * heaviest };
                let slot = turn.next_free(&slots);
                slots[slot] = Some(turn.index);
                free -= 1;
                if free == 0 {
                    break;
                }
            }
        }
        Self { slots: slots.into_iter().map(|slot| slot.expect("no slot is free")).collect() }
    }

    /// The second choice of each slot: what [`Table::build`] gives it when its first choice is no member.
    /// So when a server is only suspected its slots go where they will go if it turns out dead. Where the
    /// first choice is in `avoid`, the others in `avoid` are no members either; elsewhere nobody asks for
    /// the second choice, and it stays as it is. A slot without a second choice keeps its first.
    #[must_use]
    pub fn second_choices(&self, service: &str, members: &[Member], avoid: &BTreeSet<u32>) -> Self {
        let size = u32::try_from(self.slots.len()).expect("a table has at most SLOTS_MAX slots");
        let mut slots = self.slots.clone();
        for first in self.slots.iter().copied().collect::<BTreeSet<_>>() {
            let avoided = |index| index == first || (avoid.contains(&first) && avoid.contains(&index));
            let others: Vec<Member> = members.iter().filter(|other| !avoided(other.index)).copied().collect();
            let without = Self::build(service, size, &others);
            for (slot, second) in without.slots.into_iter().enumerate() {
                if self.slots[slot] == first {
                    slots[slot] = second;
                }
            }
        }
        Self { slots }
    }

    /// How many slots a server has.
    #[must_use]
    pub fn share(&self, index: u32) -> usize {
        self.slots.iter().filter(|slot| **slot == index).count()
    }
}

/// A server's place in the rounds of [`Table::build`].
struct Turn {
    index: u32,
    weight: u64,
    /// What `2 * round * weight` must reach for the next turn.
    due: u64,
    at: u64,
    skip: u64,
    size: u64,
}

impl Turn {
    /// Walks its order of preference to the next free slot. There is one: the size is a prime, so the
    /// order visits every slot.
    fn next_free(&mut self, slots: &[Option<u32>]) -> usize {
        loop {
            let slot = usize::try_from(self.at).expect("a slot is below SLOTS_MAX");
            self.at = (self.at + self.skip) % self.size;
            if slots[slot].is_none() {
                return slot;
            }
        }
    }
}

fn turns(service: &str, size: u32, members: &[Member]) -> Vec<Turn> {
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
