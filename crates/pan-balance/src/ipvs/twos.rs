//! `twos`: the power of two choices as IPVS has it.

use crate::draws::Draws;
use crate::view::{Pick, View, Why};

/// net/netfilter/ipvs/ip_vs_twos.c: two numbers from 0 to the sum of weights, both ends included, so that the first
/// server has one chance more than its weight; both may name the same server; the second is taken if its
/// overhead by weight is less. [`crate::pick::two`] is without these two corners. O(servers).
pub fn choices(view: &View<'_>, draws: &mut Draws) -> Option<Pick> {
    let total: u64 = view.candidates().map(|at| view.weight(at)).sum();
    let numbers = [draws.below(total + 1), draws.below(total + 1)];
    let one = drawn(view, numbers[0])?;
    let other = drawn(view, numbers[1])?;
    let overhead = |at: usize| (u64::from(view.servers[at].in_flight) << 8) + u64::from(view.servers[at].idle);
    let worse = u128::from(overhead(one)) * u128::from(view.weight(other)) > u128::from(overhead(other)) * u128::from(view.weight(one));
    let (at, than) = if worse { (other, one) } else { (one, other) };
    Some(Pick { at, why: Why::NoWorseThan(view.servers[than].index) })
}

fn drawn(view: &View<'_>, number: u64) -> Option<usize> {
    let mut sum = 0;
    view.candidates().find(|at| {
        sum += view.weight(*at);
        number <= sum
    })
}
