//! Ways of spreading by the names that people know.

use crate::ipvs::{Fallback, Name, Scheduler};
use crate::pick::prequal::Settings;
use crate::pick::{Bound, Cost, Hashed, Layout, Least, Load, Picker, Prequal, RoundRobin, SmoothRoundRobin, Ties};
use crate::tandem::{ChainLength, Step, Tandem};

/// A way of spreading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preset {
    /// Each in turn, by configured weight.
    RoundRobin,
    /// More for the more powerful: each in turn, by weight times the capability of its node.
    Capability,
    /// The least busy gets the next: the better of two, drawn by weight, by how long each takes to answer and how much
    /// it has.
    Capacity,
    /// The best suited: by the request's key, without piling everything on the server of a popular one.
    Specifics,
    /// A chain.
    Tandem(Vec<Step>),
    /// One way by its own name.
    Way(Way),
    /// As IPVS does it.
    Ipvs(Name, Fallback),
}

/// The single ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Plain rotation, whatever the weights.
    Rotation,
    /// Any.
    Random,
    /// Any, by weight.
    WeightedRandom,
    /// The better of two by requests in flight.
    TwoChoices,
    /// The fewest requests in flight.
    LeastConnections,
    /// The fewest by weight.
    WeightedLeastConnections,
    /// The least delay to be expected.
    ShortestExpectedDelay,
    /// An idle one, else the least delay.
    NeverQueue,
    /// The first with room.
    First,
    /// The better of two by peak-EWMA.
    PeakEwma,
    /// By probes.
    Prequal(Settings),
    /// By key.
    Hash(Layout, Option<Bound>),
}

impl Preset {
    /// The picker; it has to be given its servers by [`Picker::rebuild`].
    ///
    /// # Errors
    /// A chain of no steps, or of too many.
    pub fn picker(&self) -> Result<Picker, ChainLength> {
        Ok(match self {
            Self::RoundRobin | Self::Capability => Picker::Smooth(SmoothRoundRobin::default()),
            Self::Capacity => Picker::TwoChoices(Cost::PeakEwma),
            Self::Specifics => Picker::Hashed(Hashed::new(Layout::Maglev, Some(Bound::USUAL))),
            Self::Tandem(chain) => Picker::Tandem(Tandem::new(chain.clone())?),
            Self::Way(way) => way.picker(),
            Self::Ipvs(name, fallback) => Picker::Ipvs(Scheduler::new(*name, *fallback)),
        })
    }

    /// The weight that a server is configured with under this preset.
    #[must_use]
    pub fn weight(&self, weight: u32, capability: u32) -> u32 {
        match self {
            Self::Capability => weight.saturating_mul(capability),
            Self::RoundRobin | Self::Capacity | Self::Specifics | Self::Tandem(_) | Self::Way(_) | Self::Ipvs(..) => weight,
        }
    }

    /// Whether weights may be multiplied for a finer slow start. IPVS compares some with numbers of connections.
    #[must_use]
    pub(crate) fn scales(&self) -> bool {
        !matches!(self, Self::Ipvs(..))
    }
}

impl Way {
    fn picker(self) -> Picker {
        match self {
            Self::Rotation => Picker::RoundRobin(RoundRobin::default()),
            Self::Random => Picker::Random,
            Self::WeightedRandom => Picker::WeightedRandom,
            Self::TwoChoices => Picker::TwoChoices(Cost::InFlight),
            Self::LeastConnections => Picker::Least(Least::connections(Load::InFlight, Ties::Rotate)),
            Self::WeightedLeastConnections => Picker::Least(Least::weighted(Load::InFlight, Ties::Rotate)),
            Self::ShortestExpectedDelay => Picker::Least(Least::expected_delay(Ties::Rotate)),
            Self::NeverQueue => Picker::Least(Least::never_queue(Ties::Rotate)),
            Self::First => Picker::First,
            Self::PeakEwma => Picker::TwoChoices(Cost::PeakEwma),
            Self::Prequal(settings) => Picker::Prequal(Box::new(Prequal::new(settings))),
            Self::Hash(layout, bound) => Picker::Hashed(Hashed::new(layout, bound)),
        }
    }
}
