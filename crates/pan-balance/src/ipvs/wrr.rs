//! `wrr`: weighted round-robin by passes of falling weight.

use crate::pick::Shape;
use crate::view::{Pick, View, Why};

/// net/netfilter/ipvs/ip_vs_wrr.c: pass after pass over the servers, each for those whose weight is at least the
/// pass's, which begins at the greatest weight and falls by the greatest common divisor of all. Heavy servers
/// so get bursts, which [`crate::pick::SmoothRoundRobin`] avoids. Over one round of passes each gets its weight
/// divided by that divisor. O(servers × greatest weight / divisor) at worst.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wrr {
    /// The server picked last; none at the beginning of a pass.
    at: Option<usize>,
    /// The weight of this pass.
    pass: u32,
    /// The weight of a first pass: the last one is 1, so that a server of any weight is found.
    top: u32,
    step: u32,
}

impl Wrr {
    /// Begins a pass anew, at a weight that there is.
    pub fn rebuild(&mut self, shape: &Shape<'_>) {
        let weights = || shape.roster.weights.iter().copied().filter(|weight| *weight > 0);
        self.at = None;
        self.step = weights().fold(0, gcd).max(1);
        self.top = weights().max().map_or(0, |most| most - (self.step - 1));
        if self.pass > self.top || self.pass == 0 {
            self.pass = self.top;
        } else if self.step > 1 {
            self.pass = self.pass / self.step * self.step + 1;
        }
    }

    /// The next server of this pass or of those that follow. When everybody was asked for a weight of 1 and
    /// nobody has room, there is none.
    pub fn pick(&mut self, view: &View<'_>) -> Option<Pick> {
        if self.top == 0 {
            return None;
        }
        let began = self.at;
        let mut from = self.at.map_or(0, |at| at + 1);
        let mut until = None;
        let (mut lowest, mut again) = (false, false);
        loop {
            for at in from..view.servers.len() {
                if view.roster.weights[at] >= self.pass && view.open(at) {
                    self.at = Some(at);
                    return Some(Pick { at, why: Why::Turn });
                }
                if until == Some(at) {
                    self.at = Some(at);
                    return None;
                }
            }
            from = 0;
            self.pass = self.pass.saturating_sub(self.step);
            if self.pass == 0 {
                self.pass = self.top;
                if lowest || began.is_none() {
                    self.at = None;
                    return None;
                }
                again = true;
            }
            lowest = self.pass <= self.step;
            if lowest && again && began.is_some() {
                until = began;
            }
        }
    }
}

fn gcd(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { gcd(other, one % other) }
}
