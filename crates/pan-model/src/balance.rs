//! How a service spreads its traffic.

use crate::Span;
use crate::notyet::NOT_YET;
use crate::proxy::{CapSpec, StickySpec};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a service spreads its traffic. Layer 4 has `policy: round-robin`, layer 7 the rest as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BalanceSpec {
    /// The way of spreading, by a name of docs/balancing.md.
    #[serde(default)]
    pub policy: BalancePolicy,
    /// The steps of `tandem`: each leaves fewer servers to the next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub chain: Vec<ChainStep>,
    /// What decides affinity: `client`, `path`, `header:NAME` or `cookie:NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Sticky sessions: who comes back goes to the same server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickySpec>,
    /// How long a server that comes up has less than its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Span>,
    /// Most requests at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<CapSpec>,
}

impl BalanceSpec {
    /// The name of a field that layer 4 has not, if one is given.
    #[must_use]
    pub fn of_layer_7(&self) -> Option<&'static str> {
        let fields = [
            ("chain", !self.chain.is_empty()),
            ("key", self.key.is_some()),
            ("sticky", self.sticky.is_some()),
            ("slowStart", self.slow_start.is_some()),
            ("limits", self.limits.is_some()),
        ];
        fields.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

/// The way of spreading, one of [`POLICIES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalancePolicy(&'static str);

/// All ways: the presets, the single ways, and the schedulers of IPVS.
pub const POLICIES: [&str; 33] = [
    "round-robin",
    "capability",
    "capacity",
    "specifics",
    "tandem",
    "rotation",
    "random",
    "weighted-random",
    "two-choices",
    "least-connections",
    "weighted-least-connections",
    "shortest-expected-delay",
    "never-queue",
    "first",
    "peak-ewma",
    "maglev",
    "ring",
    "rendezvous",
    "bounded-load",
    "rr",
    "wrr",
    "lc",
    "wlc",
    "lblc",
    "lblcr",
    "dh",
    "sh",
    "sed",
    "nq",
    "fo",
    "ovf",
    "mh",
    "twos",
];

/// Ways of the documented interface that nothing can do yet.
const LATER: [&str; 2] = ["rules", "prequal"];

impl BalancePolicy {
    /// Equal shares.
    pub const ROUND_ROBIN: Self = Self(POLICIES[0]);
    /// A chain.
    pub const TANDEM: Self = Self(POLICIES[4]);

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl Default for BalancePolicy {
    fn default() -> Self {
        Self::ROUND_ROBIN
    }
}

impl Serialize for BalancePolicy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for BalancePolicy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if let Some(name) = POLICIES.into_iter().find(|name| *name == text) {
            return Ok(Self(name));
        }
        Err(serde::de::Error::custom(if LATER.contains(&text.as_str()) {
            format!("balance policy {text}: {NOT_YET}")
        } else {
            format!("{text:?} is not a balance policy: expected one of {}", POLICIES.join(", "))
        }))
    }
}

impl JsonSchema for BalancePolicy {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BalancePolicy".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "enum": POLICIES.as_slice()})
    }
}

/// A step of `tandem`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChainStep {
    /// The next in turn.
    RoundRobin,
    /// The fastest.
    Capability,
    /// The least busy.
    Capacity,
    /// Those that the key belongs to.
    Specifics,
}

impl ChainStep {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Capability => "capability",
            Self::Capacity => "capacity",
            Self::Specifics => "specifics",
        }
    }
}
