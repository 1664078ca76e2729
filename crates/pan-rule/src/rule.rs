//! A rule as others have it.

use crate::check::check;
use crate::evaluate::{Run, Unknown};
use crate::node::{Node, Op};
use crate::parse::parse;
use crate::place::{Fault, Refusal};
use crate::schema::Schema;
use crate::value::Facts;
use std::sync::Arc;

/// Bytes of a rule: what it costs each time, and how deep it can go, follow from it.
pub const LENGTH_MAX: usize = 2048;

/// A condition that was read and checked. Two of the same text are equal: they are of one schema, as far as whoever compares them
/// takes care of that.
#[derive(Debug, Clone)]
pub struct Rule {
    text: Arc<str>,
    node: Arc<Node>,
    schema: Arc<Schema>,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.text.trim() == other.text.trim()
    }
}

impl Eq for Rule {}

/// What a rule says, and why, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not, because of this part.
    Fails(String),
    /// That is not known, because of this part, and why.
    Unknown(String, String),
}

impl Rule {
    /// Reads and checks.
    ///
    /// # Errors
    /// The text is no rule, or not of this schema.
    pub fn new(text: &str, schema: Arc<Schema>) -> Result<Self, Refusal> {
        let checked = if text.len() > LENGTH_MAX {
            Err(Fault::new(0, format!("{} bytes: a rule has at most {LENGTH_MAX}", text.len())))
        } else {
            parse(text).and_then(|expr| check(&schema, expr))
        };
        let node = checked.map_err(|fault| fault.place(text))?;
        Ok(Self { text: text.into(), node: Arc::new(node), schema })
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// That is not known.
    pub fn judge(&self, facts: &dyn Facts) -> Result<bool, Unknown> {
        Run { facts, schema: &self.schema }.truth(&self.node)
    }

    /// What it says, with the smallest part of `&&` that decides.
    pub fn explain(&self, facts: &dyn Facts) -> Verdict {
        let run = Run { facts, schema: &self.schema };
        match run.truth(&self.node) {
            Ok(true) => Verdict::Holds,
            Ok(false) => {
                let mut node = &*self.node;
                while let Op::And(one, other) = &node.op {
                    node = if run.truth(one) == Ok(false) { one } else { other };
                }
                Verdict::Fails(self.text[node.span.start..node.span.end].to_owned())
            }
            Err(unknown) => Verdict::Unknown(self.text[unknown.span.start..unknown.span.end].to_owned(), unknown.reason),
        }
    }

    /// The keys of a map that it looks at.
    #[must_use]
    pub fn keys(&self, variable: usize) -> Vec<&str> {
        let mut found = Vec::new();
        visit(&self.node, &mut |node| match &node.op {
            Op::Entry(at, key) | Op::Has(at, key) if *at == variable => found.push(key.as_str()),
            _ => {}
        });
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn visit<'a>(node: &'a Node, seen: &mut impl FnMut(&'a Node)) {
    seen(node);
    match &node.op {
        Op::Constant(_) | Op::Variable(_) | Op::Entry(..) | Op::Has(..) => {}
        Op::Not(of) | Op::Negate(of) => visit(of, seen),
        Op::And(one, other)
        | Op::Or(one, other)
        | Op::Compare(_, one, other)
        | Op::Sum(_, one, other)
        | Op::In(one, other)
        | Op::Index(one, other) => {
            visit(one, seen);
            visit(other, seen);
        }
        Op::Choice(parts) => parts.iter().for_each(|part| visit(part, seen)),
        Op::List(all) | Op::Call(_, all) => all.iter().for_each(|part| visit(part, seen)),
    }
}
