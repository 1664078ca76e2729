//! What a text's names are, and whether everything has the type that it is used with.

use crate::function::{ALONE, Function, LEFT_OUT, LITERALS, OF_VALUES, literal};
use crate::node::{Node, Op};
use crate::operation;
use crate::place::{Fault, Span, meant};
use crate::schema::{Schema, Type, Variable};
use crate::syntax::{Binary, Call, Expr, Kind};
use crate::value::Value;

type Checked = Result<(Node, Type), Fault>;

/// Checks a whole rule, which is true or false.
pub(crate) fn check(schema: &Schema, expr: Expr) -> Result<Node, Fault> {
    let (node, kind) = Checker { schema }.expr(expr)?;
    want(&Type::Bool, &kind, node.span, "a rule")?;
    Ok(node)
}

struct Checker<'a> {
    schema: &'a Schema,
}

fn made(op: Op, span: Span, kind: Type) -> Checked {
    Ok((Node { op, span }, kind))
}

fn want(wanted: &Type, found: &Type, span: Span, whose: &str) -> Result<(), Fault> {
    if found == wanted { Ok(()) } else { Err(Fault::new(span.start, format!("{whose} wants {wanted} here: found {found}"))) }
}

/// The name that a text spells: `a.b.c`.
fn spelled(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Name(name) => Some(name.clone()),
        Kind::Select(of, name) => Some(format!("{}.{name}", spelled(of)?)),
        Kind::Literal(_)
        | Kind::Index(..)
        | Kind::Call(_)
        | Kind::Not(_)
        | Kind::Negate(_)
        | Kind::Binary(..)
        | Kind::Choice(_)
        | Kind::List(_) => None,
    }
}

impl Checker<'_> {
    fn expr(&self, expr: Expr) -> Checked {
        let span = expr.span;
        match expr.kind {
            Kind::Literal(value) => {
                let kind = value.kind();
                made(Op::Constant(value), span, kind)
            }
            Kind::Name(_) | Kind::Select(..) => self.name(&expr),
            Kind::Index(of, key) => self.index(*of, *key, span),
            Kind::Call(call) => self.call(call, span),
            Kind::Not(of) => {
                let (node, kind) = self.expr(*of)?;
                want(&Type::Bool, &kind, node.span, "`!`")?;
                made(Op::Not(Box::new(node)), span, Type::Bool)
            }
            Kind::Negate(of) => {
                let (node, kind) = self.expr(*of)?;
                if !matches!(kind, Type::Int | Type::Double | Type::Duration) {
                    return Err(Fault::new(node.span.start, format!("`-` wants int, double or duration here: found {kind}")));
                }
                made(Op::Negate(Box::new(node)), span, kind)
            }
            Kind::Binary(operator, left, right) => self.binary(operator, *left, *right, span),
            Kind::Choice(parts) => self.choice(*parts, span),
            Kind::List(all) => self.list(all, span),
        }
    }

    fn choice(&self, [when, then, or]: [Expr; 3], span: Span) -> Checked {
        let (when, kind) = self.expr(when)?;
        want(&Type::Bool, &kind, when.span, "`?`")?;
        let ((then, one), (or, other)) = (self.expr(then)?, self.expr(or)?);
        if !one.fits(&other) {
            return Err(Fault::new(or.span.start, format!("both sides of `:` want one type: found {one} and {other}")));
        }
        made(Op::Choice(Box::new([when, then, or])), span, one)
    }

    fn list(&self, all: Vec<Expr>, span: Span) -> Checked {
        let mut of: Option<Type> = None;
        let mut nodes = Vec::new();
        for one in all {
            let (node, kind) = self.expr(one)?;
            match &of {
                Some(first) if !first.fits(&kind) => {
                    return Err(Fault::new(node.span.start, format!("a list has values of one type: found {first} and {kind}")));
                }
                Some(_) => {}
                None => of = Some(kind),
            }
            nodes.push(node);
        }
        made(Op::List(nodes), span, Type::List(of.map(Box::new)))
    }

    fn variable(&self, name: &str) -> Option<(usize, &Variable)> {
        self.schema.variables.iter().enumerate().find(|(_, one)| one.name == name)
    }

    /// A variable, or what a map has: `request.headers.host`.
    fn name(&self, expr: &Expr) -> Checked {
        if let Some((at, variable)) = spelled(expr).as_deref().and_then(|name| self.variable(name)) {
            return made(Op::Variable(at), expr.span, variable.kind.clone());
        }
        if let Kind::Select(of, key) = &expr.kind {
            if let Some((at, _)) = self.map(of) {
                let key = self.key(at, key.clone(), Span::new(expr.span.end - key.len(), expr.span.end))?;
                return made(Op::Entry(at, key), expr.span, Type::Text);
            }
            let whole = spelled(expr);
            if whole.is_none() || spelled(of).is_some_and(|name| self.variable(&name).is_some()) {
                let (_, kind) = self.expr((**of).clone())?;
                return Err(Fault::new(expr.span.start, format!("{kind} has no part {key:?}")));
            }
        }
        let name = spelled(expr).unwrap_or_default();
        let known = self.schema.variables.iter().map(|one| one.name.as_str());
        Err(Fault::new(expr.span.start, format!("there is no variable {name}{}", meant(&name, known))))
    }

    /// The map that this is.
    fn map(&self, expr: &Expr) -> Option<(usize, &Variable)> {
        self.variable(&spelled(expr)?).filter(|(_, variable)| variable.kind == Type::Map)
    }

    fn key(&self, variable: usize, key: String, span: Span) -> Result<String, Fault> {
        let Variable { name, key: good, .. } = &self.schema.variables[variable];
        good(&key).map_err(|why| Fault::new(span.start, format!("{name} cannot have {key:?}: {why}")))?;
        Ok(key)
    }

    /// Keys are known before: whoever knows the facts can prepare for them.
    fn quoted(expr: Expr, whose: &str) -> Result<(String, Span), Fault> {
        match expr.kind {
            Kind::Literal(Value::Text(text)) => Ok((text.into_owned(), expr.span)),
            _ => Err(Fault::new(expr.span.start, format!("{whose} wants a text in quotes here"))),
        }
    }

    fn index(&self, of: Expr, key: Expr, span: Span) -> Checked {
        if let Some((at, variable)) = self.map(&of) {
            let (key, place) = Self::quoted(key, &variable.name)?;
            return made(Op::Entry(at, self.key(at, key, place)?), span, Type::Text);
        }
        let (of, kind) = self.expr(of)?;
        let Type::List(Some(inner)) = kind else {
            return Err(Fault::new(of.span.start, format!("`[` wants a list or a map before it: found {kind}")));
        };
        let (key, kind) = self.expr(key)?;
        want(&Type::Int, &kind, key.span, "a place in a list")?;
        made(Op::Index(Box::new(of), Box::new(key)), span, *inner)
    }

    fn binary(&self, operator: Binary, left: Expr, right: Expr, span: Span) -> Checked {
        if operator == Binary::In
            && let Some((at, variable)) = self.map(&right)
        {
            let (key, place) = Self::quoted(left, &variable.name)?;
            return made(Op::Has(at, self.key(at, key, place)?), span, Type::Bool);
        }
        let ((left, one), (right, other)) = (self.expr(left)?, self.expr(right)?);
        let written = format!("`{}`", operator.written());
        let places = (left.span, right.span);
        let (left, right) = (Box::new(left), Box::new(right));
        let op = match operator {
            Binary::And | Binary::Or => {
                want(&Type::Bool, &one, places.0, &written)?;
                want(&Type::Bool, &other, places.1, &written)?;
                if operator == Binary::And { Op::And(left, right) } else { Op::Or(left, right) }
            }
            Binary::Relation(relation) => {
                operation::comparable(relation, &one, &other)
                    .map_err(|expected| Fault::new(places.1.start, format!("{written} {expected}: found {one} and {other}")))?;
                Op::Compare(relation, left, right)
            }
            Binary::In => match &other {
                Type::List(of) if of.as_deref().is_none_or(|of| of.fits(&one)) => Op::In(left, right),
                _ => {
                    let text = format!("`in` wants a map, or a list of {one}, after it: found {other}");
                    return Err(Fault::new(places.1.start, text));
                }
            },
            Binary::Sum(sum) => {
                let Some(kind) = operation::sum_of(sum, &one, &other) else {
                    let text = format!("{written} does not go with {one} and {other}{}", operation::hint(&one, &other));
                    return Err(Fault::new(places.1.start, text));
                };
                return made(Op::Sum(sum, left, right), span, kind);
            }
        };
        made(op, span, Type::Bool)
    }

    fn call(&self, call: Call, span: Span) -> Checked {
        let Call { on, name, at, arguments } = call;
        if let Some((_, why)) = LEFT_OUT.iter().find(|(known, _)| *known == name) {
            return Err(Fault::new(at, format!("there is no {name}: {why}")));
        }
        if on.is_none() && name == "has" {
            return self.has(arguments, at, span);
        }
        if on.is_none() && LITERALS.contains(&name.as_str()) {
            let [text] = one(arguments, &name, at)?;
            let (text, place) = Self::quoted(text, &format!("{name}()"))?;
            let value = literal(&name, &text).map_err(|why| Fault::new(place.start, why))?;
            let kind = value.kind();
            return made(Op::Constant(value), span, kind);
        }
        let known: &[(&str, Function)] = if on.is_some() { &OF_VALUES } else { &ALONE };
        let Some((_, function)) = known.iter().find(|(known, _)| *known == name) else {
            let others = if on.is_some() { &[][..] } else { &LITERALS };
            let names = known.iter().map(|(known, _)| *known).chain(others.iter().copied()).chain(on.is_none().then_some("has"));
            let what = if on.is_some() { "function of a value" } else { "function" };
            return Err(Fault::new(at, format!("there is no {what} {name}(){}", meant(&name, names))));
        };
        let before = usize::from(on.is_some());
        let takes = function.takes();
        if arguments.len() + before != takes.len() {
            let text = format!("{name}() takes {} arguments here: found {}", takes.len() - before, arguments.len());
            return Err(Fault::new(at, text.replace(" 1 arguments", " 1 argument")));
        }
        let mut nodes = Vec::new();
        for (place, argument) in on.map(|on| *on).into_iter().chain(arguments).enumerate() {
            let (node, kind) = self.expr(argument)?;
            if !function.accepts(place, &kind) {
                return Err(Fault::new(node.span.start, format!("{name}() wants {} here: found {kind}", takes[place])));
            }
            nodes.push(node);
        }
        made(Op::Call(*function, nodes), span, function.gives())
    }

    fn has(&self, arguments: Vec<Expr>, at: usize, span: Span) -> Checked {
        let [of] = one(arguments, "has", at)?;
        let found = match &of.kind {
            Kind::Select(map, key) => self.map(map).map(|(map, _)| (map, key.clone())),
            _ => None,
        };
        let Some((map, key)) = found else {
            return Err(Fault::new(of.span.start, "has() wants a map and a name here, like has(request.headers.accept)"));
        };
        let place = Span::new(of.span.end - key.len(), of.span.end);
        made(Op::Has(map, self.key(map, key, place)?), span, Type::Bool)
    }
}

fn one(arguments: Vec<Expr>, name: &str, at: usize) -> Result<[Expr; 1], Fault> {
    let found = arguments.len();
    <[Expr; 1]>::try_from(arguments).map_err(|_| Fault::new(at, format!("{name}() takes 1 argument: found {found}")))
}
