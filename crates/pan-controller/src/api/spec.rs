//! A node on paper, as a what-if names it: `name=n9,cpu=4,memory=4GiB,rack=r1`.

use pan_model::{ByteSize, Cpu, HostName, Resources};
use pan_plan::{Node, NodeState};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

const EXPECTED: &str = "expected name=NAME,cpu=CORES,memory=SIZE[,LABEL=VALUE…], like name=n9,cpu=4,memory=4GiB,rack=r1";

/// Reads the text; whatever is neither name, cpu nor memory is a label.
///
/// # Errors
/// A sentence saying what is wrong and what was expected.
pub fn parse(text: &str) -> Result<(HostName, Node), String> {
    let mut labels = BTreeMap::new();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} has no value: {EXPECTED}"))?;
        if key.is_empty() || value.is_empty() {
            return Err(format!("{part:?} is incomplete: {EXPECTED}"));
        }
        if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("{key} is given twice: {EXPECTED}"));
        }
    }
    let name: HostName = take(&mut labels, "name")?;
    let (cpu, memory): (Cpu, ByteSize) = (take(&mut labels, "cpu")?, take(&mut labels, "memory")?);
    Ok((name, Node { capacity: Resources::new(cpu, memory), labels, state: NodeState::Up }))
}

fn take<T: FromStr<Err: Display>>(labels: &mut BTreeMap<String, String>, key: &str) -> Result<T, String> {
    let text = labels.remove(key).ok_or_else(|| format!("{key} is missing: {EXPECTED}"))?;
    text.parse().map_err(|error| format!("{key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_node() {
        let (name, node) = parse("name=n9,cpu=4,memory=4GiB,rack=r1").unwrap();
        assert_eq!((name.as_str(), node.capacity), ("n9", Resources::new(Cpu(4000), ByteSize(4 << 30))));
        assert_eq!(node.labels, BTreeMap::from([("rack".to_owned(), "r1".to_owned())]));
    }

    #[test]
    fn refuses_what_is_not_one() {
        for (bad, says) in [
            ("", "has no value"),
            ("n9", "has no value"),
            ("name=n9,cpu=4", "memory is missing"),
            ("name=n9,cpu=4,memory=lots", "memory: "),
            ("name=N9,cpu=4,memory=4GiB", "name: "),
            ("name=n9,cpu=4,cpu=5,memory=4GiB", "twice"),
            ("name=n9,cpu=4,memory=4GiB,", "has no value"),
            ("name=n9,cpu=4,memory=4GiB,rack=", "incomplete"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
