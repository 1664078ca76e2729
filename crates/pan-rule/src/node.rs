//! A rule whose types are known.

use crate::function::Function;
use crate::place::Span;
use crate::syntax::{Relation, Sum};
use crate::value::Value;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub op: Op,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    Constant(Value<'static>),
    /// A variable, by its place in the schema.
    Variable(usize),
    /// What a map has.
    Entry(usize, String),
    /// Whether it has it.
    Has(usize, String),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Choice(Box<[Node; 3]>),
    Compare(Relation, Box<Node>, Box<Node>),
    Sum(Sum, Box<Node>, Box<Node>),
    In(Box<Node>, Box<Node>),
    Index(Box<Node>, Box<Node>),
    List(Vec<Node>),
    Call(Function, Vec<Node>),
}
