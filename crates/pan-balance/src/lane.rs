//! A lane: one way of spreading within a service. The first is the service's own; rules, whose conditions are
//! evaluated elsewhere, lead requests to others, each with its preset, its part of the servers and its weights.
//! A rule so costs its lane's table once and nothing for each request.

use crate::fleet::Fleet;
use crate::guard::panic;
use crate::pick::{Picker, Shape};
use crate::pipeline::Refusal;
use crate::preset::Preset;
use crate::tandem::ChainLength;
use crate::view::{Ask, Roster, View};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a rule, or the service itself, asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSpec {
    /// The way of spreading.
    pub preset: Preset,
    /// The numbers of the servers that take part; all if absent.
    pub only: Option<BTreeSet<u32>>,
    /// Weights other than the servers' own, by number.
    pub weights: BTreeMap<u32, u32>,
}

impl LaneSpec {
    /// All servers with their own weights.
    #[must_use]
    pub fn all(preset: Preset) -> Self {
        Self { preset, only: None, weights: BTreeMap::new() }
    }
}

/// Weights are so many times finer while any server is in its slow start, so that one of weight 1 can have less.
const FINER: u64 = 100;

/// A lane, with what its picker remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lane {
    spec: LaneSpec,
    pub picker: Picker,
    pub roster: Roster,
    /// The tier in use.
    tier: Option<u32>,
    /// Whether opinions about servers are being ignored.
    pub panics: bool,
    /// Room to work in.
    weights: Vec<u32>,
}

impl Lane {
    pub fn new(spec: LaneSpec) -> Result<Self, ChainLength> {
        let picker = spec.preset.picker()?;
        Ok(Self { spec, picker, roster: Roster::default(), tier: None, panics: false, weights: Vec::new() })
    }

    /// Servers came, went or are configured otherwise.
    pub fn rebuild(&mut self, fleet: &Fleet, now: Duration) {
        let Self { spec, roster, .. } = self;
        let base = fleet.specs.iter().map(|server| {
            let takes_part = spec.only.as_ref().is_none_or(|only| only.contains(&server.index));
            let weight = spec.weights.get(&server.index).copied().unwrap_or(server.weight);
            if takes_part { spec.preset.weight(weight, server.capability) } else { 0 }
        });
        roster.base = base.collect();
        self.weigh(fleet, now);
        self.picker.rebuild(&Shape { service: &fleet.service, servers: &fleet.servers, roster: &self.roster });
    }

    /// Health, ejections or ages are others.
    pub fn refresh(&mut self, fleet: &Fleet, now: Duration) {
        if self.weigh(fleet, now) {
            self.picker.reweigh(&Shape { service: &fleet.service, servers: &fleet.servers, roster: &self.roster });
        }
    }

    /// Why a server takes no part now, whatever the request; nothing if it does.
    pub fn refusal(&self, fleet: &Fleet, at: usize) -> Option<Refusal> {
        let spec = &fleet.specs[at];
        if self.roster.base[at] == 0 {
            let outside = self.spec.only.as_ref().is_some_and(|only| !only.contains(&spec.index));
            return Some(if outside { Refusal::OutsideRule } else { Refusal::NoWeight });
        }
        let other_tier = (Some(spec.tier) != self.tier).then_some(Refusal::OtherTier);
        fleet.fact(at).or(other_tier).or_else(|| fleet.opinion(at).filter(|_| !self.panics))
    }

    pub fn view<'a>(&'a self, fleet: &'a Fleet, ask: &'a Ask<'a>) -> View<'a> {
        View { servers: &fleet.servers, roster: &self.roster, ask }
    }

    /// Works out who takes part now with which weight. Says whether that is other than before.
    fn weigh(&mut self, fleet: &Fleet, now: Duration) -> bool {
        let positions = 0..fleet.specs.len();
        let could = |at: &usize| self.roster.base[*at] > 0 && fleet.fact(*at).is_none();
        let well = |at: &usize| fleet.opinion(*at).is_none();
        let tier = |at: usize| fleet.specs[at].tier;
        // The first tier with a server of which nobody thinks ill; if none has one, the first that could work.
        let best = positions.clone().filter(could).filter(well).map(tier).min();
        self.tier = best.or_else(|| positions.clone().filter(could).map(tier).min());
        let could = |at: &usize| could(at) && Some(tier(*at)) == self.tier;
        let all = positions.clone().filter(could).count();
        let fine = positions.clone().filter(could).filter(well).count();
        let panics = panic::panics(fine, all, fleet.panic_threshold);
        let slow = fleet.slow_start.filter(|_| self.spec.preset.scales());
        let young = |at: usize| slow.is_some_and(|slow| fleet.age(at, now) < slow.window);
        let finer = if positions.clone().filter(could).any(young) { FINER } else { 1 };
        let weight = |at: usize| {
            if !could(&at) || !(panics || well(&at)) {
                return 0;
            }
            let weight = u64::from(self.roster.base[at]) * finer;
            let weight = slow.map_or(weight, |slow| slow.weigh(weight, fleet.age(at, now)));
            u32::try_from(weight).unwrap_or(u32::MAX)
        };
        let mut weights = std::mem::take(&mut self.weights);
        weights.clear();
        weights.extend(positions.map(weight));
        let changed = weights != self.roster.weights;
        self.roster.set(weights.iter().copied(), &fleet.servers);
        (self.weights, self.panics) = (weights, panics);
        changed
    }
}
