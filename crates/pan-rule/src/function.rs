//! The functions that there are. Whoever is called on a value has it as the first argument.

use crate::schema::Type;
use crate::value::Value;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use std::net::IpAddr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Size,
    StartsWith,
    EndsWith,
    Contains,
    ContainsIp,
    ToInt,
    ToUint,
    ToDouble,
    ToText,
}

/// Called alone, besides [`LITERALS`] and `has`.
pub(crate) const ALONE: [(&str, Function); 5] = [
    ("size", Function::Size),
    ("int", Function::ToInt),
    ("uint", Function::ToUint),
    ("double", Function::ToDouble),
    ("string", Function::ToText),
];

/// Called on a value.
pub(crate) const OF_VALUES: [(&str, Function); 5] = [
    ("size", Function::Size),
    ("startsWith", Function::StartsWith),
    ("endsWith", Function::EndsWith),
    ("contains", Function::Contains),
    ("containsIP", Function::ContainsIp),
];

/// Of a text in quotes they make a value, once.
pub(crate) const LITERALS: [&str; 4] = ["duration", "timestamp", "ip", "cidr"];

/// Of CEL, or of others' CEL, and left out.
pub(crate) const LEFT_OUT: [(&str, &str); 9] = [
    ("all", "there are no loops"),
    ("exists", "there are no loops; ask by `in` whether a list has a value"),
    ("exists_one", "there are no loops"),
    ("map", "there are no loops"),
    ("filter", "there are no loops"),
    ("matches", "there are no regular expressions; ask by startsWith, endsWith or contains"),
    ("dyn", "every value has a type that is known before"),
    ("type", "every value has a type that is known before"),
    ("bytes", "there are no bytes"),
];

impl Function {
    /// What it takes, for people; as many as there are arguments.
    pub fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Size => &["string or list"],
            Self::StartsWith | Self::EndsWith | Self::Contains => &["string", "string"],
            Self::ContainsIp => &["CIDR", "IP"],
            Self::ToInt | Self::ToUint | Self::ToDouble => &["int, uint, double or string"],
            Self::ToText => &["bool, int, uint, double, string or IP"],
        }
    }

    /// Whether it takes a value of this type there.
    pub fn accepts(self, at: usize, kind: &Type) -> bool {
        match self {
            Self::Size => matches!(kind, Type::Text | Type::List(_)),
            Self::StartsWith | Self::EndsWith | Self::Contains => *kind == Type::Text,
            Self::ContainsIp => *kind == if at == 0 { Type::Network } else { Type::Address },
            Self::ToInt | Self::ToUint | Self::ToDouble => matches!(kind, Type::Int | Type::Uint | Type::Double | Type::Text),
            Self::ToText => matches!(kind, Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Text | Type::Address),
        }
    }

    pub const fn gives(self) -> Type {
        match self {
            Self::Size | Self::ToInt => Type::Int,
            Self::StartsWith | Self::EndsWith | Self::Contains | Self::ContainsIp => Type::Bool,
            Self::ToUint => Type::Uint,
            Self::ToDouble => Type::Double,
            Self::ToText => Type::Text,
        }
    }
}

/// The value that one of [`LITERALS`] makes of a text.
pub(crate) fn literal(name: &str, text: &str) -> Result<Value<'static>, String> {
    let bad = |expected: &str| format!("{text:?} is none: expected {expected}");
    match name {
        "duration" => {
            let shape = text.chars().all(|one| one.is_ascii_alphanumeric() || matches!(one, '.' | '-'));
            let span = text.parse::<SignedDuration>().ok().filter(|_| shape && !text.contains(['p', 'P']));
            let nanos = span.and_then(|span| i64::try_from(span.as_nanos()).ok());
            nanos.map(Value::Duration).ok_or_else(|| bad("a span like 10s, 1h30m or 250ms, of at most 292 years"))
        }
        "timestamp" => {
            let nanos = text.parse::<Timestamp>().ok().and_then(|instant| i64::try_from(instant.as_nanosecond()).ok());
            nanos.map(Value::Timestamp).ok_or_else(|| bad("an instant like 2026-01-31T08:00:00Z, from 1678 to 2261"))
        }
        "ip" => text.parse::<IpAddr>().map(Value::Address).map_err(|_| bad("an address like 192.0.2.7 or 2001:db8::7")),
        _ => {
            let net = text.parse::<IpNet>().map_err(|_| bad("a prefix like 192.0.2.0/24 or 2001:db8::/32"))?;
            if net.trunc() == net {
                Ok(Value::Network(net))
            } else {
                Err(format!("{text:?} has host bits set: did you mean {}?", net.trunc()))
            }
        }
    }
}
