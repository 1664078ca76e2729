//! Durations of manifests: `500ms`, `30s`, `10m`, `2h`, `1d`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time as manifests write it; a wrapper so that it reads and prints with a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Longer is a slip of the pen: a year.
const MILLIS_MAX: u64 = 366 * 86_400_000;

impl Span {
    /// A span of whole milliseconds.
    #[must_use]
    pub const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }
}

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: expected a whole number with a unit ms, s, m, h or d, like 500ms or 30s, at most 366d")]
pub struct SpanError(pub String);

impl FromStr for Span {
    type Err = SpanError;
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let bad = || SpanError(text.to_owned());
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (digits, unit) = text.split_at(split);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        let count: u64 = digits.parse().map_err(|_| bad())?;
        count.checked_mul(*factor).filter(|millis| *millis <= MILLIS_MAX).map(Self::millis).ok_or_else(bad)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (unit, factor) =
            UNITS.iter().rev().find(|(_, factor)| millis > 0 && millis.is_multiple_of(u128::from(*factor))).unwrap_or(&UNITS[0]);
        f.pad(&format!("{}{unit}", millis / u128::from(*factor)))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "description": "a duration like 500ms or 30s"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for text in ["500ms", "30s", "10m", "2h", "1d", "0ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for bad in ["", "5", "s", "1.5s", "-1s", "5 s", "99999999999999999999d", "367d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
