//! Who may begin to speak to a cluster's servers.

use crate::ClusterName;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most rules of a cluster: nobody reads more.
pub const RULES_MAX: usize = 64;
/// Most ports of a rule, each of which is an entry in the kernel at every server.
pub const PORTS_MAX: usize = 64;

/// Some who may begin to speak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowSpec {
    /// A cluster of the partition, or `services`: whoever comes by a service of the partition.
    pub from: Caller,
    /// Ports of TCP and UDP. Without them, anything may be begun, `ping` too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub ports: Vec<u16>,
}

/// The word for all that comes by services.
const SERVICES: &str = "services";

/// Who begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// Whoever comes by a service of the partition.
    Services,
    /// The servers of a cluster.
    Cluster(ClusterName),
}

impl Caller {
    /// The cluster, if it is one.
    #[must_use]
    pub const fn cluster(&self) -> Option<&ClusterName> {
        match self {
            Self::Services => None,
            Self::Cluster(name) => Some(name),
        }
    }

    /// Whether a cluster of that name could not be told from services.
    #[must_use]
    pub fn hides(name: &ClusterName) -> bool {
        name.as_str() == SERVICES
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Services => f.write_str(SERVICES),
            Self::Cluster(name) => write!(f, "{name}"),
        }
    }
}

impl Serialize for Caller {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Caller {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = ClusterName::deserialize(from)?;
        Ok(if Self::hides(&name) { Self::Services } else { Self::Cluster(name) })
    }
}

impl JsonSchema for Caller {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        ClusterName::schema_name()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        ClusterName::json_schema(generator)
    }
}

/// What a caller may begin, several rules about it taken together; `None` is anything.
pub type Allowed<'a> = BTreeMap<&'a Caller, Option<BTreeSet<u16>>>;

/// What rules come to.
#[must_use]
pub fn allowed(rules: &[AllowSpec]) -> Allowed<'_> {
    let mut all = Allowed::new();
    for rule in rules {
        let ports = all.entry(&rule.from).or_insert_with(|| Some(BTreeSet::new()));
        match ports {
            Some(ports) if !rule.ports.is_empty() => ports.extend(&rule.ports),
            anything => *anything = None,
        }
    }
    all
}

/// What rules come to, for people.
#[must_use]
pub fn said(rules: &[AllowSpec]) -> String {
    let one = |(from, ports): (&Caller, Option<BTreeSet<u16>>)| match ports {
        None => from.to_string(),
        Some(ports) => {
            let numbers: Vec<String> = ports.iter().map(ToString::to_string).collect();
            format!("{from} on {}", numbers.join("+"))
        }
    };
    let all: Vec<String> = allowed(rules).into_iter().map(one).collect();
    if all.is_empty() { "nobody".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(from: &str, ports: &[u16]) -> AllowSpec {
        AllowSpec { from: serde_json::from_value(from.into()).unwrap(), ports: ports.to_vec() }
    }

    #[test]
    fn rules_about_the_same_caller_add_up() {
        let check = |rules: &[AllowSpec], expected: &str| assert_eq!(said(rules), expected);
        check(&[], "nobody");
        check(&[rule("web", &[5432, 80]), rule("services", &[]), rule("web", &[80, 443])], "services, web on 80+443+5432");
        check(&[rule("web", &[80]), rule("web", &[])], "web");
        check(&[rule("web", &[]), rule("web", &[80])], "web");
    }

    #[test]
    fn callers_are_read_as_they_are_written() {
        assert_eq!(rule("services", &[]).from, Caller::Services);
        assert_eq!(rule("web", &[]).from.cluster().unwrap().as_str(), "web");
        assert_eq!(serde_json::to_string(&rule("services", &[80])).unwrap(), r#"{"from":"services","ports":[80]}"#);
        assert!(serde_json::from_str::<Caller>("\"No Name\"").is_err());
    }
}
