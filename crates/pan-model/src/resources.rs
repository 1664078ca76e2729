//! Resource vectors: what a node has and a server needs.

use crate::{ByteSize, Cpu};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A vector of resources; missing entries are zero. Further resources a node declares live in `other`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Resources {
    /// Processor time.
    #[serde(default)]
    pub cpu: Cpu,
    /// Memory.
    #[serde(default)]
    pub memory: ByteSize,
    /// Whatever else a node declares, by name, in its own unit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, u64>,
}

impl Resources {
    /// cpu and memory only.
    #[must_use]
    pub const fn new(cpu: Cpu, memory: ByteSize) -> Self {
        Self { cpu, memory, other: BTreeMap::new() }
    }

    /// All entries as (name, amount), cpu and memory first, zeros included for those two.
    pub fn entries(&self) -> impl Iterator<Item = (&str, u64)> {
        [("cpu", self.cpu.0), ("memory", self.memory.0)].into_iter().chain(self.other.iter().map(|(name, amount)| (name.as_str(), *amount)))
    }

    /// The amount of one resource by name.
    #[must_use]
    pub fn amount(&self, name: &str) -> u64 {
        match name {
            "cpu" => self.cpu.0,
            "memory" => self.memory.0,
            other => self.other.get(other).copied().unwrap_or(0),
        }
    }

    fn zip(&self, with: &Self, op: impl Fn(u64, u64) -> u64) -> Self {
        let names = self.other.keys().chain(with.other.keys());
        let other = names.map(|name| (name.clone(), op(self.amount(name), with.amount(name)))).collect();
        Self { cpu: Cpu(op(self.cpu.0, with.cpu.0)), memory: ByteSize(op(self.memory.0, with.memory.0)), other }
    }

    /// Sum.
    #[must_use]
    pub fn plus(&self, with: &Self) -> Self {
        self.zip(with, u64::saturating_add)
    }

    /// Difference, floored at zero.
    #[must_use]
    pub fn minus(&self, with: &Self) -> Self {
        self.zip(with, u64::saturating_sub)
    }

    /// The larger of each entry.
    #[must_use]
    pub fn max(&self, with: &Self) -> Self {
        self.zip(with, u64::max)
    }

    /// Whether every entry is at most the other's.
    #[must_use]
    pub fn fits(&self, within: &Self) -> bool {
        self.entries().all(|(name, amount)| amount <= within.amount(name))
    }

    /// Whether every entry is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.entries().all(|(_, amount)| amount == 0)
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu {}, memory {}", self.cpu, self.memory)?;
        self.other.iter().try_for_each(|(name, amount)| write!(f, ", {name} {amount}"))
    }
}
