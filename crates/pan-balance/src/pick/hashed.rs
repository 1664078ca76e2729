//! Picks by key: the same key finds the same server for as long as it can, on every director and worker, and a
//! server that comes or goes moves few keys of others.

use crate::draws::Draws;
use crate::fixed;
use crate::hash::{mix, stable_hash};
use crate::pick::{Bound, Shape};
use crate::slots::{Member, SLOTS_MAX, Table};
use crate::view::{Pick, View, Why};

/// How keys find servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Maglev's slot table, as layer 4 has it: the most even shares; O(1).
    Maglev,
    /// A ring of points: a server that goes moves its own keys only; shares within some 15 %; O(log servers).
    Ring,
    /// The highest random weight: a server that goes moves its own keys only, shares as even as chance makes
    /// them; O(servers).
    Rendezvous,
}

/// Points on the ring per server of average weight, at least; at most twice as many.
const POINTS: u64 = 128;

/// Sizes of Maglev's tables, primes: the first with 100 slots a server. Few, because another size moves nearly all
/// keys; layer 4, whose tables are the kernel's to keep, has tighter ones ([`crate::table_size`]).
const SIZES: [u32; 3] = [4093, 16_381, SLOTS_MAX];

/// So many places of a table or ring are looked at before the servers are gone through one by one: with half of
/// them shut it is never reached, and a service that is shut costs no walk over 65,537 slots for each request.
const WALK_MAX: usize = 128;

/// A hash picker. Its tables depend on configured weights only; a server that may not have a request is passed
/// over, so its keys go to those that come next in each key's own order, and come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    layout: Layout,
    bound: Option<Bound>,
    /// Maglev: positions by slot.
    slots: Vec<u32>,
    /// Ring: points and positions, sorted.
    points: Vec<(u64, u32)>,
    /// Rendezvous: what makes each server's order its own.
    seeds: Vec<u64>,
}

impl Hashed {
    /// A picker that has to be given its servers by [`Hashed::rebuild`].
    #[must_use]
    pub fn new(layout: Layout, bound: Option<Bound>) -> Self {
        Self { layout, bound, slots: Vec::new(), points: Vec::new(), seeds: Vec::new() }
    }

    /// Makes the tables anew. Maglev: O(slots); ring: O(points log points); rendezvous: O(servers).
    pub fn rebuild(&mut self, shape: &Shape<'_>) {
        match self.layout {
            Layout::Maglev => self.slots = slots(shape),
            Layout::Ring => self.points = points(shape),
            Layout::Rendezvous => self.seeds = shape.servers.iter().map(|server| seed(shape, b"rendezvous", server.index)).collect(),
        }
    }

    /// The server of the key, or of a drawn one if the request has none.
    pub fn pick(&self, view: &View<'_>, draws: &mut Draws) -> Option<Pick> {
        let key = view.ask.key.unwrap_or_else(|| draws.draw());
        match self.layout {
            Layout::Maglev => {
                let start = usize::try_from(key.checked_rem(self.slots.len() as u64)?).expect("a slot");
                self.walk(view, key, start, self.slots.len(), |place| self.slots[place])
            }
            Layout::Ring => {
                let start = self.points.partition_point(|(point, _)| *point < mix(key));
                self.walk(view, key, start, self.points.len(), |place| self.points[place].1)
            }
            Layout::Rendezvous => self.highest(view, key),
        }
    }

    /// Requests in flight and the bound that they have, if there is one.
    #[must_use]
    pub fn score(&self, view: &View<'_>, at: usize) -> Option<(u64, u64)> {
        self.bound.map(|bound| (u64::from(view.servers[at].in_flight), bound.most(view, at)))
    }

    fn fits(&self, view: &View<'_>, at: usize) -> bool {
        self.bound.is_none_or(|bound| bound.fits(view, at))
    }

    /// The first server from a place on that may have it and is within the bound.
    fn walk(&self, view: &View<'_>, key: u64, start: usize, places: usize, position: impl Fn(usize) -> u32) -> Option<Pick> {
        let mut passed = 0;
        let mut before = None;
        let mut anyway = None;
        for step in 0..places.min(WALK_MAX) {
            let at = position((start + step) % places) as usize;
            if before == Some(at) {
                continue;
            }
            before = Some(at);
            if view.open(at) {
                if self.fits(view, at) {
                    return Some(Pick { at, why: Why::Key { passed } });
                }
                anyway = anyway.or(Some(at));
            }
            passed += 1;
        }
        let start = usize::try_from(key % view.servers.len().max(1) as u64).expect("a position");
        match view.candidates_from(start).find(|at| self.fits(view, *at)) {
            Some(at) => Some(Pick { at, why: Why::Key { passed } }),
            None => anyway.or_else(|| view.candidates_from(start).next()).map(|at| Pick { at, why: Why::KeyBeyondBound }),
        }
    }

    /// Rendezvous hashing (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM ToN
    /// 1998), with weights by the logarithmic method (Schindelhauer and Schomaker, "Weighted Distributed Hash
    /// Tables", SPAA 2005): the smallest -log(hash) / weight.
    fn highest(&self, view: &View<'_>, key: u64) -> Option<Pick> {
        let score = |at: usize| (distance(key, self.seeds[at]), u64::from(view.roster.base[at]));
        let nearer = |one: (u64, u64), other: (u64, u64)| u128::from(one.0) * u128::from(other.1) < u128::from(other.0) * u128::from(one.1);
        let mut best: Option<(usize, (u64, u64))> = None;
        let mut anyway: Option<(usize, (u64, u64))> = None;
        for at in view.candidates() {
            let score = score(at);
            if anyway.is_none_or(|(_, least)| nearer(score, least)) {
                anyway = Some((at, score));
            }
            if best.is_none_or(|(_, least)| nearer(score, least)) && self.fits(view, at) {
                best = Some((at, score));
            }
        }
        match (best, anyway) {
            (Some((at, _)), Some((first, _))) => Some(Pick { at, why: Why::Key { passed: u32::from(at != first) } }),
            (_, anyway) => anyway.map(|(at, _)| Pick { at, why: Why::KeyBeyondBound }),
        }
    }
}

/// How far a key is from a server, to be divided by its weight: -log2 of a hash taken as a number in 0..1.
pub(crate) fn distance(key: u64, seed: u64) -> u64 {
    64 * fixed::ONE - fixed::log2(mix(key ^ seed) | 1)
}

/// What makes a server's order its own, of a service and purpose.
pub(crate) fn seed(shape: &Shape<'_>, purpose: &[u8], index: u32) -> u64 {
    stable_hash(&[shape.service.as_bytes(), purpose, &index.to_be_bytes()])
}

fn slots(shape: &Shape<'_>) -> Vec<u32> {
    let members: Vec<Member> = shape.configured().map(|(server, weight)| Member { index: server.index, weight }).collect();
    let size = SIZES.into_iter().find(|size| *size as usize >= 100 * shape.servers.len()).unwrap_or(SLOTS_MAX);
    let mut slots = Table::build(shape.service, size, &members).slots;
    for slot in &mut slots {
        let position = shape.servers.binary_search_by_key(slot, |server| server.index).expect("a table has only its members");
        *slot = u32::try_from(position).expect("positions are numbered by u32");
    }
    slots
}

/// Consistent hashing (Karger et al., STOC 1997). A server's number of points is its weight times a power of two,
/// so that another server's coming and going leaves it alone, unless the average weight doubles or halves.
fn points(shape: &Shape<'_>) -> Vec<(u64, u32)> {
    let sum: u64 = shape.configured().map(|(_, weight)| u64::from(weight)).sum();
    let count = shape.configured().count() as u64;
    if sum == 0 {
        return Vec::new();
    }
    let (mut up, mut down) = (0_u32, 0_u32);
    while sum << up < POINTS * count {
        up += 1;
    }
    while sum >> (down + 1) >= POINTS * count {
        down += 1;
    }
    let mut points = Vec::new();
    for ((position, server), weight) in (0_u32..).zip(shape.servers).zip(&shape.roster.base) {
        let own = seed(shape, b"ring", server.index);
        let many = if *weight == 0 { 0 } else { ((u64::from(*weight) << up) >> down).max(1) };
        points.extend((0..many).map(|number| (mix(own.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))), position)));
    }
    points.sort_unstable();
    points
}
