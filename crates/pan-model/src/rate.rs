//! Rates of traffic.

use crate::size::AmountError;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// Bits a second. Text form `100Mbit`, `1Gbit`, `512kbit`; JSON output is the integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitRate(pub u64);

const UNITS: [(&str, u64); 4] = [("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

impl FromStr for BitRate {
    type Err = AmountError;
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let bad = || AmountError {
            found: text.to_owned(),
            what: "a rate",
            expected: "a whole number of bits a second or with a unit: kbit, Mbit, Gbit",
        };
        let (digits, factor) =
            UNITS.iter().find_map(|(unit, factor)| text.strip_suffix(unit).map(|rest| (rest.trim_end(), *factor))).unwrap_or((text, 1));
        let count: u64 = digits.parse().map_err(|_| bad())?;
        count.checked_mul(factor).map(BitRate).ok_or_else(bad)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)).unwrap_or(&UNITS[3]);
        f.pad(&format!("{}{unit}", self.0 / factor))
    }
}

impl Serialize for BitRate {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for BitRate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = BitRate;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate like 100Mbit")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<BitRate, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, count: u64) -> Result<BitRate, E> {
                Ok(BitRate(count))
            }
        }
        from.deserialize_any(Text)
    }
}

impl JsonSchema for BitRate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BitRate".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["integer", "string"], "minimum": 0, "description": "bits a second, or a text like 100Mbit"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_and_print() {
        for (text, bits, print) in
            [("100Mbit", 100_000_000, "100Mbit"), ("1 Gbit", 1_000_000_000, "1Gbit"), ("1500kbit", 1_500_000, "1500kbit"), ("7", 7, "7bit")]
        {
            let rate: BitRate = text.parse().unwrap();
            assert_eq!((rate.0, rate.to_string().as_str()), (bits, print));
        }
        for bad in ["", "Mbit", "1.5Mbit", "10MB", "10mbit", "-1", "99999999999Gbit"] {
            assert!(bad.parse::<BitRate>().is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&BitRate(64_000)).unwrap(), "64000");
        assert_eq!(serde_json::from_str::<BitRate>("64000").unwrap(), BitRate(64_000));
    }
}
