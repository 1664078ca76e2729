//! From words to what they say: the grammar of CEL without maps, messages, bytes and macros.

use crate::place::{Fault, Span};
use crate::syntax::{Binary, Call, Expr, Kind};
use crate::token::{Token, tokens};
use crate::value::Value;

/// Parts within parts: all that follows goes as deep, on the stack.
const DEPTH_MAX: usize = 48;

pub(crate) fn parse(text: &str) -> Result<Expr, Fault> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let whole = parser.expression()?;
    match parser.next() {
        (Token::End, _) => Ok(whole),
        (other, span) => Err(Fault::new(span.start, format!("{} after the end: expected an operator, or nothing", named(&other)))),
    }
}

struct Parser {
    tokens: Vec<(Token, Span)>,
    at: usize,
    depth: usize,
}

fn named(token: &Token) -> String {
    match token {
        Token::Name(name) => format!("`{name}`"),
        Token::Int(_) | Token::Uint(_) | Token::Double(_) => "a number".to_owned(),
        Token::Text(text) => format!("the text {text:?}"),
        Token::Sign(sign) => format!("`{sign}`"),
        Token::End => "the end".to_owned(),
    }
}

fn deep(at: usize) -> Fault {
    Fault::new(at, format!("more than {DEPTH_MAX} parts within each other: make it two rules"))
}

fn made(kind: Kind, span: Span, below: usize) -> Result<Expr, Fault> {
    if below >= DEPTH_MAX { Err(deep(span.start)) } else { Ok(Expr { kind, span, height: below + 1 }) }
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn span(&self) -> Span {
        self.tokens[self.at].1
    }

    /// The next word; the end is never passed.
    fn next(&mut self) -> (Token, Span) {
        let found = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        found
    }

    fn takes(&mut self, sign: &str) -> bool {
        let its = matches!(self.peek(), Token::Sign(found) if *found == sign);
        if its {
            self.next();
        }
        its
    }

    fn want(&mut self, sign: &str) -> Result<Span, Fault> {
        match self.next() {
            (Token::Sign(found), span) if found == sign => Ok(span),
            (other, span) => Err(Fault::new(span.start, format!("{} here: expected `{sign}`", named(&other)))),
        }
    }

    fn within<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth >= DEPTH_MAX {
            return Err(deep(self.span().start));
        }
        self.depth += 1;
        let found = inner(self);
        self.depth -= 1;
        found
    }

    fn expression(&mut self) -> Result<Expr, Fault> {
        self.within(|parser| {
            let when = parser.binary(1)?;
            if !parser.takes("?") {
                return Ok(when);
            }
            let then = parser.binary(1)?;
            parser.want(":")?;
            let or = parser.expression()?;
            let (span, below) = (when.span.to(or.span), when.height.max(then.height).max(or.height));
            made(Kind::Choice(Box::new([when, then, or])), span, below)
        })
    }

    fn operator(&self) -> Option<(u8, Binary)> {
        let written = match self.peek() {
            Token::Sign(sign) => *sign,
            Token::Name(name) if name == "in" => "in",
            Token::Name(_) | Token::Int(_) | Token::Uint(_) | Token::Double(_) | Token::Text(_) | Token::End => return None,
        };
        Binary::ALL.iter().find(|(found, ..)| *found == written).map(|(_, binds, operator)| (*binds, *operator))
    }

    /// Operators that bind as strongly as `least`, from the left.
    fn binary(&mut self, least: u8) -> Result<Expr, Fault> {
        let mut left = self.unary()?;
        while let Some((binds, operator)) = self.operator().filter(|(binds, _)| *binds >= least) {
            self.next();
            let right = self.within(|parser| parser.binary(binds + 1))?;
            let (span, below) = (left.span.to(right.span), left.height.max(right.height));
            left = made(Kind::Binary(operator, Box::new(left), Box::new(right)), span, below)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        let start = self.span();
        if self.takes("!") {
            let of = self.within(Self::unary)?;
            let (span, below) = (start.to(of.span), of.height);
            return made(Kind::Not(Box::new(of)), span, below);
        }
        if !self.takes("-") {
            return self.member();
        }
        // The least number of all has no positive one.
        if let Token::Int(number) = *self.peek() {
            let span = start.to(self.span());
            self.next();
            let value = 0_i64.checked_sub_unsigned(number).ok_or_else(|| Fault::new(span.start, "less than an int can be"))?;
            return self.members(made(Kind::Literal(Value::Int(value)), span, 0)?);
        }
        let of = self.within(Self::unary)?;
        let (span, below) = (start.to(of.span), of.height);
        made(Kind::Negate(Box::new(of)), span, below)
    }

    fn member(&mut self) -> Result<Expr, Fault> {
        let first = self.primary()?;
        self.members(first)
    }

    fn members(&mut self, mut of: Expr) -> Result<Expr, Fault> {
        loop {
            if self.takes(".") {
                let (name, at) = match self.next() {
                    (Token::Name(name), at) => (name, at),
                    (other, at) => return Err(Fault::new(at.start, format!("{} here: expected a name after the dot", named(&other)))),
                };
                let (span, below) = (of.span.to(at), of.height);
                if self.takes("(") {
                    let (arguments, end) = self.list(")")?;
                    let below = arguments.iter().map(|one| one.height).fold(below, usize::max);
                    let call = Call { on: Some(Box::new(of)), name, at: at.start, arguments };
                    of = made(Kind::Call(call), span.to(end), below)?;
                } else {
                    of = made(Kind::Select(Box::new(of), name), span, below)?;
                }
            } else if self.takes("[") {
                let key = self.expression()?;
                let end = self.want("]")?;
                let (span, below) = (of.span.to(end), of.height.max(key.height));
                of = made(Kind::Index(Box::new(of), Box::new(key)), span, below)?;
            } else {
                return Ok(of);
            }
        }
    }

    /// What stands between commas, and where it ends.
    fn list(&mut self, end: &str) -> Result<(Vec<Expr>, Span), Fault> {
        let mut found = Vec::new();
        loop {
            let span = self.span();
            if self.takes(end) {
                return Ok((found, span));
            }
            if !found.is_empty() {
                self.want(",")?;
            }
            found.push(self.expression()?);
        }
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let (token, span) = self.next();
        let value = match token {
            Token::Int(number) => Value::Int(i64::try_from(number).map_err(|_| Fault::new(span.start, "more than an int can be"))?),
            Token::Uint(number) => Value::Uint(number),
            Token::Double(number) => Value::Double(number),
            Token::Text(text) => Value::Text(text.into()),
            Token::Name(name) => return self.named(name, span),
            Token::Sign("(") => {
                let mut inner = self.expression()?;
                inner.span = span.to(self.want(")")?);
                return Ok(inner);
            }
            Token::Sign("[") => {
                let (all, end) = self.list("]")?;
                let below = all.iter().map(|one| one.height).max().unwrap_or(0);
                return made(Kind::List(all), span.to(end), below);
            }
            other @ (Token::Sign(_) | Token::End) => {
                return Err(Fault::new(span.start, format!("{} here: expected a value", named(&other))));
            }
        };
        made(Kind::Literal(value), span, 0)
    }

    fn named(&mut self, name: String, span: Span) -> Result<Expr, Fault> {
        match name.as_str() {
            "true" | "false" => return made(Kind::Literal(Value::Bool(name == "true")), span, 0),
            "null" => return Err(Fault::new(span.start, "nothing is null here: ask by has() or `in` whether something is there")),
            "in" => return Err(Fault::new(span.start, "`in` here: expected a value before it")),
            _ => {}
        }
        if !self.takes("(") {
            return made(Kind::Name(name), span, 0);
        }
        let (arguments, end) = self.list(")")?;
        let below = arguments.iter().map(|one| one.height).max().unwrap_or(0);
        made(Kind::Call(Call { on: None, name, at: span.start, arguments }), span.to(end), below)
    }
}
