//! Policies by name.

use pan_balance::ipvs::{Fallback, Name};
use pan_balance::pick::{Bound, Layout};
use pan_balance::tandem::{Criterion, Keep, Step};
use pan_balance::{Preset, Way};
use pan_model::proxy::{BalanceSpec, Misfit};

/// How much worse than the best a server may be that a step of a chain leaves to the next, in thousandths. Two
/// that differ by less are equally good for what a proxy can measure.
const WITHIN: u32 = 100;

/// The single ways by name.
const WAYS: [(&str, Way); 14] = [
    ("rotation", Way::Rotation),
    ("random", Way::Random),
    ("weighted-random", Way::WeightedRandom),
    ("two-choices", Way::TwoChoices),
    ("least-connections", Way::LeastConnections),
    ("weighted-least-connections", Way::WeightedLeastConnections),
    ("shortest-expected-delay", Way::ShortestExpectedDelay),
    ("never-queue", Way::NeverQueue),
    ("first", Way::First),
    ("peak-ewma", Way::PeakEwma),
    ("maglev", Way::Hash(Layout::Maglev, None)),
    ("ring", Way::Hash(Layout::Ring, None)),
    ("rendezvous", Way::Hash(Layout::Rendezvous, None)),
    ("bounded-load", Way::Hash(Layout::Ring, Some(Bound::USUAL))),
];

/// The way of spreading that a cluster asks for.
///
/// # Errors
/// There is none of that name; a chain without steps, or where none belongs.
pub fn preset(spec: &BalanceSpec) -> Result<Preset, Misfit> {
    let name = spec.policy.as_deref().unwrap_or("round-robin");
    if name != "tandem" && !spec.chain.is_empty() {
        return Err(Misfit::new("chain", "only tandem has a chain"));
    }
    Ok(match name {
        "round-robin" => Preset::RoundRobin,
        "capability" => Preset::Capability,
        "capacity" => Preset::Capacity,
        "specifics" => Preset::Specifics,
        "tandem" => Preset::Tandem(chain(&spec.chain)?),
        _ => other(name)?,
    })
}

fn other(name: &str) -> Result<Preset, Misfit> {
    if let Some((_, way)) = WAYS.iter().find(|(known, _)| *known == name) {
        return Ok(Preset::Way(*way));
    }
    let ipvs = Name::ALL.into_iter().find(|known| known.as_str() == name);
    ipvs.map(|name| Preset::Ipvs(name, Fallback::HashOn)).ok_or_else(|| {
        let ways: Vec<&str> = WAYS.iter().map(|(name, _)| *name).chain(Name::ALL.iter().map(|name| name.as_str())).collect();
        let expected = format!("expected round-robin, capability, capacity, specifics, tandem, {}", ways.join(", "));
        Misfit::new("policy", format!("{name:?} is not a way of balancing: {expected}"))
    })
}

fn chain(names: &[String]) -> Result<Vec<Step>, Misfit> {
    let step = |(at, name): (usize, &String)| {
        let by = match name.as_str() {
            "round-robin" => Criterion::RoundRobin,
            "capability" => Criterion::Capability,
            "capacity" => Criterion::Capacity,
            "specifics" => Criterion::Specifics,
            other => {
                let expected = "expected round-robin, capability, capacity or specifics";
                return Err(Misfit::new(format!("chain[{at}]"), format!("{other:?}: {expected}")));
            }
        };
        let last = at + 1 == names.len();
        let keep = match by {
            _ if last => Keep::Best,
            // Distances to a key are never alike.
            Criterion::Specifics => Keep::Top(2),
            Criterion::Capability | Criterion::Capacity => Keep::Within(WITHIN),
            Criterion::RoundRobin => Keep::Best,
        };
        Ok(Step { by, keep })
    };
    names.iter().enumerate().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pan_model::balance::POLICIES;

    /// What manifests take is what there is.
    #[test]
    fn manifests_know_all_ways_and_no_others() {
        let of = |policy: &str| {
            let chain = if policy == "tandem" { vec!["capacity".to_owned()] } else { Vec::new() };
            preset(&BalanceSpec { policy: Some(policy.to_owned()), chain, ..BalanceSpec::default() })
        };
        POLICIES.iter().for_each(|name| assert!(of(name).is_ok(), "{name}"));
        let all = WAYS.iter().map(|(name, _)| *name).chain(Name::ALL.iter().map(|name| name.as_str()));
        assert!(all.clone().all(|name| POLICIES.contains(&name)));
        assert_eq!(all.count() + 5, POLICIES.len(), "and the presets");
    }
}
