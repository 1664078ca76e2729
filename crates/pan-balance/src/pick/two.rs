//! Two choices: draw two servers, take the better. Nearly as good as looking at all, at the cost of looking at
//! two, and without the herd that runs to the one that looks best.

use crate::draws::Draws;
use crate::ewma::TAU;
use crate::view::{Pick, View, Why};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Requests in flight: the classic.
    InFlight,
    /// Peak-EWMA of the time to answer, times the requests there would be (Finagle).
    PeakEwma,
}

impl Cost {
    /// The cost of one server, to be divided by its weight.
    #[must_use]
    pub fn of(self, view: &View<'_>, at: usize) -> u64 {
        let server = &view.servers[at];
        match self {
            Self::InFlight => u64::from(server.in_flight),
            Self::PeakEwma => server.latency.cost(server.in_flight, view.ask.now, TAU),
        }
    }
}

/// So many pairs may hit servers that may not have the request before all are looked at.
const PAIRS_MAX: u32 = 4;

/// The better of two servers drawn by weight (Mitzenmacher, "The Power of Two Choices in Randomized Load
/// Balancing", IEEE TPDS 2001): of n requests on n equal servers the fullest has log2 log2 n + O(1) with high
/// probability, where one random choice gives log n / log log n. A tie goes to the first drawn, so to chance.
/// O(log servers) expected.
pub fn choices(cost: Cost, view: &View<'_>, draws: &mut Draws) -> Option<Pick> {
    for _ in 0..PAIRS_MAX {
        let one = view.roster.drawn(draws.below(view.roster.total()))?;
        let Some(other) = other(view, draws, one) else {
            return view.open(one).then_some(Pick { at: one, why: Why::Chance });
        };
        match (view.open(one), view.open(other)) {
            (true, true) => {
                let (at, than) = if less(cost, view, other, one) { (other, one) } else { (one, other) };
                return Some(Pick { at, why: Why::NoWorseThan(view.servers[than].index) });
            }
            (true, false) => return Some(Pick { at: one, why: Why::Chance }),
            (false, true) => return Some(Pick { at: other, why: Why::Chance }),
            (false, false) => {}
        }
    }
    let at = view.candidates().reduce(|best, at| if less(cost, view, at, best) { at } else { best })?;
    Some(Pick { at, why: Why::Least { load: cost.of(view, at), weight: view.weight(at) } })
}

/// A second server, drawn among all but the first: the first one's numbers are left out.
fn other(view: &View<'_>, draws: &mut Draws, one: usize) -> Option<usize> {
    let roster = view.roster;
    let weight = view.weight(one);
    let rest = roster.total() - weight;
    if rest == 0 {
        return None;
    }
    let mut number = draws.below(rest);
    let place = roster.live.partition_point(|position| (*position as usize) < one);
    if number >= roster.below[place] - weight {
        number += weight;
    }
    roster.drawn(number)
}

/// Whether one costs less than another, each by its weight.
fn less(cost: Cost, view: &View<'_>, one: usize, other: usize) -> bool {
    let by_weight = |at: usize, of: usize| u128::from(cost.of(view, at)) * u128::from(view.weight(of));
    by_weight(one, other) < by_weight(other, one)
}
