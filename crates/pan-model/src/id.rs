//! Identifiers: names that are DNS labels (RFC 1123 §2.1), and the counters that order decisions.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a name: expected 1 to {max} of a-z, 0-9 and '-', beginning with a letter and not ending in '-'")]
pub struct NameError {
    /// The text that was refused.
    pub found: String,
    /// The longest name allowed for this kind.
    pub max: usize,
}

fn check(text: &str, max: usize) -> Result<(), NameError> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = (1..=max).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(inner);
    if good { Ok(()) } else { Err(NameError { found: text.to_owned(), max }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Parses a name.
            ///
            /// # Errors
            /// [`NameError`] when the text is not a DNS label of the allowed length.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check(&text, $max)?;
                Ok(Self(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(/// A name whose kind does not matter here. 
    Name, 63);
name!(/// A tenant's closed world.
    PartitionName, 40);
name!(/// A set of like servers; leaves room for `-NNNN` behind it.
    ClusterName, 50);
name!(/// A logical machine, `CLUSTER-N`.
    ServerName, 63);
name!(/// A public address and port.
    ServiceName, 63);
name!(/// A Linux machine of the PAN.
    HostName, 63);

impl ServerName {
    /// The name of server number `ordinal` (from 1) of a cluster.
    #[must_use]
    pub fn of(cluster: &ClusterName, ordinal: u32) -> Self {
        Self(format!("{cluster}-{ordinal}"))
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl $type {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

pub(crate) use counter;

counter!(/// The fencing token of a binding; only grows.
    Epoch);
counter!(/// A number that orders what one partition sees: objects and events.
    Serial);

/// Orders the desired states that a controller hands to a host: a later term, or a later step in the
/// same term, replaces an earlier one; a host refuses anything older.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Generation {
    /// Grows by one each time a controller takes over.
    pub term: u64,
    /// Grows with every change within a term.
    pub step: u64,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.step)
    }
}

/// Number under which a host takes part. Its death ends one and grants the next: lessors never again acknowledge
/// a heartbeat that carries a revoked one. Zero is none yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Admission(pub u64);

impl Admission {
    /// Not admitted.
    pub const NONE: Self = Self(0);
    /// What a host gets when it joins.
    pub const FIRST: Self = Self(1);

    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "web-1", "a0"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "1a", "a_b", "a.b", &"a".repeat(64)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_later_term_beats_any_step() {
        assert!(Generation { term: 2, step: 0 } > Generation { term: 1, step: 99 });
    }
}
