//! Amounts of memory and of processor time.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// An amount of bytes. Text form `128MiB`, `4GiB`, `512`; JSON output is the integer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {what}: expected {expected}")]
pub struct AmountError {
    /// The refused text.
    pub found: String,
    /// What it should have been.
    pub what: &'static str,
    /// The accepted forms.
    pub expected: &'static str,
}

fn size_error(text: &str) -> AmountError {
    AmountError {
        found: text.to_owned(),
        what: "a size",
        expected: "a whole number of bytes or with a unit: KiB, MiB, GiB, TiB, kB, MB, GB, TB",
    }
}

impl FromStr for ByteSize {
    type Err = AmountError;
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (digits, factor) =
            UNITS.iter().find_map(|(unit, factor)| text.strip_suffix(unit).map(|rest| (rest.trim_end(), *factor))).unwrap_or((text, 1));
        let count: u64 = digits.parse().map_err(|_| size_error(text))?;
        count.checked_mul(factor).map(ByteSize).ok_or_else(|| size_error(text))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let best = ["TiB", "GiB", "MiB", "KiB"].into_iter().find_map(|unit| {
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
            (self.0 >= *factor && self.0.is_multiple_of(*factor)).then(|| format!("{}{unit}", self.0 / factor))
        });
        f.pad(&best.unwrap_or_else(|| self.0.to_string()))
    }
}

/// Processor time in thousandths of a core. Text form `500m`, `2`, `0.5`; JSON output is a number of cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(pub u64);

fn cpu_error(text: &str) -> AmountError {
    AmountError { found: text.to_owned(), what: "an amount of cpu", expected: "thousandths of a core like 500m, or cores like 2 or 0.5" }
}

impl FromStr for Cpu {
    type Err = AmountError;
    fn from_str(text: &str) -> Result<Self, AmountError> {
        if let Some(milli) = text.strip_suffix('m') {
            return milli.parse().map(Cpu).map_err(|_| cpu_error(text));
        }
        let cores: f64 = text.parse().map_err(|_| cpu_error(text))?;
        if !cores.is_finite() || !(0.0..=1_000_000.0).contains(&cores) {
            return Err(cpu_error(text));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Cpu((cores * 1000.0).round() as u64))
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { f.pad(&(self.0 / 1000).to_string()) } else { f.pad(&format!("{}m", self.0)) }
    }
}

struct Text<T>(std::marker::PhantomData<T>, &'static str);

impl<T: FromStr<Err = AmountError>> de::Visitor<'_> for Text<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
    fn visit_u64<E: de::Error>(self, count: u64) -> Result<T, E> {
        count.to_string().parse().map_err(E::custom)
    }
    fn visit_i64<E: de::Error>(self, count: i64) -> Result<T, E> {
        count.to_string().parse().map_err(E::custom)
    }
    fn visit_f64<E: de::Error>(self, count: f64) -> Result<T, E> {
        count.to_string().parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Text(std::marker::PhantomData, "a size like 128MiB"))
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Text(std::marker::PhantomData, "an amount of cpu like 500m"))
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.0)
    }
}

impl Serialize for Cpu {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[allow(clippy::cast_precision_loss)]
        if self.0.is_multiple_of(1000) { to.serialize_u64(self.0 / 1000) } else { to.serialize_f64(self.0 as f64 / 1000.0) }
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["integer", "string"], "minimum": 0, "description": "bytes, or a text like 128MiB"})
    }
}

impl JsonSchema for Cpu {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cpu".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["number", "string"], "minimum": 0, "description": "cores, or a text like 500m"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes, print) in [("128MiB", 128 << 20, "128MiB"), ("512", 512, "512"), ("1kB", 1000, "1000"), ("2GiB", 2 << 30, "2GiB")]
        {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, print));
        }
        for bad in ["", "MiB", "1.5GiB", "12Mb", "-1", "99999999TiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cpu_reads_and_prints() {
        for (text, milli, print) in [("500m", 500, "500m"), ("2", 2000, "2"), ("0.25", 250, "250m")] {
            let cpu: Cpu = text.parse().unwrap();
            assert_eq!((cpu.0, cpu.to_string().as_str()), (milli, print));
        }
        for bad in ["", "m", "-1", "two", "NaN"] {
            assert!(bad.parse::<Cpu>().is_err(), "{bad}");
        }
    }

    #[test]
    fn json_is_numbers() {
        assert_eq!(serde_json::to_string(&(Cpu(500), Cpu(4000), ByteSize(1024))).unwrap(), "[0.5,4,1024]");
    }
}
