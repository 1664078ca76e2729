//! Dates and times as the clocks of a time zone show them.

use jiff::civil::{Date, DateTime};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Earlier or later is a slip of the pen.
const YEARS: RangeInclusive<i16> = 2000..=2199;

/// A date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalDate(pub Date);

/// A date and a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalTime(pub DateTime);

/// Why a text is not a date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a date: expected one like 2026-12-24")]
pub struct LocalDateError(pub String);

/// Why a text is not a date with a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a date with a time: expected one like 2026-12-24T18:00 or 2026-12-24T18:00:30, in the schedule's zone")]
pub struct LocalTimeError(pub String);

/// Whether a text has this shape, where `9` is any digit.
fn is_like(text: &str, shape: &str) -> bool {
    let fits = |(given, wanted): (u8, u8)| if wanted == b'9' { given.is_ascii_digit() } else { given == wanted };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

impl FromStr for LocalDate {
    type Err = LocalDateError;
    fn from_str(text: &str) -> Result<Self, LocalDateError> {
        let date = is_like(text, "9999-99-99").then(|| text.parse::<Date>().ok()).flatten();
        date.filter(|date| YEARS.contains(&date.year())).map(Self).ok_or_else(|| LocalDateError(text.to_owned()))
    }
}

impl FromStr for LocalTime {
    type Err = LocalTimeError;
    fn from_str(text: &str) -> Result<Self, LocalTimeError> {
        // An offset is not taken: it would contradict the zone twice a year.
        let shaped = ["9999-99-99T99:99", "9999-99-99T99:99:99"].into_iter().any(|shape| is_like(text, shape));
        // A second 60 would be read as 59.
        let time = shaped.then(|| text.parse::<DateTime>().ok()).flatten().filter(|_| !text.ends_with(":60"));
        time.filter(|time| YEARS.contains(&time.year())).map(Self).ok_or_else(|| LocalTimeError(text.to_owned()))
    }
}

impl fmt::Display for LocalDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl Serialize for LocalDate {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for LocalTime {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LocalDate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for LocalTime {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for LocalDate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LocalDate".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "description": "a date like 2026-12-24"})
    }
}

impl JsonSchema for LocalTime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LocalTime".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?$",
            "description": "a date and a time like 2026-12-24T18:00, as the clocks of the zone show it"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_clocks_show_and_no_offsets() {
        assert_eq!("2026-12-24".parse::<LocalDate>().unwrap().to_string(), "2026-12-24");
        assert_eq!("2026-12-24T18:00".parse::<LocalTime>().unwrap().to_string(), "2026-12-24T18:00:00");
        assert_eq!("2028-02-29T23:59:59".parse::<LocalTime>().unwrap().to_string(), "2028-02-29T23:59:59");
        for wrong in ["2026-02-29", "26-12-24", "2026-12-24T00:00", "1999-12-31", "20261224", ""] {
            assert!(wrong.parse::<LocalDate>().is_err(), "{wrong:?}");
        }
        for wrong in ["2026-12-24", "2026-12-24T18", "2026-12-24T18:00Z", "2026-12-24T18:00-04", "2026-12-24T24:00", "2026-12-24T18:00:60"]
        {
            assert!(wrong.parse::<LocalTime>().is_err(), "{wrong:?}");
        }
    }
}
