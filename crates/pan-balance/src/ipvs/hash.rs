//! `dh` and `sh`: a table of 256 buckets by a hash of the address.

use crate::ipvs::Fallback;
use crate::pick::Shape;
use crate::view::{Pick, View, Why};

const BUCKETS: usize = 256;

/// Destination hashing (net/netfilter/ipvs/ip_vs_dh.c): the buckets go round the servers, whatever their weights. Source
/// hashing (ip_vs_sh.c): each has as many in a row as its weight. Neither is consistent hashing: a server that
/// comes or goes moves nearly all keys, and with weights that add up to over 256 the last servers have no bucket. O(1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hash {
    kind: Kind,
    buckets: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Destination,
    Source(Fallback),
}

impl Hash {
    /// `dh`.
    #[must_use]
    pub fn destination() -> Self {
        Self { kind: Kind::Destination, buckets: Vec::new() }
    }

    /// `sh`.
    #[must_use]
    pub fn source(fallback: Fallback) -> Self {
        Self { kind: Kind::Source(fallback), buckets: Vec::new() }
    }

    /// Fills the buckets by the weights of now, as the kernel does at every change: a server that is quiesced has one left.
    pub fn rebuild(&mut self, shape: &Shape<'_>) {
        let length = |weight: u32| match self.kind {
            Kind::Destination => 1,
            Kind::Source(_) => weight.max(1) as usize,
        };
        let weights = (0_u32..).zip(&shape.roster.weights);
        let row = weights.flat_map(|(position, weight)| std::iter::repeat_n(position, length(*weight).min(BUCKETS)));
        self.buckets.clear();
        self.buckets.extend(row.cycle().take(BUCKETS));
    }

    /// The server of the key's bucket.
    pub fn pick(&self, view: &View<'_>, key: u32) -> Option<Pick> {
        // The kernel's hash_32(): the golden ratio, and the highest 8 bits of the product.
        let first = (key.wrapping_mul(0x61c8_8647) >> 24) as usize;
        let bucket = |number: usize| self.buckets.get(number % BUCKETS).map(|at| *at as usize);
        let at = bucket(first)?;
        if view.open(at) {
            return Some(Pick { at, why: Why::Key { passed: 0 } });
        }
        match self.kind {
            Kind::Destination | Kind::Source(Fallback::Refuse) => None,
            // Each further bucket is the hash plus how far it is from the first: offset + 2 × first.
            Kind::Source(Fallback::HashOn) => (0_u32..256).find_map(|offset| {
                let at = bucket((offset as usize + first) % BUCKETS + first)?;
                view.open(at).then_some(Pick { at, why: Why::Key { passed: offset + 1 } })
            }),
        }
    }
}
