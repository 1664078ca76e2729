//! `tandem`: several ways in a row. Each leaves fewer servers to the next, until one is left; so the next decides
//! among those that the one before finds equally good.

use crate::pick::Shape;
use crate::pick::hashed::{distance, seed};
use crate::view::{Pick, View, Why};
use std::fmt;

/// What a step compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criterion {
    /// Whose turn it is: no two are alike, so nothing comes after it.
    RoundRobin,
    /// The most powerful.
    Capability,
    /// The least requests in flight by weight.
    Capacity,
    /// The nearest to the key, by rendezvous hashing with weights; all alike for a request without one.
    Specifics,
}

/// Whom a step leaves to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Those as good as the best.
    Best,
    /// Those at most so many thousandths worse than the best.
    Within(u32),
    /// So many of the best, at least one; of those alike, the first by number.
    Top(u32),
}

/// A step of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What is compared.
    pub by: Criterion,
    /// Who is left.
    pub keep: Keep,
}

/// More steps than there are criteria twice over say nothing more.
pub const STEPS_MAX: usize = 8;

/// A chain of no steps, or of too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainLength(usize);

impl fmt::Display for ChainLength {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "a chain of {} steps: expected 1 to {STEPS_MAX}", self.0)
    }
}

impl std::error::Error for ChainLength {}

/// A chain, with the room that it works in. O(servers × steps), and O(servers log servers) for a step that
/// keeps the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tandem {
    chain: Vec<Step>,
    seeds: Vec<u64>,
    last: Option<u32>,
    left: Vec<u32>,
}

impl Tandem {
    /// A chain of 1 to 8 steps.
    ///
    /// # Errors
    /// The chain is empty or longer.
    pub fn new(chain: Vec<Step>) -> Result<Self, ChainLength> {
        if chain.is_empty() || chain.len() > STEPS_MAX {
            return Err(ChainLength(chain.len()));
        }
        Ok(Self { chain, seeds: Vec::new(), last: None, left: Vec::new() })
    }

    /// Takes over a change of servers.
    pub fn rebuild(&mut self, shape: &Shape<'_>) {
        self.seeds = shape.servers.iter().map(|server| seed(shape, b"rendezvous", server.index)).collect();
        self.left = Vec::with_capacity(shape.servers.len());
    }

    /// The one that the chain leaves; the first by number if it leaves several.
    pub fn pick(&mut self, view: &View<'_>) -> Option<Pick> {
        let mut left = std::mem::take(&mut self.left);
        left.clear();
        left.extend(view.candidates().map(|at| u32::try_from(at).expect("positions are numbered by u32")));
        let mut decided = 0;
        for step in &self.chain {
            if left.len() <= 1 {
                break;
            }
            self.narrow(view, *step, &mut left);
            decided += 1;
        }
        let at = left.first().map(|at| *at as usize);
        self.left = left;
        let at = at?;
        self.last = Some(view.servers[at].index);
        Some(Pick { at, why: Why::Step(u32::saturating_sub(decided, 1)) })
    }

    fn narrow(&self, view: &View<'_>, step: Step, left: &mut Vec<u32>) {
        let cost = |at: u32| self.cost(view, step.by, at as usize);
        match step.keep {
            Keep::Best => within(left, 0, cost),
            Keep::Within(thousandths) => within(left, thousandths, cost),
            Keep::Top(most) => {
                left.sort_unstable_by(|one, other| {
                    let (a, b) = (cost(*one), cost(*other));
                    (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1))).then(one.cmp(other))
                });
                left.truncate(most.max(1) as usize);
                left.sort_unstable();
            }
        }
    }

    /// What a server costs: a number and what divides it; less is better.
    fn cost(&self, view: &View<'_>, by: Criterion, at: usize) -> (u64, u64) {
        let servers = view.servers.len();
        match by {
            Criterion::RoundRobin => (((at + servers - view.after(self.last) % servers) % servers) as u64, 1),
            Criterion::Capability => (1, u64::from(view.servers[at].capability).max(1)),
            Criterion::Capacity => (u64::from(view.servers[at].in_flight), view.weight(at)),
            Criterion::Specifics => (view.ask.key.map_or(0, |key| distance(key, self.seeds[at])), u64::from(view.roster.base[at]).max(1)),
        }
    }
}

/// Leaves those whose cost is at most so many thousandths above the least.
fn within(left: &mut Vec<u32>, thousandths: u32, cost: impl Fn(u32) -> (u64, u64)) {
    let less = |one: (u64, u64), other: (u64, u64)| u128::from(one.0) * u128::from(other.1) < u128::from(other.0) * u128::from(one.1);
    let best = left.iter().map(|at| cost(*at)).reduce(|best, other| if less(other, best) { other } else { best });
    let Some(best) = best else { return };
    left.retain(|at| {
        let own = cost(*at);
        u128::from(own.0) * u128::from(best.1) * 1000 <= u128::from(best.0) * u128::from(own.1) * (1000 + u128::from(thousandths))
    });
}
