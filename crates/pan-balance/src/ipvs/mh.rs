//! `mh`: Maglev hashing as IPVS has it, with its own table size, turns and hash.

use crate::ipvs::Fallback;
use crate::pick::Shape;
use crate::view::{Pick, View, Why};

/// Slots, by Kconfig's default (`IP_VS_MH_TAB_INDEX` 12).
const SLOTS: u32 = 4093;
/// Weights, divided by their greatest common divisor, are shifted down to so many bits.
const TURN_BITS: u32 = 6;
const FIRST: u64 = 2_654_435_761;
const SECOND: u64 = 2_654_446_892;

/// net/netfilter/ipvs/ip_vs_mh.c: as the paper (Eisenbud et al., NSDI 2016, 3.4), but that a server takes as many slots in
/// a row as its turns, which bends shares of unlike weights by up to one round. O(1) a pick, O(slots log slots)
/// expected for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mh {
    fallback: Fallback,
    slots: Vec<u32>,
}

struct Taker {
    position: u32,
    next: u32,
    skip: u32,
    turns: u32,
}

impl Mh {
    /// Without servers yet.
    #[must_use]
    pub fn new(fallback: Fallback) -> Self {
        Self { fallback, slots: Vec::new() }
    }

    /// Fills the table; a server that is quiesced keeps the slots of its configured weight.
    pub fn rebuild(&mut self, shape: &Shape<'_>) {
        self.slots.clear();
        let divisor = shape.configured().fold(0, |divisor, (_, weight)| gcd(divisor, weight));
        if divisor == 0 {
            return;
        }
        let most = shape.configured().map(|(_, weight)| weight / divisor).max().unwrap_or(0);
        let shift = (u32::BITS - most.leading_zeros()).saturating_sub(TURN_BITS);
        let mut takers: Vec<Taker> = (0_u32..)
            .zip(shape.servers)
            .zip(&shape.roster.base)
            .filter(|(_, weight)| **weight > 0)
            .map(|((position, server), weight)| Taker {
                position,
                next: hash(server.index, FIRST) % SLOTS,
                skip: hash(server.index, SECOND) % (SLOTS - 1) + 1,
                turns: ((weight / divisor) >> shift).max(1),
            })
            .collect();
        let mut taken: Vec<Option<u32>> = vec![None; SLOTS as usize];
        let mut free = SLOTS;
        while free > 0 {
            for taker in &mut takers {
                for _ in 0..taker.turns.min(free) {
                    while taken[taker.next as usize].is_some() {
                        taker.next = (taker.next + taker.skip) % SLOTS;
                    }
                    taken[taker.next as usize] = Some(taker.position);
                    free -= 1;
                }
            }
        }
        self.slots.extend(taken.into_iter().flatten());
    }

    /// The server of the key's slot.
    pub fn pick(&self, view: &View<'_>, key: u32) -> Option<Pick> {
        let slot = |offset: u32| hash(key.wrapping_add(offset), FIRST) % SLOTS;
        let server = |slot: u32| self.slots.get(slot as usize).map(|at| *at as usize);
        let first = slot(0);
        let at = server(first)?;
        if view.open(at) {
            return Some(Pick { at, why: Why::Key { passed: 0 } });
        }
        match self.fallback {
            Fallback::Refuse => None,
            Fallback::HashOn => (0..SLOTS).find_map(|offset| {
                let at = server(slot((offset + first) % SLOTS))?;
                view.open(at).then_some(Pick { at, why: Why::Key { passed: offset + 1 } })
            }),
        }
    }
}

fn gcd(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { gcd(other, one % other) }
}

/// The kernel's `hsiphash` of 32 bits on a 64-bit machine: SipHash-1-3 (Aumasson and Bernstein, INDOCRYPT 2012) with the
/// same number for both halves of the key, of which it keeps the lower 32 bits.
fn hash(value: u32, key: u64) -> u32 {
    let mut state = [0x736f_6d65_7073_6575 ^ key, 0x646f_7261_6e64_6f6d ^ key, 0x6c79_6765_6e65_7261 ^ key, 0x7465_6462_7974_6573 ^ key];
    // Four bytes, and their number on top.
    let block = (4_u64 << 56) | u64::from(value);
    state[3] ^= block;
    round(&mut state);
    state[0] ^= block;
    state[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    let folded = state[0] ^ state[1] ^ state[2] ^ state[3];
    u32::try_from(folded & 0xffff_ffff).expect("32 bits")
}

fn round(state: &mut [u64; 4]) {
    let [a, b, c, d] = state;
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::hash;
    use std::hash::Hasher as _;

    /// The standard library's hasher is SipHash-1-3 with the key 0.
    #[test]
    #[allow(clippy::disallowed_types, reason = "a reference, not part of a decision")]
    fn the_hash_is_siphash_1_3() {
        for value in [0, 1, 77, 0x0a00_000b, u32::MAX] {
            let mut reference = std::collections::hash_map::DefaultHasher::new();
            reference.write(&value.to_le_bytes());
            assert_eq!(u64::from(hash(value, 0)), reference.finish() & 0xffff_ffff);
        }
    }
}
