//! Pick: which of the servers that may have a request gets it. Each way is a room of its own; all of them see a
//! [`View`] and change nothing but their own memory, and none of them allocates.

pub mod bound;
pub mod first;
pub mod hashed;
pub mod least;
pub mod prequal;
pub mod random;
pub mod rotate;
pub mod smooth;
pub mod two;

pub use bound::Bound;
pub use hashed::{Hashed, Layout};
pub use least::{Least, Load, Ties};
pub use prequal::Prequal;
pub use rotate::RoundRobin;
pub use smooth::SmoothRoundRobin;
pub use two::Cost;

use crate::draws::Draws;
use crate::ipvs::Scheduler;
use crate::tandem::Tandem;
use crate::view::{Pick, Roster, Server, View};

/// What pickers with a memory or a table are made for.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// The service; two of them spread the same keys differently.
    pub service: &'a str,
    /// All servers, sorted by index.
    pub servers: &'a [Server],
    /// Who takes part.
    pub roster: &'a Roster,
}

impl<'a> Shape<'a> {
    /// Servers with the weights configured for them, without those of weight 0.
    pub fn configured(&self) -> impl Iterator<Item = (&'a Server, u32)> + use<'a> {
        self.servers.iter().zip(self.roster.base.iter().copied()).filter(|(_, weight)| *weight > 0)
    }
}

/// A way of picking, with what it remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picker {
    /// Plain rotation.
    RoundRobin(RoundRobin),
    /// Smooth weighted round-robin.
    Smooth(SmoothRoundRobin),
    /// Any.
    Random,
    /// Any, by weight.
    WeightedRandom,
    /// The better of two.
    TwoChoices(Cost),
    /// The one with the least to do.
    Least(Least),
    /// The first with room.
    First,
    /// By key.
    Hashed(Hashed),
    /// By probes.
    Prequal(Box<Prequal>),
    /// A chain.
    Tandem(Tandem),
    /// As IPVS does it.
    Ipvs(Scheduler),
}

impl Picker {
    /// Adapts tables and memory to servers that came or went, and to other weights.
    pub fn rebuild(&mut self, shape: &Shape<'_>) {
        match self {
            Self::Smooth(smooth) => smooth.rebuild(shape),
            Self::Hashed(hashed) => hashed.rebuild(shape),
            Self::Prequal(prequal) => prequal.forget(),
            Self::Tandem(tandem) => tandem.rebuild(shape),
            Self::Ipvs(scheduler) => scheduler.rebuild(shape),
            Self::RoundRobin(_) | Self::Random | Self::WeightedRandom | Self::TwoChoices(_) | Self::Least(_) | Self::First => {}
        }
    }

    /// The servers are the same, but their weights of now are others (health, slow start).
    pub fn reweigh(&mut self, shape: &Shape<'_>) {
        match self {
            Self::Smooth(smooth) => smooth.reweigh(shape),
            Self::Ipvs(scheduler) => scheduler.reweigh(shape),
            Self::RoundRobin(_)
            | Self::Random
            | Self::WeightedRandom
            | Self::TwoChoices(_)
            | Self::Least(_)
            | Self::First
            | Self::Hashed(_)
            | Self::Prequal(_)
            | Self::Tandem(_) => {}
        }
    }

    /// What a picker that compares servers compares, for whoever wants to know: a load and what divides it.
    #[must_use]
    pub fn score(&self, view: &View<'_>, at: usize) -> Option<(u64, u64)> {
        match self {
            Self::TwoChoices(cost) => Some((cost.of(view, at), view.weight(at))),
            Self::Least(least) => Some(least.score(view, at)),
            Self::Hashed(hashed) => hashed.score(view, at),
            Self::RoundRobin(_)
            | Self::Smooth(_)
            | Self::Random
            | Self::WeightedRandom
            | Self::First
            | Self::Prequal(_)
            | Self::Tandem(_)
            | Self::Ipvs(_) => None,
        }
    }

    /// Picks.
    pub fn pick(&mut self, view: &View<'_>, draws: &mut Draws) -> Option<Pick> {
        match self {
            Self::RoundRobin(rotation) => rotation.pick(view),
            Self::Smooth(smooth) => smooth.pick(view),
            Self::Random => random::uniform(view, draws),
            Self::WeightedRandom => random::weighted(view, draws),
            Self::TwoChoices(cost) => two::choices(*cost, view, draws),
            Self::Least(least) => least.pick(view),
            Self::First => first::fit(view),
            Self::Hashed(hashed) => hashed.pick(view, draws),
            Self::Prequal(prequal) => prequal.pick(view, draws),
            Self::Tandem(tandem) => tandem.pick(view),
            Self::Ipvs(scheduler) => scheduler.pick(view, draws),
        }
    }
}
