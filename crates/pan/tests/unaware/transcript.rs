//! What somebody saw, as leaves with a path each; and what became of a day that was spent beside others.

use super::mask::Mask;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// By step, then by place in what was printed.
#[derive(Debug, Default)]
pub struct Transcript {
    leaves: BTreeMap<String, String>,
    /// Names that the PAN draws, in the order in which they were seen.
    drawn: Vec<String>,
    /// Others that are drawn, and what they are called here.
    known: Vec<(String, &'static str)>,
}

impl Transcript {
    /// From now on, something that is another thing each day is called by a name of its own.
    pub fn call(&mut self, drawn: &str, name: &'static str) {
        self.known.push((drawn.to_owned(), name));
    }

    /// Notes what a step printed: JSON by its fields, other text by its lines.
    pub fn note(&mut self, step: &str, said: &str) {
        let said = self.rename(said);
        match serde_json::from_str::<Value>(&said) {
            Ok(value) => self.value(step, &value),
            Err(_) => said.lines().enumerate().for_each(|(at, line)| self.leaf(format!("{step}/{at}"), line)),
        }
    }

    fn value(&mut self, path: &str, value: &Value) {
        match value {
            Value::Array(all) => {
                self.leaf(format!("{path}/length"), &all.len().to_string());
                all.iter().enumerate().for_each(|(at, one)| self.value(&format!("{path}/{at}"), one));
            }
            Value::Object(all) => all.iter().for_each(|(key, one)| self.value(&format!("{path}/{key}"), one)),
            Value::String(text) => self.leaf(path.to_owned(), text),
            Value::Null | Value::Bool(_) | Value::Number(_) => self.leaf(path.to_owned(), &value.to_string()),
        }
    }

    fn leaf(&mut self, path: String, text: &str) {
        let before = self.leaves.insert(path.clone(), text.to_owned());
        assert!(before.is_none(), "{path} is noted twice");
    }

    /// Names that mean nothing, such as `domain-5f2c19aa`, are counted: which are equal and which are not stays to be seen.
    fn rename(&mut self, said: &str) -> String {
        let said = self.known.iter().fold(said.to_owned(), |said, (drawn, name)| said.replace(drawn, name));
        let mut out = String::new();
        let mut rest = said.as_str();
        while let Some(at) = rest.find("domain-") {
            let end = rest[at + 7..].find(|c: char| !c.is_ascii_hexdigit()).map_or(rest.len(), |length| at + 7 + length);
            let name = &rest[at..end];
            let number = self.drawn.iter().position(|known| known == name).unwrap_or_else(|| {
                self.drawn.push(name.to_owned());
                self.drawn.len() - 1
            });
            out += &format!("{}domain#{number}", &rest[..at]);
            rest = &rest[end..];
        }
        out + rest
    }

    /// Where two differ, with what each has.
    fn differences(&self, other: &Self) -> BTreeMap<String, [Option<String>; 2]> {
        let paths: BTreeSet<&String> = self.leaves.keys().chain(other.leaves.keys()).collect();
        let both = paths.into_iter().map(|path| (path.clone(), [self.leaves.get(path).cloned(), other.leaves.get(path).cloned()]));
        both.filter(|(_, [one, two])| one != two).collect()
    }

    /// All of it, to be read.
    pub fn text(&self) -> String {
        self.leaves.iter().map(|(path, text)| format!("{path}: {text}\n")).collect()
    }
}

/// What is wrong with a day beside others, or with the mask.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What differs between days alone although no line of the mask is about it, as text for people, by path.
    pub unexplained: BTreeMap<String, String>,
    /// What tells the day beside others from days alone.
    pub leaks: BTreeMap<String, String>,
    /// Lines that are about nothing that differs between days alone.
    pub stale: Vec<String>,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        self.unexplained.is_empty() && self.leaks.is_empty() && self.stale.is_empty()
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        let sections = [("the neighbour can be seen", &self.leaks), ("days alone differ where the mask says nothing", &self.unexplained)];
        for (title, found) in sections.iter().filter(|(_, found)| !found.is_empty()) {
            let _ = writeln!(out, "{title}:\n{}", found.values().cloned().collect::<String>());
        }
        self.stale.iter().for_each(|line| out += &format!("the mask has a line that masks nothing: {line}\n"));
        out
    }
}

/// Days alone explain the mask; whatever it does not cover must be the same in all of them, and in the one beside others.
pub fn compare(alone: &[Transcript], beside: &Transcript, mask: &Mask) -> Verdict {
    let (mut verdict, mut used) = (Verdict::default(), BTreeSet::new());
    for (at, one) in alone.iter().enumerate() {
        for other in &alone[at + 1..] {
            for (path, found) in one.differences(other) {
                match mask.covers(&path, &found) {
                    Some(line) => drop(used.insert(line)),
                    None => drop(verdict.unexplained.insert(path.clone(), shown(&path, ["one day", "another day"], &found))),
                }
            }
        }
        for (path, found) in one.differences(beside).into_iter().filter(|(path, found)| mask.covers(path, found).is_none()) {
            verdict.leaks.insert(path.clone(), shown(&path, ["alone", "beside"], &found));
        }
    }
    verdict.stale = mask.lines().enumerate().filter(|(at, _)| !used.contains(at)).map(|(_, line)| line.to_owned()).collect();
    verdict
}

fn shown(path: &str, whose: [&str; 2], found: &[Option<String>; 2]) -> String {
    let text = |at: usize| found[at].as_ref().map_or_else(|| "(nothing)".to_owned(), |text| format!("{text:?}"));
    format!("  {path}\n    {:<12} {}\n    {:<12} {}\n", whose[0], text(0), whose[1], text(1))
}

/// What is compared is told apart, and what is masked is not.
pub fn check() {
    let day = |said: &str| {
        let mut day = Transcript::default();
        day.note("list", said);
        day
    };
    let list = |at: &str, nodes: [&str; 2], more: &str| {
        day(&format!(r#"[{{"at": "{at}", "node": "{}"}}, {{"node": "{}"}}{more}]"#, nodes[0], nodes[1]))
    };
    let mask = Mask::read("# times\n\nlist/*/at = #:# -- the time of day\n");
    let alone = || [list("12:00", ["domain-0a", "domain-0b"], ""), list("13:01", ["domain-0c", "domain-0d"], "")];
    let verdict = |beside: &Transcript| compare(&alone(), beside, &mask);
    assert!(verdict(&list("7:30", ["domain-9", "domain-8"], "")).is_good(), "names that mean nothing, and the time, may be others");

    let leaks = |beside: Transcript| verdict(&beside).leaks.into_keys().collect::<Vec<_>>();
    assert_eq!(leaks(list("7:30", ["domain-9", "n1"], "")), ["list/1/node"], "a name that means something");
    assert_eq!(leaks(list("7:30", ["domain-9", "domain-9"], "")), ["list/1/node"], "two on one node");
    assert_eq!(leaks(list("noon", ["domain-9", "domain-8"], "")), ["list/0/at"], "the mask says what may be there");
    let more = leaks(list("7:30", ["domain-9", "domain-8"], r#", {"name": "rival"}"#));
    assert_eq!(more, ["list/2/name", "list/length"], "one more line");
    assert_eq!(leaks(day(r#"[{"node": "domain-9"}, {"node": "domain-8"}]"#)), ["list/0/at"], "a field that is missing is not masked");
    assert_eq!(leaks(day("PAN-300: not found")).len(), 5, "another kind of answer");
    let told = verdict(&list("7:30", ["domain-9", "n1"], "")).text();
    assert!(told.contains("list/1/node\n    alone        \"domain#1\"\n    beside       \"n1\"\n"), "{told}");

    let days = [list("12:00", ["a", "b"], ""), list("12:00", ["a", "c"], "")];
    let verdict = compare(&days, &list("13:00", ["a", "b"], ""), &mask);
    assert_eq!(verdict.unexplained.keys().collect::<Vec<_>>(), ["list/1/node"]);
    assert_eq!(verdict.stale, ["list/*/at = #:# -- the time of day"], "a line that only the neighbour makes use of explains nothing");
}
