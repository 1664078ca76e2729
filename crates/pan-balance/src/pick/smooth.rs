//! Smooth weighted round-robin: shares by weight without bursts.

use crate::pick::Shape;
use crate::view::{Pick, View, Why};

/// The algorithm of nginx (commit 52327e0627f4, 2012; `ngx_http_upstream_round_robin.c`): with each pick every
/// candidate earns its weight, the richest is picked and pays what all earned. Over as many picks as the sum of
/// weights each gets exactly its weight, and equal weights rotate. O(servers). When weights change, what was earned
/// is scaled with their sum, or weights that become small would follow a burst.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SmoothRoundRobin {
    /// By position: the server's number and what it has earned.
    purses: Vec<(u32, i64)>,
    /// The sum of weights that it was earned by.
    total: u64,
}

impl SmoothRoundRobin {
    /// Takes over a change of servers; who stays keeps what it has.
    pub fn rebuild(&mut self, shape: &Shape<'_>) {
        let kept = |index: u32| self.purses.binary_search_by_key(&index, |purse| purse.0).map_or(0, |at| self.purses[at].1);
        self.purses = shape.servers.iter().map(|server| (server.index, kept(server.index))).collect();
        self.reweigh(shape);
    }

    /// Takes over a change of weights.
    pub fn reweigh(&mut self, shape: &Shape<'_>) {
        let total = shape.roster.total();
        if self.total != total && self.total > 0 {
            let scaled = |purse: i64| i128::from(purse) * i128::from(total) / i128::from(self.total);
            for (_, purse) in &mut self.purses {
                *purse = i64::try_from(scaled(*purse)).unwrap_or(0);
            }
        }
        self.total = total;
    }

    /// The richest.
    pub fn pick(&mut self, view: &View<'_>) -> Option<Pick> {
        let mut richest: Option<(usize, i64)> = None;
        let mut earned = 0_i64;
        for at in view.candidates() {
            let weight = i64::from(view.roster.weights[at]);
            earned += weight;
            let purse = &mut self.purses[at].1;
            *purse += weight;
            if richest.is_none_or(|(_, most)| *purse > most) {
                richest = Some((at, *purse));
            }
        }
        let (at, _) = richest?;
        self.purses[at].1 -= earned;
        Some(Pick { at, why: Why::Turn })
    }
}
