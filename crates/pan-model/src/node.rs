//! Node: a host in the node role; runs servers, keeps nothing that matters.

use crate::{ByteSize, Cpu, HostName, Resources};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What a node is good for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// The controller that answers was just started and has not heard of it yet.
    Unknown,
    /// New, not heard of yet.
    Joining,
    /// Heard on at least one fabric.
    Alive,
    /// Silent for a few periods.
    Suspect,
    /// Silent for so long that its servers are started elsewhere.
    Dead,
    /// Its servers are being moved away by an operator.
    Draining,
    /// Keeps its servers, takes no new ones.
    Cordoned,
    /// Died too often; used only as a spare.
    Quarantined,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Joining => "joining",
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Draining => "draining",
            Self::Cordoned => "cordoned",
            Self::Quarantined => "quarantined",
        })
    }
}

/// Longest name or value of a label, in bytes.
const LABEL_MAX: usize = 63;

/// Whether a label can have this name and value.
///
/// # Errors
/// A sentence saying what is wrong and what was expected.
pub fn label(name: &str, value: &str) -> Result<(), String> {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    if name.is_empty() {
        return Err("the label has no name".into());
    }
    for (what, text) in [("name", name), ("value", value)] {
        if text.len() > LABEL_MAX {
            return Err(format!("the {what} of a label has at most {LABEL_MAX} characters; this one has {}", text.len()));
        }
        if !plain(text) {
            return Err(format!("{text:?} is not the {what} of a label: expected letters, digits, '-', '_', '.' and '/'"));
        }
    }
    Ok(())
}

/// A node on paper, as a what-if names it: `name=n9,cpu=4,memory=4GiB,rack=r1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaperNode {
    /// Its name.
    pub name: HostName,
    /// What it offers.
    pub capacity: Resources,
    /// Whatever is given that is neither name, cpu nor memory.
    pub labels: BTreeMap<String, String>,
}

const EXPECTED: &str = "expected name=NAME,cpu=CORES,memory=SIZE[,LABEL=VALUE…], like name=n9,cpu=4,memory=4GiB,rack=r1";

impl FromStr for PaperNode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut labels = BTreeMap::new();
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} has no value: {EXPECTED}"))?;
            if key.is_empty() || value.is_empty() {
                return Err(format!("{part:?} is incomplete: {EXPECTED}"));
            }
            if !["cpu", "memory"].contains(&key) {
                label(key, value).map_err(|error| format!("{error}: {EXPECTED}"))?;
            }
            if labels.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(format!("{key} is given twice: {EXPECTED}"));
            }
        }
        let name = take(&mut labels, "name")?;
        let (cpu, memory): (Cpu, ByteSize) = (take(&mut labels, "cpu")?, take(&mut labels, "memory")?);
        Ok(Self { name, capacity: Resources::new(cpu, memory), labels })
    }
}

fn take<T: FromStr<Err: fmt::Display>>(labels: &mut BTreeMap<String, String>, key: &str) -> Result<T, String> {
    let text = labels.remove(key).ok_or_else(|| format!("{key} is missing: {EXPECTED}"))?;
    text.parse().map_err(|error| format!("{key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_node_on_paper() {
        let node: PaperNode = "name=n9,cpu=4,memory=4GiB,rack=r1".parse().unwrap();
        assert_eq!((node.name.as_str(), node.capacity), ("n9", Resources::new(Cpu(4000), ByteSize(4 << 30))));
        assert_eq!(node.labels, BTreeMap::from([("rack".to_owned(), "r1".to_owned())]));
    }

    #[test]
    fn labels_are_words() {
        for (name, value) in [("rack", "r1"), ("example.org/zone", "eu-west_1.a"), ("spare", "")] {
            assert_eq!(label(name, value), Ok(()));
        }
        for (name, value, says) in
            [("", "x", "no name"), ("a b", "x", "name of a label"), ("a", "x\ny", "value of a label"), ("a", &"x".repeat(64), "at most 63")]
        {
            assert!(label(name, value).unwrap_err().contains(says), "{name} {value}");
        }
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
            let error = bad.parse::<PaperNode>().unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
