//! Where in a text something is, and what is wrong there.

use std::fmt::Write as _;

/// Bytes of the text, from the first to the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    pub const fn to(self, last: Self) -> Self {
        Self { start: self.start, end: last.end }
    }
}

/// What is wrong, before lines are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub at: usize,
    pub reason: String,
}

impl Fault {
    pub fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into() }
    }

    pub fn place(self, text: &str) -> Refusal {
        let before = &text.as_bytes()[..self.at.min(text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        // Bytes that begin a character.
        let column = 1 + before[start..].iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        Refusal { line, column, reason: self.reason }
    }
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column} of the rule: {reason}")]
pub struct Refusal {
    /// The line in the text, from 1 on.
    pub line: usize,
    /// The character in the line, from 1 on.
    pub column: usize,
    /// What is wrong, and what was expected.
    pub reason: String,
}

/// `, did you mean X?` of the known name that is nearest, or all names if they are few; nothing if none is near.
pub(crate) fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut all: Vec<(usize, &str)> = known.into_iter().map(|one| (distance(name, one), one)).collect();
    all.sort_unstable();
    all.dedup();
    match all.first() {
        Some((far, one)) if *far <= 1 + one.chars().count() / 4 => format!(", did you mean {one}?"),
        Some(_) => {
            let mut text = "; expected one of ".to_owned();
            all.sort_unstable_by_key(|(_, one)| *one);
            for (at, (_, one)) in all.iter().take(MANY).enumerate() {
                let _ = write!(text, "{}{one}", if at == 0 { "" } else { ", " });
            }
            if all.len() > MANY {
                text.push_str(", …");
            }
            text
        }
        None => String::new(),
    }
}

/// Names that a message lists: more would hide what it says.
const MANY: usize = 12;

/// The number of characters that are to be added, removed or replaced (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, left) in one.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], at + 1);
        for (column, right) in other.iter().enumerate() {
            let cost = corner + usize::from(left != *right);
            corner = row[column + 1];
            row[column + 1] = cost.min(corner + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
