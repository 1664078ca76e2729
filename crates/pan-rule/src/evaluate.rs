//! What a rule comes to, with the facts of now. It always ends, and never guesses: what is not known makes the outcome unknown,
//! unless the other side of `&&` or `||` decides alone (as CEL has it, whichever side that is).

use crate::function::Function;
use crate::node::{Node, Op};
use crate::operation::{self, Failed};
use crate::place::Span;
use crate::schema::Schema;
use crate::value::{Facts, Value};
use std::borrow::Cow;

/// Why a rule is neither true nor false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    pub(crate) span: Span,
    /// What is missing.
    pub reason: String,
}

pub(crate) struct Run<'a> {
    pub facts: &'a dyn Facts,
    pub schema: &'a Schema,
}

type Evaluated<'a> = Result<Value<'a>, Unknown>;

fn unknown(span: Span, reason: impl Into<String>) -> Unknown {
    Unknown { span, reason: reason.into() }
}

impl<'a> Run<'a> {
    pub fn node(&self, node: &'a Node) -> Evaluated<'a> {
        match &node.op {
            Op::Constant(value) => Ok(value.borrowed()),
            Op::Variable(at) => {
                let known = self.facts.value(*at).filter(|value| value.kind().fits(&self.schema.variables[*at].kind));
                known.ok_or_else(|| unknown(node.span, "it is not known"))
            }
            Op::Entry(at, key) => {
                let found = self.facts.entry(*at, key).map(Value::Text);
                found.ok_or_else(|| {
                    let why = if self.facts.has(*at, key) { "it is not text" } else { "there is none" };
                    unknown(node.span, why)
                })
            }
            Op::Has(at, key) => Ok(Value::Bool(self.facts.has(*at, key))),
            Op::Not(of) => Ok(Value::Bool(!self.truth(of)?)),
            Op::Negate(of) => self.negated(of, node.span),
            Op::And(one, other) => self.either(one, other, false),
            Op::Or(one, other) => self.either(one, other, true),
            Op::Choice(parts) => {
                let [when, then, or] = &**parts;
                self.node(if self.truth(when)? { then } else { or })
            }
            Op::Compare(relation, one, other) => {
                let outcome = operation::compare(*relation, &self.node(one)?, &self.node(other)?);
                outcome.map(Value::Bool).ok_or_else(|| Self::mistyped(node))
            }
            Op::Sum(sum, one, other) => operation::sum(*sum, self.node(one)?, self.node(other)?).map_err(|failed| {
                let why = match failed {
                    Failed::Overflow => "it is more than 64 bits can hold",
                    Failed::ByZero => "it is divided by zero",
                    Failed::TooLong => "the text would be longer than 64 KiB",
                    Failed::Types => return Self::mistyped(node),
                };
                unknown(node.span, why)
            }),
            Op::In(one, list) => self.within(one, list),
            Op::Index(list, place) => self.indexed(list, place, node),
            Op::List(all) => all.iter().map(|one| self.node(one)).collect::<Result<_, _>>().map(Value::List),
            Op::Call(function, arguments) => self.call(*function, arguments, node),
        }
    }

    pub fn truth(&self, node: &'a Node) -> Result<bool, Unknown> {
        match self.node(node)? {
            Value::Bool(value) => Ok(value),
            _ => Err(Self::mistyped(node)),
        }
    }

    /// Types were checked, so this is a mistake of ours; it says that nothing is known.
    fn mistyped(node: &Node) -> Unknown {
        unknown(node.span, "it has another type than it should have")
    }

    /// `&&` is decided by a side that is false, `||` by one that is true.
    fn either(&self, one: &'a Node, other: &'a Node, decisive: bool) -> Evaluated<'a> {
        let first = self.truth(one);
        if first == Ok(decisive) {
            return Ok(Value::Bool(decisive));
        }
        match (first, self.truth(other)) {
            (_, Ok(second)) if second == decisive => Ok(Value::Bool(decisive)),
            (Err(unknown), _) | (Ok(_), Err(unknown)) => Err(unknown),
            (Ok(_), Ok(_)) => Ok(Value::Bool(!decisive)),
        }
    }

    fn negated(&self, of: &'a Node, span: Span) -> Evaluated<'a> {
        let negated = match self.node(of)? {
            Value::Int(value) => value.checked_neg().map(Value::Int),
            Value::Duration(value) => value.checked_neg().map(Value::Duration),
            Value::Double(value) => Some(Value::Double(-value)),
            _ => return Err(Self::mistyped(of)),
        };
        negated.ok_or_else(|| unknown(span, "it is more than 64 bits can hold"))
    }

    fn within(&self, one: &'a Node, list: &'a Node) -> Evaluated<'a> {
        let wanted = self.node(one)?;
        // One after the other: a long list of constants is looked through without a copy.
        let found = match &list.op {
            Op::List(all) => {
                let mut missing = None;
                for one in all {
                    match self.node(one) {
                        Ok(value) if value == wanted => return Ok(Value::Bool(true)),
                        Ok(_) => {}
                        Err(unknown) => missing = Some(unknown),
                    }
                }
                return missing.map_or(Ok(Value::Bool(false)), Err);
            }
            _ => self.node(list)?,
        };
        match found {
            Value::List(all) => Ok(Value::Bool(all.contains(&wanted))),
            _ => Err(Self::mistyped(list)),
        }
    }

    fn indexed(&self, list: &'a Node, place: &'a Node, node: &'a Node) -> Evaluated<'a> {
        let (Value::List(mut all), Value::Int(at)) = (self.node(list)?, self.node(place)?) else { return Err(Self::mistyped(node)) };
        match usize::try_from(at).ok().filter(|at| *at < all.len()) {
            Some(at) => Ok(all.swap_remove(at)),
            None => Err(unknown(node.span, format!("the list has {} values, and none at {at}", all.len()))),
        }
    }

    fn call(&self, function: Function, arguments: &'a [Node], node: &'a Node) -> Evaluated<'a> {
        let first = self.node(&arguments[0])?;
        let second = arguments.get(1).map(|second| self.node(second)).transpose()?;
        let size = |length: usize| Value::Int(i64::try_from(length).unwrap_or(i64::MAX));
        let none = |what: &str| unknown(node.span, format!("it is no {what}"));
        Ok(match (function, first, second) {
            (Function::Size, Value::Text(text), None) => size(text.chars().count()),
            (Function::Size, Value::List(all), None) => size(all.len()),
            (Function::StartsWith, Value::Text(text), Some(Value::Text(part))) => Value::Bool(text.starts_with(&*part)),
            (Function::EndsWith, Value::Text(text), Some(Value::Text(part))) => Value::Bool(text.ends_with(&*part)),
            (Function::Contains, Value::Text(text), Some(Value::Text(part))) => Value::Bool(text.contains(&*part)),
            (Function::ContainsIp, Value::Network(net), Some(Value::Address(address))) => Value::Bool(net.contains(&address)),
            (Function::ToInt, value, None) => Value::Int(int(&value).ok_or_else(|| none("int"))?),
            (Function::ToUint, value, None) => Value::Uint(uint(&value).ok_or_else(|| none("uint"))?),
            (Function::ToDouble, value, None) => Value::Double(double(&value).ok_or_else(|| none("double"))?),
            (Function::ToText, value, None) => Value::Text(text(value).ok_or_else(|| none("string"))?),
            _ => return Err(Self::mistyped(node)),
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "towards zero, as CEL has it; the range is looked at")]
fn int(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(value) => Some(*value),
        Value::Uint(value) => i64::try_from(*value).ok(),
        Value::Double(value) => (*value > -9.223_372_036_854_775e18 && *value < 9.223_372_036_854_775e18).then_some(*value as i64),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "towards zero, as CEL has it; the range is looked at")]
fn uint(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Int(value) => u64::try_from(*value).ok(),
        Value::Uint(value) => Some(*value),
        Value::Double(value) => (*value > -1.0 && *value < 1.844_674_407_370_955e19).then_some(*value as u64),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "the nearest double, as CEL has it")]
fn double(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        Value::Double(value) => Some(*value),
        Value::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::Text(text) => text,
        Value::Bool(value) => value.to_string().into(),
        Value::Int(value) => value.to_string().into(),
        Value::Uint(value) => value.to_string().into(),
        Value::Double(value) => value.to_string().into(),
        Value::Address(value) => value.to_string().into(),
        _ => return None,
    })
}
