//! Comparing nodes that can all take a server.

use std::fmt;
use std::str::FromStr;

/// How nodes are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    /// The least opportunity cost: over all resources, how much `n^(load)` grows, with `n` the number of
    /// nodes. A nearly full resource is dear, an empty one cheap, whatever its unit. Source: Amir,
    /// Awerbuch, Barak, Borgstrom and Keren, "An Opportunity Cost Approach for Job Assignment in a
    /// Scalable Computing Cluster", IEEE TPDS 11(7), 2000.
    #[default]
    Cost,
    /// The fullest node: leaves whole nodes empty.
    Pack,
    /// The emptiest node.
    Spread,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cost => "cost",
            Self::Pack => "pack",
            Self::Spread => "spread",
        })
    }
}

impl FromStr for Strategy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cost" => Ok(Self::Cost),
            "pack" => Ok(Self::Pack),
            "spread" => Ok(Self::Spread),
            _ => Err(format!("{text:?} is not a placement strategy: expected cost, pack or spread")),
        }
    }
}

impl Strategy {
    /// The score of adding `need` to a node; lower is better. All three slices have one entry per resource.
    #[must_use]
    pub fn score(self, need: &[u64], used: &[u64], capacity: &[u64], nodes: usize) -> f64 {
        let loads = capacity.iter().zip(used).zip(need).filter(|((capacity, _), _)| **capacity > 0);
        match self {
            Self::Cost => {
                let base = as_float(nodes.max(2) as u64);
                let growth = |(capacity, used): (u64, u64), need: u64| {
                    let load = |amount: u64| as_float(amount) / as_float(capacity);
                    base.powf(load(used.saturating_add(need))) - base.powf(load(used))
                };
                loads.map(|((capacity, used), need)| growth((*capacity, *used), *need)).sum()
            }
            Self::Pack | Self::Spread => {
                let fullest =
                    loads.map(|((capacity, used), need)| as_float(used.saturating_add(*need)) / as_float(*capacity)).fold(0.0, f64::max);
                if self == Self::Pack { -fullest } else { fullest }
            }
        }
    }
}

/// Loses precision above 2^53, which a score can bear.
#[allow(clippy::cast_precision_loss)]
const fn as_float(amount: u64) -> f64 {
    amount as f64
}

/// A score in thousandths, for texts and comparisons of equality.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn milli(score: f64) -> i64 {
    (score * 1000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_prefers_the_resource_with_room() {
        let score = |used: &[u64]| Strategy::Cost.score(&[10, 10], used, &[100, 100], 10);
        assert!(score(&[0, 0]) < score(&[50, 0]));
        assert!(score(&[50, 50]) < score(&[90, 0]), "one nearly full resource is dearer than two half-full ones");
    }

    #[test]
    fn pack_and_spread_are_opposites() {
        for (strategy, fuller_first) in [(Strategy::Pack, true), (Strategy::Spread, false)] {
            let score = |used| strategy.score(&[10], &[used], &[100], 3);
            assert_eq!(score(50) < score(0), fuller_first, "{strategy}");
        }
    }

    #[test]
    fn names_read_back() {
        for strategy in [Strategy::Cost, Strategy::Pack, Strategy::Spread] {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
        assert!("best".parse::<Strategy>().is_err());
    }
}
