//! Conditions in a part of CEL, the Common Expression Language (<https://github.com/google/cel-spec>): a text is read, checked
//! against the [`Schema`] of whoever asks, and evaluated as often as wanted. Nothing here knows what the variables mean.
//!
//! What is not known is neither true nor false: [`Rule::judge`] says so. Each evaluation ends, within a bound that the text's length
//! sets: there are no loops, no regular expressions and no calls of anything outside.

mod check;
mod evaluate;
mod function;
mod node;
mod operation;
mod parse;
mod place;
mod rule;
mod schema;
mod syntax;
mod token;
mod value;

pub use evaluate::Unknown;
pub use place::Refusal;
pub use rule::{LENGTH_MAX, Rule, Verdict};
pub use schema::{Schema, Type, Variable};
pub use value::{Facts, Value};
