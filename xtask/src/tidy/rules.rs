//! The rules. Each says what is wrong where, under a name that the list of exceptions can use.

use super::files::TextFile;
use super::source::{blank, functions, other_statements, without_unit_tests};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] = ["common", "helper", "helpers", "manager", "misc", "types", "util", "utils", "shared"];

/// Notes to oneself. Spelled so that this file does not find itself.
const LEFTOVERS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Something a rule does not like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub rule: &'static str,
    /// A path, and for functions their name after a colon: the same however lines move.
    pub place: String,
    pub message: String,
}

/// Everything wrong with one file.
pub fn judge(file: &TextFile) -> Vec<Finding> {
    let mut findings = name(file);
    findings.extend(leftovers(file));
    if file.is_rust() {
        findings.extend(header(file));
        let code = without_unit_tests(&file.text);
        let blanked = blank(code);
        if !file.is_test() {
            findings.extend(file_length(file, code));
            findings.extend(function_length(file, &blanked));
            findings.extend(parent_module(file, &blanked));
        }
    }
    findings
}

fn finding(rule: &'static str, file: &TextFile, message: impl Into<String>) -> Finding {
    Finding { rule, place: file.path.clone(), message: message.into() }
}

fn name(file: &TextFile) -> Vec<Finding> {
    let parts = file.path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    let says_nothing = |part: &&str| part.split(['-', '_']).any(|word| EMPTY_NAMES.contains(&word));
    if !file.is_rust() {
        return Vec::new();
    }
    parts.filter(says_nothing).map(|part| finding("name", file, format!("{part:?} says nothing: name the concept"))).collect()
}

fn leftovers(file: &TextFile) -> Vec<Finding> {
    let lines = file.text.lines().enumerate();
    let found = lines.filter(|(_, line)| LEFTOVERS.iter().any(|word| line.contains(word)));
    found.map(|(number, _)| finding("leftover", file, format!("line {}: do it or file it", number + 1))).collect()
}

fn header(file: &TextFile) -> Option<Finding> {
    let has = file.text.lines().next().is_some_and(|line| line.starts_with("//! "));
    (!has).then(|| finding("header", file, "the first line must be a //! header that says what the file is"))
}

fn file_length(file: &TextFile, code: &str) -> Option<Finding> {
    let lines = code.lines().count();
    (lines > FILE_LINES_MAX).then(|| finding("file-length", file, format!("{lines} lines without its tests; at most {FILE_LINES_MAX}")))
}

fn function_length(file: &TextFile, blanked: &str) -> Vec<Finding> {
    let long = functions(blanked).into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX);
    long.map(|function| {
        let message = format!("line {}: {} lines; at most {FUNCTION_LINES_MAX}", function.line, function.lines);
        Finding { rule: "function-length", place: format!("{}:{}", file.path, function.name), message }
    })
    .collect()
}

fn parent_module(file: &TextFile, blanked: &str) -> Option<Finding> {
    if !["lib.rs", "mod.rs"].contains(&file.name()) {
        return None;
    }
    let others = other_statements(blanked);
    let first = others.first()?;
    Some(finding("parent-module", file, format!("holds more than docs, mod and use: {first}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, wanted: &[&str]) {
        let file = TextFile { path: path.to_owned(), text: text.to_owned() };
        let found: Vec<String> = judge(&file).into_iter().map(|found| format!("{} {}", found.rule, found.place)).collect();
        assert_eq!(found, wanted, "{path}");
    }

    #[test]
    fn each_rule_finds_what_it_is_for() {
        let long = format!("//! Docs.\nfn f() {{\n{}}}\n", "    f();\n".repeat(FUNCTION_LINES_MAX));
        let many = format!("//! Docs.\n{}", "fn f() {}\n".repeat(FILE_LINES_MAX));
        check("crates/a/src/b.rs", "//! Docs.\nfn f() {}\n", &[]);
        check("crates/a/src/b.rs", "fn f() {}\n", &["header crates/a/src/b.rs"]);
        check("crates/a/src/b.rs", &long, &["function-length crates/a/src/b.rs:f"]);
        check("crates/a/src/b.rs", &many, &["file-length crates/a/src/b.rs"]);
        check("crates/a/tests/b.rs", &long, &[]);
        check("crates/a/src/b.rs", &format!("//! Docs.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(999)), &[]);
        check("crates/a/src/lib.rs", "//! Docs.\nmod b;\nfn f() {}\n", &["parent-module crates/a/src/lib.rs"]);
        check("crates/a-common/src/b.rs", "//! Docs.\n", &["name crates/a-common/src/b.rs"]);
        check("crates/a/src/utils.rs", "//! Docs.\n", &["name crates/a/src/utils.rs"]);
        check("docs/a.md", &format!("{}: more\n", LEFTOVERS[0]), &["leftover docs/a.md"]);
    }
}
