//! Words of a text.

use crate::place::{Fault, Span};

/// A word.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Name(String),
    /// Without its sign.
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 22] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]"];

/// All words, with their places; the last is [`Token::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, Span)>, Fault> {
    let (mut found, mut at) = (Vec::new(), 0);
    loop {
        at = skip(text, at);
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            found.push((Token::End, Span::new(at, at)));
            return Ok(found);
        };
        let digit = first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit()));
        let (token, length) = if let Some((quoted, raw)) = quoted(rest) {
            string(rest, quoted, raw).map_err(|fault| Fault::new(at + fault.at, fault.reason))?
        } else if digit {
            number(rest).map_err(|reason| Fault::new(at, reason))?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = rest.find(|next: char| !(next.is_ascii_alphanumeric() || next == '_')).unwrap_or(rest.len());
            (Token::Name(rest[..length].to_owned()), length)
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), sign.len())
        } else {
            return Err(Fault::new(at, unexpected(first)));
        };
        found.push((token, Span::new(at, at + length)));
        at += length;
    }
}

fn unexpected(first: char) -> String {
    match first {
        '=' => "`=` sets nothing here: expected ==".to_owned(),
        '&' | '|' => format!("`{first}` alone is no operator: expected {first}{first}"),
        '{' | '}' => "maps and messages cannot be written here".to_owned(),
        other => format!("unexpected character {other:?}"),
    }
}

/// Past spaces and comments.
fn skip(text: &str, mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        let bare = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
        at += rest.len() - bare.len();
        if !bare.starts_with("//") {
            return at;
        }
        at += bare.find('\n').unwrap_or(bare.len());
    }
}

/// Where the text within quotes begins, and whether escapes mean nothing.
fn quoted(rest: &str) -> Option<(usize, bool)> {
    let raw = rest.starts_with(['r', 'R']);
    rest[usize::from(raw)..].starts_with(['"', '\'']).then_some((usize::from(raw), raw))
}

fn string(rest: &str, start: usize, raw: bool) -> Result<(Token, usize), Fault> {
    let quote = &rest[start..=start];
    let triple = quote.repeat(3);
    let quote = if rest[start..].starts_with(&triple) { triple.as_str() } else { quote };
    let (mut text, mut at) = (String::new(), start + quote.len());
    loop {
        if rest[at..].starts_with(quote) {
            return Ok((Token::Text(text), at + quote.len()));
        }
        match rest[at..].chars().next() {
            None => return Err(Fault::new(0, format!("the text that begins here has no end: expected {quote}"))),
            Some('\n') if quote.len() == 1 => {
                return Err(Fault::new(0, format!("the text that begins here has no end in its line: expected {quote}")));
            }
            Some('\\') if !raw => {
                let (character, length) = escape(&rest[at + 1..]).map_err(|reason| Fault::new(at, reason))?;
                text.push(character);
                at += 1 + length;
            }
            Some(other) => {
                text.push(other);
                at += other.len_utf8();
            }
        }
    }
}

/// The character after a backslash, and the length of how it is written.
fn escape(rest: &str) -> Result<(char, usize), String> {
    let first = rest.chars().next().ok_or("a backslash at the end")?;
    let plain = |character| Ok((character, 1));
    let digits = |from: usize, count: usize, radix: u32| {
        let text = rest.get(from..from + count).filter(|text| text.chars().all(|digit| digit.is_digit(radix)));
        let number = text.and_then(|text| u32::from_str_radix(text, radix).ok());
        let character = number.and_then(char::from_u32);
        character.map(|character| (character, from + count)).ok_or_else(|| format!("\\{first} here is no character"))
    };
    match first {
        'n' => plain('\n'),
        't' => plain('\t'),
        'r' => plain('\r'),
        'a' => plain('\u{7}'),
        'b' => plain('\u{8}'),
        'f' => plain('\u{c}'),
        'v' => plain('\u{b}'),
        '\\' | '\'' | '"' | '`' | '?' => plain(first),
        'x' | 'X' => digits(1, 2, 16),
        'u' => digits(1, 4, 16),
        'U' => digits(1, 8, 16),
        '0'..='3' => digits(0, 3, 8),
        other => Err(format!("\\{other} is no escape: expected \\\\ for a backslash, or r before the quotes")),
    }
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let word = |from: usize, good: fn(char) -> bool| from + rest[from..].find(|next| !good(next)).unwrap_or(rest.len() - from);
    let digit = |next: char| next.is_ascii_digit();
    let (end, token) = if rest.starts_with("0x") || rest.starts_with("0X") {
        let end = word(2, |next| next.is_ascii_hexdigit());
        (end, u64::from_str_radix(&rest[2..end], 16).map(Token::Int).map_err(|_| "not a hexadecimal number of 64 bits".to_owned())?)
    } else {
        let whole = word(0, digit);
        let mut end = whole;
        if rest[end..].starts_with('.') && rest[end + 1..].starts_with(digit) {
            end = word(end + 1, digit);
        }
        if rest[end..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
            let exponent = word(end + 1 + sign, digit);
            if exponent == end + 1 + sign {
                return Err("a number with an exponent wants digits after e".to_owned());
            }
            end = exponent;
        }
        let text = &rest[..end];
        let token = if end == whole {
            text.parse().map(Token::Int).map_err(|_| format!("{text} is more than a number of 64 bits can be"))?
        } else {
            let number: f64 = text.parse().map_err(|_| format!("{text} is not a number"))?;
            Some(number).filter(|number| number.is_finite()).map(Token::Double).ok_or_else(|| format!("{text} is too large"))?
        };
        (end, token)
    };
    let (token, end) = match (token, rest[end..].starts_with(['u', 'U'])) {
        (Token::Int(number), true) => (Token::Uint(number), end + 1),
        (token, _) => (token, end),
    };
    if rest[end..].starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_') {
        return Err("a number ends where a name begins: expected a space or an operator between them".to_owned());
    }
    Ok((token, end))
}
