//! The audit log: a line for each change that somebody asked for, each with the hash of the one before it, so that whoever has the lines can
//! check by itself that none was altered, taken out or put in.

use crate::keyfile::hex;
use pan_model::PartitionName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What stands for the hash of the line before the first one.
pub const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Most lines of one answer: half a megabyte.
pub const PAGE_MAX: usize = 1000;

/// What somebody did, or was refused.
///
/// Its hash is SHA-256 of this object as JSON, in the order of its fields, without blanks and without `hash`: what `jq -c 'del(.hash)'` prints,
/// less the end of the line. All texts are ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AuditLine")]
pub struct Line {
    /// Its number in its log, from 1 on, without gaps.
    pub number: u64,
    /// RFC 3339, UTC, microseconds, by the clock of the controller.
    pub time: String,
    /// The partition whose log it is in; absent in the PAN's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionName>,
    /// Who: the name that its token was made for, or what it is. In a partition's log everybody from outside is "the provider".
    pub principal: String,
    /// The id of the token that it showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Its role.
    pub role: String,
    /// What it did.
    pub verb: String,
    /// To what kind of object.
    pub kind: String,
    /// Which; in the PAN's log `PARTITION/NAME`. Of what was refused: as it was asked for.
    pub name: String,
    /// `done`, of an apply `created` or `changed`, of a program in a server `begun` and `ended`, or the code of the refusal (`pan error CODE`).
    pub result: String,
    /// What more there is to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How many it stands for, if more than one: refusals, of which the first is told, or what a host did again and again, of which the newest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// The hash of the line before; of the first line 64 zeros.
    pub previous: String,
    /// Its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

impl Line {
    /// The hash that it should have.
    #[must_use]
    pub fn digest(&self) -> String {
        let bare = Self { hash: String::new(), ..self.clone() };
        let text = serde_json::to_vec(&bare).expect("texts and numbers are always JSON");
        hex(&Sha256::digest(text))
    }
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditPage")]
pub struct Page {
    /// Lines that follow each other.
    pub lines: Vec<Line>,
    /// The number of the oldest line that is kept; of an empty log 1.
    pub first: u64,
    /// The number of the newest line; 0 when there is none.
    pub last: u64,
    /// The newest line's hash; 64 zeros when there is none.
    pub head: String,
    /// Where to go on (`?from=`), when there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A line that is not what the log would have there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It was altered, or its hash was.
    #[error("line {0} is not the one that was written: its hash is of something else")]
    Altered(u64),
    /// A line is missing, or one too many.
    #[error("line {found} stands where line {expected} should")]
    Number {
        /// Which should be there.
        expected: u64,
        /// Which is.
        found: u64,
    },
    /// It follows another line than the one before it.
    #[error("line {0} does not follow the line before it: that one, or all since, were written anew")]
    Torn(u64),
    /// It is of another log.
    #[error("line {0} is of another log than the lines before it")]
    Elsewhere(u64),
}

/// Checks lines one after the other.
#[derive(Debug, Clone, Default)]
pub struct Checker {
    /// The number of the first line.
    pub first: Option<u64>,
    /// How many fitted.
    pub lines: u64,
    last: Option<(u64, String, Option<PartitionName>)>,
}

impl Checker {
    /// Checks the next line. What came before the first one is taken for granted, unless it is the very first of its log.
    ///
    /// # Errors
    /// [`Misfit`]: how it does not fit.
    pub fn next(&mut self, line: &Line) -> Result<(), Misfit> {
        let number = line.number;
        if line.digest() != line.hash {
            return Err(Misfit::Altered(number));
        }
        match &self.last {
            Some((last, ..)) if number != last + 1 => return Err(Misfit::Number { expected: last + 1, found: number }),
            Some((_, _, place)) if *place != line.partition => return Err(Misfit::Elsewhere(number)),
            Some((_, head, _)) if *head != line.previous => return Err(Misfit::Torn(number)),
            None if (number == 1) != (line.previous == BEGINNING) => return Err(Misfit::Torn(number)),
            Some(_) | None => {}
        }
        self.first.get_or_insert(number);
        self.lines += 1;
        self.last = Some((number, line.hash.clone(), line.partition.clone()));
        Ok(())
    }

    /// The number and the hash of the last line that fitted.
    #[must_use]
    pub fn head(&self) -> Option<(u64, &str)> {
        self.last.as_ref().map(|(number, hash, _)| (*number, hash.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64, name: &str, previous: &str) -> Line {
        let line = Line {
            number,
            time: "2026-01-01T00:00:00.000000Z".into(),
            partition: Some("acme".parse().unwrap()),
            principal: "ann".into(),
            token: Some("000000000000000a".into()),
            role: "operator".into(),
            verb: "restart".into(),
            kind: "server".into(),
            name: name.into(),
            result: "done".into(),
            detail: String::new(),
            times: None,
            previous: previous.into(),
            hash: String::new(),
        };
        Line { hash: line.digest(), ..line }
    }

    fn chain(count: u64) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for number in 1..=count {
            let previous = lines.last().map_or(BEGINNING.to_owned(), |line| line.hash.clone());
            lines.push(line(number, &format!("web-{number}"), &previous));
        }
        lines
    }

    fn check(lines: &[Line]) -> Result<u64, Misfit> {
        let mut checker = Checker::default();
        lines.iter().try_for_each(|line| checker.next(line))?;
        Ok(checker.lines)
    }

    /// Two lines are the contract: whoever checks them with other tools must not have to learn anything new.
    #[test]
    fn hashes_are_of_the_text_as_it_is_exported() {
        let first = line(1, "web-1", BEGINNING);
        let text = format!(
            "{{\"number\":1,\"time\":\"2026-01-01T00:00:00.000000Z\",\"partition\":\"acme\",\"principal\":\"ann\",\"token\":\"000000000000000a\",\
             \"role\":\"operator\",\"verb\":\"restart\",\"kind\":\"server\",\"name\":\"web-1\",\"result\":\"done\",\"previous\":\"{BEGINNING}\"}}"
        );
        assert_eq!(first.hash, hex(&Sha256::digest(&text)));
        let exported = serde_json::to_string(&first).unwrap();
        assert_eq!(exported, format!("{},\"hash\":\"{}\"}}", &text[..text.len() - 1], first.hash));
        assert_eq!(serde_json::from_str::<Line>(&exported).unwrap(), first);
        assert!(
            serde_json::from_str::<Line>(&exported.replacen('{', "{\"note\":1,", 1)).is_err(),
            "what the hash does not cover is no line"
        );
    }

    #[test]
    fn whole_logs_and_their_ends_fit() {
        let all = chain(5);
        assert_eq!(check(&[]), Ok(0));
        assert_eq!(check(&all), Ok(5));
        assert_eq!(check(&all[2..]), Ok(3));
    }

    #[test]
    fn the_first_line_that_does_not_fit_is_named() {
        let all = chain(5);
        let changed = |change: fn(&mut Vec<Line>)| {
            let mut lines = all.clone();
            change(&mut lines);
            check(&lines).unwrap_err()
        };
        assert_eq!(changed(|lines| lines[2].name = "web-9".into()), Misfit::Altered(3));
        assert_eq!(changed(|lines| lines[2].times = Some(2)), Misfit::Altered(3));
        assert_eq!(changed(|lines| drop(lines.remove(2))), Misfit::Number { expected: 3, found: 4 });
        assert_eq!(changed(|lines| lines.swap(1, 2)), Misfit::Number { expected: 2, found: 3 });
        // Who alters a line and its hash gives itself away at the next.
        let rewritten = |lines: &mut Vec<Line>| {
            lines[2].name = "web-9".into();
            lines[2].hash = lines[2].digest();
        };
        assert_eq!(changed(rewritten), Misfit::Torn(4));
        let elsewhere = |lines: &mut Vec<Line>| {
            lines[1].partition = None;
            lines[1].hash = lines[1].digest();
        };
        assert_eq!(changed(elsewhere), Misfit::Elsewhere(2));
        let headless = |lines: &mut Vec<Line>| {
            lines[0].previous = lines[1].hash.clone();
            lines[0].hash = lines[0].digest();
        };
        assert_eq!(changed(headless), Misfit::Torn(1));
    }
}
