//! Values, and who knows them.

use crate::schema::Type;
use ipnet::IpNet;
use std::borrow::Cow;
use std::net::IpAddr;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// [`Type::Bool`].
    Bool(bool),
    /// [`Type::Int`].
    Int(i64),
    /// [`Type::Uint`].
    Uint(u64),
    /// [`Type::Double`].
    Double(f64),
    /// [`Type::Text`].
    Text(Cow<'a, str>),
    /// [`Type::Duration`], in nanoseconds.
    Duration(i64),
    /// [`Type::Timestamp`], in nanoseconds since 1970 (UTC).
    Timestamp(i64),
    /// [`Type::Address`].
    Address(IpAddr),
    /// [`Type::Network`].
    Network(IpNet),
    /// [`Type::List`].
    List(Vec<Value<'a>>),
}

impl Value<'_> {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Type {
        match self {
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::Text(_) => Type::Text,
            Self::Duration(_) => Type::Duration,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Address(_) => Type::Address,
            Self::Network(_) => Type::Network,
            Self::List(all) => Type::List(all.first().map(|first| Box::new(first.kind()))),
        }
    }

    /// The same, without a copy of its text.
    pub(crate) fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::List(all) => Value::List(all.iter().map(Value::borrowed).collect()),
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Duration(value) => Value::Duration(*value),
            Self::Timestamp(value) => Value::Timestamp(*value),
            Self::Address(value) => Value::Address(*value),
            Self::Network(value) => Value::Network(*value),
        }
    }
}

/// Who knows what the variables of a [`crate::Schema`] are now. A variable is named by its place there.
pub trait Facts {
    /// A variable that is no map; nothing if it is not known. A value of another type than the schema's is not known either.
    fn value(&self, variable: usize) -> Option<Value<'_>>;

    /// Whether a map has a key.
    fn has(&self, variable: usize, key: &str) -> bool;

    /// What a map has for a key; nothing if there is no such key, or what it has is no text.
    fn entry(&self, variable: usize, key: &str) -> Option<Cow<'_, str>>;
}
