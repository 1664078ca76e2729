//! Operators: which types they go with, and what comes out.

use crate::schema::Type;
use crate::syntax::{Relation, Sum};
use crate::value::Value;
use std::borrow::Cow;
use std::cmp::Ordering;

/// Bytes of a text that `+` makes: it is made anew for each request.
const TEXT_MAX: usize = 64 << 10;

/// How numbers of two types can be made one.
pub(crate) fn hint(one: &Type, other: &Type) -> &'static str {
    let number = |kind: &Type| matches!(kind, Type::Int | Type::Uint | Type::Double);
    if !(number(one) && number(other)) || one == other {
        ""
    } else if *one == Type::Double || *other == Type::Double {
        " (a double is written 1.0, or double(1))"
    } else {
        " (a uint is written 1u, or uint(1))"
    }
}

/// Whether values of these types can be compared so; what is expected, if not.
pub(crate) fn comparable(relation: Relation, one: &Type, other: &Type) -> Result<(), String> {
    if !one.fits(other) {
        return Err(format!("compares values of one type{}", hint(one, other)));
    }
    if *one == Type::Map {
        return Err("does not compare maps".to_owned());
    }
    let ordered = match relation {
        Relation::Equal | Relation::Unequal => true,
        Relation::Less | Relation::AtMost | Relation::More | Relation::AtLeast => {
            !matches!(one, Type::Address | Type::Network | Type::List(_))
        }
    };
    if ordered { Ok(()) } else { Err("compares what has an order".to_owned()) }
}

/// The type of a sum, if there is one.
pub(crate) fn sum_of(sum: Sum, one: &Type, other: &Type) -> Option<Type> {
    use Type::{Double, Duration, Int, Text, Timestamp, Uint};
    match (sum, one, other) {
        (Sum::Remainder, Double, Double) => None,
        (_, Int, Int) => Some(Int),
        (_, Uint, Uint) => Some(Uint),
        (_, Double, Double) => Some(Double),
        (Sum::Add, Text, Text) => Some(Text),
        (Sum::Add | Sum::Subtract, Duration, Duration) | (Sum::Subtract, Timestamp, Timestamp) => Some(Duration),
        (Sum::Add | Sum::Subtract, Timestamp, Duration) | (Sum::Add, Duration, Timestamp) => Some(Timestamp),
        _ => None,
    }
}

/// Compares values of one type.
pub(crate) fn compare(relation: Relation, one: &Value<'_>, other: &Value<'_>) -> Option<bool> {
    match relation {
        Relation::Equal => return Some(one == other),
        Relation::Unequal => return Some(one != other),
        Relation::Less | Relation::AtMost | Relation::More | Relation::AtLeast => {}
    }
    let order = match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::Int(one), Value::Int(other))
        | (Value::Duration(one), Value::Duration(other))
        | (Value::Timestamp(one), Value::Timestamp(other)) => Some(one.cmp(other)),
        (Value::Uint(one), Value::Uint(other)) => Some(one.cmp(other)),
        (Value::Text(one), Value::Text(other)) => Some(one.cmp(other)),
        // What is not a number is neither less nor more than anything.
        (Value::Double(one), Value::Double(other)) => one.partial_cmp(other),
        _ => return None,
    };
    Some(order.is_some_and(|order| match relation {
        Relation::Less => order == Ordering::Less,
        Relation::AtMost => order != Ordering::Greater,
        Relation::More => order == Ordering::Greater,
        Relation::AtLeast => order != Ordering::Less,
        Relation::Equal | Relation::Unequal => false,
    }))
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    Overflow,
    ByZero,
    TooLong,
    Types,
}

pub(crate) fn sum<'a>(sum: Sum, one: Value<'a>, other: Value<'a>) -> Result<Value<'a>, Failed> {
    let whole = |value: Option<i64>| value.ok_or(Failed::Overflow);
    match (one, other) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) if matches!(sum, Sum::Divide | Sum::Remainder) => {
            Err(Failed::ByZero)
        }
        (Value::Int(one), Value::Int(other)) => whole(ints(sum, one, other)).map(Value::Int),
        (Value::Uint(one), Value::Uint(other)) => uints(sum, one, other).map(Value::Uint).ok_or(Failed::Overflow),
        (Value::Double(one), Value::Double(other)) => Ok(Value::Double(match sum {
            Sum::Add => one + other,
            Sum::Subtract => one - other,
            Sum::Multiply => one * other,
            Sum::Divide => one / other,
            Sum::Remainder => return Err(Failed::Types),
        })),
        (Value::Text(one), Value::Text(other)) => {
            if one.len() + other.len() > TEXT_MAX {
                return Err(Failed::TooLong);
            }
            Ok(Value::Text(Cow::Owned(one.into_owned() + &other)))
        }
        (Value::Duration(one), Value::Duration(other)) => whole(ints(sum, one, other)).map(Value::Duration),
        (Value::Timestamp(one), Value::Timestamp(other)) => whole(one.checked_sub(other)).map(Value::Duration),
        (Value::Timestamp(one), Value::Duration(other)) | (Value::Duration(one), Value::Timestamp(other)) => {
            whole(ints(sum, one, other)).map(Value::Timestamp)
        }
        _ => Err(Failed::Types),
    }
}

fn ints(sum: Sum, one: i64, other: i64) -> Option<i64> {
    match sum {
        Sum::Add => one.checked_add(other),
        Sum::Subtract => one.checked_sub(other),
        Sum::Multiply => one.checked_mul(other),
        Sum::Divide => one.checked_div(other),
        Sum::Remainder => one.checked_rem(other),
    }
}

fn uints(sum: Sum, one: u64, other: u64) -> Option<u64> {
    match sum {
        Sum::Add => one.checked_add(other),
        Sum::Subtract => one.checked_sub(other),
        Sum::Multiply => one.checked_mul(other),
        Sum::Divide => one.checked_div(other),
        Sum::Remainder => one.checked_rem(other),
    }
}
