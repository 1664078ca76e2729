//! The list of exceptions: `RULE PLACE` a line. An exception nobody needs any more is itself a finding, so
//! the list only gets shorter unless somebody adds to it in plain sight.

use std::collections::BTreeSet;

use super::rules::Finding;

/// Where the list is.
pub const FILE: &str = "xtask/tidy-allow.txt";

/// Takes the allowed findings out and adds one for every line that allowed nothing.
pub fn apply(list: &str, findings: Vec<Finding>) -> Vec<String> {
    let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let allowed: BTreeSet<&str> = lines.collect();
    let mut used = BTreeSet::new();
    let mut problems = Vec::new();
    for Finding { rule, place, message } in findings {
        match allowed.get(format!("{rule} {place}").as_str()) {
            Some(line) => drop(used.insert(*line)),
            None => problems.push(format!("{place}: {message} [{rule}]")),
        }
    }
    problems.extend(allowed.difference(&used).map(|line| format!("{FILE}: {line:?} is no longer needed: take it out")));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_hold_and_must_be_needed() {
        let finding = |place: &str| Finding { rule: "header", place: place.to_owned(), message: "none".to_owned() };
        let list = "# words\nheader a.rs\nheader c.rs\n";
        let found = apply(list, vec![finding("a.rs"), finding("b.rs")]);
        assert_eq!(found, ["b.rs: none [header]", "xtask/tidy-allow.txt: \"header c.rs\" is no longer needed: take it out"]);
    }
}
