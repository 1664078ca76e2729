//! What a rule may speak of.

use std::fmt;

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Bool,
    /// 64 bits with a sign.
    Int,
    /// 64 bits without.
    Uint,
    /// IEEE 754, 64 bits.
    Double,
    /// Text.
    Text,
    /// A span of time.
    Duration,
    /// An instant.
    Timestamp,
    /// An address of IPv4 or IPv6.
    Address,
    /// A prefix of addresses.
    Network,
    /// Values of one type, in order. Nothing is in an empty one whose type is unknown.
    List(Option<Box<Type>>),
    /// Texts by name. Only variables are.
    Map,
}

impl fmt::Display for Type {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Duration => "duration",
            Self::Timestamp => "timestamp",
            Self::Address => "IP",
            Self::Network => "CIDR",
            Self::List(Some(of)) => return write!(to, "list({of})"),
            Self::List(None) => "list",
            Self::Map => "map(string, string)",
        })
    }
}

impl Type {
    /// Whether both are the same, as far as is known.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(Some(one)), Self::List(Some(other))) => one.fits(other),
            (Self::List(_), Self::List(_)) => true,
            _ => self == other,
        }
    }
}

/// A name that is known.
#[derive(Debug, Clone)]
pub struct Variable {
    /// The name, dots included: `request.method`.
    pub name: String,
    /// What it is.
    pub kind: Type,
    /// Of a map: whether a key can be one, and if not, why.
    pub key: fn(&str) -> Result<(), String>,
}

impl Variable {
    /// A variable; any key is one.
    pub fn new(name: impl Into<String>, kind: Type) -> Self {
        Self { name: name.into(), kind, key: |_| Ok(()) }
    }
}

/// All names that are known. [`crate::Facts`] are asked by their places in it.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// In any order.
    pub variables: Vec<Variable>,
}
