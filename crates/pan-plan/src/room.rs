//! How many more servers of a kind fit with every promise kept; what hspace of Ganeti answers for instances.

use crate::place::Rigour;
use crate::plan::{Options, Plan, decide};
use crate::score::Strategy;
use crate::snapshot::{Cluster, ClusterKey, Snapshot};
use pan_model::ServerName;

/// Places as many servers of a further cluster as fit, at most `most`, and returns the plan that does. Servers that
/// `cluster` names itself are ignored; `key` must not be taken.
#[must_use]
pub fn room(snapshot: &Snapshot, key: &ClusterKey, cluster: &Cluster, most: u32) -> Plan {
    let mut copy = snapshot.clone();
    let servers = (1..=most).map(|number| (ServerName::of(&key.1, number), None)).collect();
    copy.clusters.insert(key.clone(), Cluster { servers, ..cluster.clone() });
    decide(&copy, Options { strategy: Strategy::Cost, reserves: None }, Rigour::Admission)
}
