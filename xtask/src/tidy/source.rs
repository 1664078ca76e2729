//! Rust source, read just well enough: comments and literals blanked out, functions and statements found.

/// The text with every comment, string and character literal replaced by blanks, line breaks kept.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = skip(&bytes[at..], at.checked_sub(1).map(|before| bytes[before]));
        match length {
            0 => {
                out.push(bytes[at]);
                at += 1;
            }
            _ => {
                let end = (at + length).min(bytes.len());
                out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
                at = end;
            }
        }
    }
    String::from_utf8(out).expect("only whole characters were replaced")
}

/// How many bytes of a comment or literal begin here; zero if none does.
fn skip(rest: &[u8], before: Option<u8>) -> usize {
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest, 1),
        [b'b' | b'c', b'"', ..] if !in_word => quoted(rest, 2),
        [b'r', b'"' | b'#', ..] if !in_word => raw(rest, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !in_word => raw(rest, 2),
        [b'b', b'\'', ..] if !in_word => character(&rest[1..]).map_or(0, |length| length + 1),
        [b'\'', ..] => character(rest).unwrap_or(0),
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A raw string whose `r` is the byte before `start`; zero for a raw identifier.
fn raw(rest: &[u8], start: usize) -> usize {
    let hashes = rest[start..].iter().take_while(|byte| **byte == b'#').count();
    let open = start + hashes;
    if rest.get(open) != Some(&b'"') {
        return 0;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &rest[open + 1..];
    body.windows(close.len()).position(|window| window == close).map_or(rest.len(), |end| open + 1 + end + close.len())
}

/// A character literal, and not a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(rest).ok()?;
    let mut characters = text.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        characters.next();
        return characters.find(|(_, character)| *character == '\'').map(|(at, _)| at + 1);
    }
    characters.next().filter(|(_, second)| *second == '\'').map(|(at, _)| at + 1)
}

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// Its first line, from 1.
    pub line: usize,
    pub lines: usize,
}

/// All functions of a text without comments and literals, nested ones too.
pub fn functions(blanked: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in blanked.match_indices("fn ") {
        let starts_word = !blanked[..at].ends_with(|character: char| character.is_alphanumeric() || character == '_');
        let rest = &blanked[at + 3..];
        let name: String = rest.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some(length) = body_end(rest) {
            let line = blanked[..at].matches('\n').count() + 1;
            found.push(Function { name, line, lines: rest[..length].matches('\n').count() + 1 });
        }
    }
    found
}

/// Where the body ends that begins with the first brace outside brackets; `None` for a mere signature.
fn body_end(rest: &str) -> Option<usize> {
    let (mut brackets, mut braces) = (0_i32, 0_i32);
    for (at, character) in rest.char_indices() {
        match character {
            '(' | '[' if braces == 0 => brackets += 1,
            ')' | ']' if braces == 0 => brackets -= 1,
            ';' if braces == 0 && brackets == 0 => return None,
            '{' if brackets == 0 => braces += 1,
            '}' if brackets == 0 => {
                braces -= 1;
                if braces == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The text up to its unit tests, which by habit are at the end.
pub fn without_unit_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests").map_or(text, |at| &text[..=at])
}

/// What is neither an attribute nor `mod` nor `use`, as it begins; for parent modules.
pub fn other_statements(blanked: &str) -> Vec<String> {
    let mut others = Vec::new();
    for statement in blanked.split_inclusive(';') {
        let plain = without_attributes(statement);
        let item = without_visibility(plain);
        let fine = item.is_empty() || ((item.starts_with("mod ") || item.starts_with("use ")) && item.ends_with(';'));
        if !fine {
            others.push(plain.lines().next().unwrap_or_default().to_owned());
        }
    }
    others
}

fn without_attributes(statement: &str) -> &str {
    let mut rest = statement.trim();
    while let Some(attribute) = rest.strip_prefix("#!").or_else(|| rest.strip_prefix('#')) {
        let mut depth = 0_i32;
        let end = attribute.char_indices().find(|(_, character)| {
            depth += i32::from(*character == '[') - i32::from(*character == ']');
            depth == 0
        });
        rest = end.map_or("", |(at, _)| attribute[at + 1..].trim_start());
    }
    rest
}

fn without_visibility(item: &str) -> &str {
    let Some(rest) = item.strip_prefix("pub") else { return item };
    let rest = rest.strip_prefix('(').and_then(|scope| scope.split_once(')')).map_or(rest, |(_, rest)| rest);
    rest.trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_blank(text: &str, wanted: &str) {
        assert_eq!(blank(text), wanted, "{text}");
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        check_blank("a // {\nb", "a     \nb");
        check_blank("a /* { /* } */ */ b", "a                 b");
        check_blank(r#"f("{\"", '{', b'}')"#, r"f(     ,    ,     )");
        check_blank(r##"f(r#"{"}"#, br"\")"##, "f(        ,      )");
        check_blank("fn f<'a>(x: &'a str, y: '\\u{7b}')", "fn f<'a>(x: &'a str, y:         )");
        check_blank("r#fn(\"ü\")", "r#fn(    )");
    }

    fn check_functions(text: &str, wanted: &[(&str, usize, usize)]) {
        let found: Vec<_> = functions(&blank(text)).into_iter().map(|found| (found.name, found.line, found.lines)).collect();
        let found: Vec<_> = found.iter().map(|(name, line, lines)| (name.as_str(), *line, *lines)).collect();
        assert_eq!(found, wanted, "{text}");
    }

    #[test]
    fn functions_are_measured() {
        check_functions("fn a() {}\n\npub fn b<F: Fn()>(f: F)\nwhere\n    F: X,\n{\n    f();\n}\n", &[("a", 1, 1), ("b", 3, 6)]);
        check_functions("trait T {\n    fn c(&self);\n    fn d(&self, x: [u8; 2]) {\n        '}';\n    }\n}\n", &[("d", 3, 3)]);
        check_functions("type F = fn (u8);\nlet often = 1;\n", &[]);
    }

    #[test]
    fn parent_modules_hold_nothing_else() {
        let fine =
            "//! Docs; with signs.\n#![allow(x)]\n\n#[cfg(test)]\nmod tests;\npub(crate) mod a;\npub use a::{B,\n C};\nuse d as e;\n";
        assert_eq!(other_statements(&blank(fine)), Vec::<String>::new());
        let not = "mod a;\npub struct S;\nmod b {\n    fn f() {}\n}\n";
        assert_eq!(other_statements(&blank(not)), ["pub struct S;", "mod b {"]);
    }

    #[test]
    fn unit_tests_are_cut_off() {
        assert_eq!(without_unit_tests("code\n\n#[cfg(test)]\nmod tests {\n}\n"), "code\n\n");
    }
}
