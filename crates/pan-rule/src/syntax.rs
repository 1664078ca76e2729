//! What a text says, before anybody knows what its names are.

use crate::place::Span;
use crate::value::Value;

/// A part of the text.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub kind: Kind,
    pub span: Span,
    /// The longest way down from here.
    pub height: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Literal(Value<'static>),
    Name(String),
    Select(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    Call(Call),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    Choice(Box<[Expr; 3]>),
    List(Vec<Expr>),
}

/// A call, of a function alone or of one of a value.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub on: Option<Box<Expr>>,
    pub name: String,
    /// Where the name is.
    pub at: usize,
    pub arguments: Vec<Expr>,
}

/// Operators between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Or,
    And,
    Relation(Relation),
    In,
    Sum(Sum),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Binary {
    /// How it is written, and how strongly it binds.
    pub const ALL: [(&'static str, u8, Self); 14] = [
        ("||", 1, Self::Or),
        ("&&", 2, Self::And),
        ("==", 3, Self::Relation(Relation::Equal)),
        ("!=", 3, Self::Relation(Relation::Unequal)),
        ("<", 3, Self::Relation(Relation::Less)),
        ("<=", 3, Self::Relation(Relation::AtMost)),
        (">", 3, Self::Relation(Relation::More)),
        (">=", 3, Self::Relation(Relation::AtLeast)),
        ("in", 3, Self::In),
        ("+", 4, Self::Sum(Sum::Add)),
        ("-", 4, Self::Sum(Sum::Subtract)),
        ("*", 5, Self::Sum(Sum::Multiply)),
        ("/", 5, Self::Sum(Sum::Divide)),
        ("%", 5, Self::Sum(Sum::Remainder)),
    ];

    pub fn written(self) -> &'static str {
        Self::ALL.iter().find(|(.., one)| *one == self).map_or("?", |(written, ..)| written)
    }
}
