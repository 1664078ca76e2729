//! `fo` and `ovf`: the heaviest first, others only where it cannot.

use crate::view::{Pick, View, Why};

/// Weighted failover (net/netfilter/ipvs/ip_vs_fo.c): the greatest weight that has room, the first of several. O(servers).
#[must_use]
pub fn failover(view: &View<'_>) -> Option<Pick> {
    heaviest(view, view.candidates())
}

/// Weighted overflow (net/netfilter/ipvs/ip_vs_ovf.c): the same among servers that have no more connections than their
/// weight, so each fills up to one more than its weight before the next gets any. O(servers).
#[must_use]
pub fn overflow(view: &View<'_>) -> Option<Pick> {
    let within = |at: &usize| view.servers[*at].in_flight <= view.roster.weights[*at];
    heaviest(view, view.candidates().filter(within))
}

fn heaviest(view: &View<'_>, candidates: impl Iterator<Item = usize>) -> Option<Pick> {
    let at = candidates.reduce(|best, at| if view.weight(at) > view.weight(best) { at } else { best })?;
    Some(Pick { at, why: Why::Heaviest })
}
