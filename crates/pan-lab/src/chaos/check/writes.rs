//! I9: what was acknowledged is there, and what was refused is not.

use std::collections::BTreeMap;

use super::super::observation::{Told, Values, Write};
use super::shorten;

/// Compares what was told with what there is at the end.
///
/// A key must have the value of its last acknowledged write. A write of which nothing certain was told may have been carried
/// out or not, and also late: after a later one was acknowledged, because a controller that stood still may have had it.
pub(in crate::chaos) fn writes(log: &[Write], end: &Values) -> Vec<String> {
    let mut keys: BTreeMap<&str, Vec<&Write>> = BTreeMap::new();
    for write in log {
        keys.entry(&write.key).or_default().push(write);
    }
    let mut said: Vec<String> = keys.iter().filter_map(|(key, writes)| judge(key, writes, end.get(*key))).collect();
    let foreign = end.keys().filter(|key| !keys.contains_key(key.as_str()));
    said.extend(foreign.map(|key| format!("I9: {key} is there, and nobody asked for it")));
    shorten(said)
}

fn judge(key: &str, writes: &[&Write], found: Option<&String>) -> Option<String> {
    let last = writes.iter().rev().find(|write| write.told == Told::Acknowledged);
    let settled = last.and_then(|write| write.wanted.as_ref());
    let in_doubt = writes.iter().filter(|write| write.told == Told::Unknown).any(|write| write.wanted.as_ref() == found);
    if found == settled || in_doubt {
        return None;
    }
    let value = |value: Option<&String>| value.map_or("absent".to_owned(), |value| format!("{value:?}"));
    let history: Vec<String> = writes
        .iter()
        .map(|write| format!("{} {:?} ({}) at {} ms", value(write.wanted.as_ref()), write.told, write.words, write.told_us / 1000))
        .collect();
    Some(format!("I9: {key} is {}, expected {}; its writes: {}", value(found), value(settled), history.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Told::{Acknowledged, Refused, Unknown};

    fn check(log: &[(&str, Option<&str>, Told)], end: &[(&str, &str)], wanted: usize) {
        let log: Vec<Write> = log
            .iter()
            .map(|(key, wanted, told)| Write {
                key: (*key).to_owned(),
                wanted: wanted.map(str::to_owned),
                told: *told,
                words: String::new(),
                told_us: 0,
            })
            .collect();
        let end: Values = end.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let said = writes(&log, &end);
        assert_eq!(said.len(), wanted, "{said:#?}");
    }

    #[test]
    fn what_was_acknowledged_is_there() {
        check(&[("a", Some("1"), Acknowledged)], &[("a", "1")], 0);
        check(&[("a", Some("1"), Acknowledged), ("a", Some("2"), Acknowledged)], &[("a", "2")], 0);
        check(&[("a", Some("1"), Acknowledged), ("a", None, Acknowledged)], &[], 0);
        check(&[("a", Some("1"), Acknowledged)], &[], 1);
        check(&[("a", Some("1"), Acknowledged), ("a", Some("2"), Acknowledged)], &[("a", "1")], 1);
        check(&[("a", Some("1"), Acknowledged), ("a", None, Acknowledged)], &[("a", "1")], 1);
        check(&[("a", Some("1"), Acknowledged), ("b", Some("1"), Acknowledged)], &[("b", "1")], 1);
    }

    #[test]
    fn what_was_refused_is_not() {
        check(&[("a", Some("1"), Refused)], &[], 0);
        check(&[("a", Some("1"), Refused)], &[("a", "1")], 1);
        check(&[("a", Some("1"), Acknowledged), ("a", Some("2"), Refused)], &[("a", "2")], 1);
    }

    #[test]
    fn what_is_in_doubt_may_be_either() {
        check(&[("a", Some("1"), Unknown)], &[], 0);
        check(&[("a", Some("1"), Unknown)], &[("a", "1")], 0);
        check(&[("a", Some("1"), Unknown)], &[("a", "2")], 1);
        check(&[("a", Some("1"), Acknowledged), ("a", Some("2"), Unknown)], &[("a", "1")], 0);
        check(&[("a", Some("1"), Unknown), ("a", Some("2"), Acknowledged)], &[("a", "1")], 0);
        check(&[("a", Some("1"), Acknowledged), ("a", Some("2"), Unknown)], &[], 1);
    }

    #[test]
    fn what_nobody_asked_for_is_not_there() {
        check(&[], &[("z", "1")], 1);
    }
}
