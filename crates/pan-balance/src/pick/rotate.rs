//! Round-robin: each server in turn, in the order of their numbers.

use crate::view::{Pick, View, Why};

/// Plain rotation, whatever the weights, like `rr` of IPVS (net/netfilter/ipvs/ip_vs_rr.c): the next server
/// after the one before that may have the request. It remembers a number and not a position, so that servers
/// that come and go do not make it jump. O(1) while servers have room, O(servers) at worst.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoundRobin {
    last: Option<u32>,
}

impl RoundRobin {
    /// Whose turn it is.
    pub fn pick(&mut self, view: &View<'_>) -> Option<Pick> {
        let at = view.candidates_from(view.after(self.last)).next()?;
        self.last = Some(view.servers[at].index);
        Some(Pick { at, why: Why::Turn })
    }
}
