//! Admission: a change is refused when it would make a promise impossible to keep.
//!
//! Only what the change itself breaks counts. A promise that a dead node broke before is an alarm, not a
//! reason to refuse something else, and giving capacity back is never refused.

use crate::guarantee;
use crate::place::Rigour;
use crate::plan::{Options, Plan, decide, plan};
use crate::reason::{NotPlaced, show_server};
use crate::score::Strategy;
use crate::snapshot::{Cluster, ClusterKey, Partition, Protect, ServerId, Snapshot, Spread};
use pan_model::{ClusterName, PartitionName, Resources};
use std::collections::BTreeMap;
use std::fmt;

/// What a partition's users read when capacity above their guarantee is not there.
pub const NOT_AVAILABLE_NOW: &str = "not available now";

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The cluster that cannot have what it asks for. For a guarantee or a maximum of a partition: its
    /// first cluster, or one named like the partition if it has none.
    pub cluster: ClusterKey,
    /// The server that would have no place; None if the refusal is about the partition.
    pub server: Option<ServerId>,
    /// The reason.
    pub reason: NotPlaced,
    /// The refusal for PAN roles; names nodes and, in a shared PAN, servers of other partitions.
    pub text: String,
    /// The refusal for users of the partition; names nothing outside it.
    pub partition_text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

/// Decides on a change: `before` as it is, `after` as it would be with the new servers bound to no node.
///
/// Before the first node is there, everything within the partitions' maxima is admitted and waits.
///
/// # Errors
/// [`Refusal`], when something has no place now or a promise could not be kept.
pub fn admit(before: &Snapshot, after: &Snapshot) -> Result<Plan, Box<Refusal>> {
    if gives_back(before, after) {
        return Ok(plan(after));
    }
    within_maxima(before, after)?;
    if after.nodes.is_empty() {
        return Ok(plan(after));
    }
    within_guarantees(before, after)?;
    let known = problems(before);
    let fresh = |(server, _): &(&ServerId, &NotPlaced)| !known.contains_key(*server) || asks_more(before, after, server);
    let all = problems(after);
    let first = all.iter().filter(fresh).min_by_key(|(server, reason)| (matches!(reason, NotPlaced::ProtectionWouldBreak { .. }), *server));
    match first {
        None => Ok(plan(after)),
        Some((server, reason)) => Err(Box::new(refusal(after, server, reason.clone()))),
    }
}

/// What has no place, and whose promise does not hold, if nothing were admitted that breaks a promise.
fn problems(snapshot: &Snapshot) -> BTreeMap<ServerId, NotPlaced> {
    let plan = decide(snapshot, Options { strategy: Strategy::Cost, reserves: None }, Rigour::Admission);
    let mut problems: BTreeMap<ServerId, NotPlaced> = BTreeMap::new();
    for deficit in plan.report.deficits {
        let object = deficit.server.clone();
        problems.insert(deficit.server, NotPlaced::ProtectionWouldBreak { lost: deficit.lost, object, short: deficit.short });
    }
    problems.extend(plan.not_placed);
    problems
}

fn refusal(after: &Snapshot, server: &ServerId, reason: NotPlaced) -> Refusal {
    let cluster = after.cluster_of(server).map_or_else(|| partition_key(after, &server.0), |(key, _)| key.clone());
    let text = match &reason {
        NotPlaced::ProtectionWouldBreak { .. } => format!("{} cannot be had: {reason}", show_server(server)),
        _ => format!("{} has no place: {reason}", show_server(server)),
    };
    let partition_text = for_partition(after, &cluster, &reason);
    Refusal { cluster, server: Some(server.clone()), reason, text, partition_text }
}

/// The reason in words that name nothing outside the partition.
fn for_partition(after: &Snapshot, cluster: &ClusterKey, reason: &NotPlaced) -> String {
    match reason {
        NotPlaced::ProtectionWouldBreak { object, .. } if object.0 == cluster.0 => {
            let broken = after.cluster_of(object).map_or(&cluster.1, |(key, _)| &key.1);
            format!("protection for cluster {broken} cannot be kept")
        }
        NotPlaced::SpreadExhausted { domain, .. } => format!("cluster {} cannot be spread over more {domain}s", cluster.1),
        NotPlaced::LabelsUnmet { .. } => format!("nothing has the labels that cluster {} requires", cluster.1),
        NotPlaced::PartitionMax { .. } => reason.to_string(),
        NotPlaced::GroupUnplaceable { because, .. } => for_partition(after, cluster, because),
        NotPlaced::ProtectionWouldBreak { .. }
        | NotPlaced::NoNodeHas { .. }
        | NotPlaced::NoNodes
        | NotPlaced::NodeClosed { .. }
        | NotPlaced::NotAvailableNow { .. } => NOT_AVAILABLE_NOW.to_owned(),
    }
}

/// Whether a change asks for nothing: every cluster asks for the same or less, and nothing else changes.
fn gives_back(before: &Snapshot, after: &Snapshot) -> bool {
    let subset = |key: &ClusterKey, cluster: &Cluster| {
        let former = before.clusters.get(key);
        former.is_some_and(|former| !more(former, cluster) && cluster.servers.keys().all(|name| former.servers.contains_key(name)))
    };
    let looser = |(name, partition): (&PartitionName, &Partition)| {
        let former = before.partitions.get(name).cloned().unwrap_or_default();
        let guarantee = partition.guaranteed.as_ref().is_none_or(|new| former.guaranteed.as_ref().is_some_and(|old| new.fits(old)));
        let max = partition.max == former.max || partition.max.is_none();
        guarantee && max
    };
    before.nodes == after.nodes && after.clusters.iter().all(|(key, cluster)| subset(key, cluster)) && after.partitions.iter().all(looser)
}

fn asks_more(before: &Snapshot, after: &Snapshot, server: &ServerId) -> bool {
    let Some((key, cluster)) = after.cluster_of(server) else { return false };
    before.clusters.get(key).is_none_or(|former| more(former, cluster))
}

/// Whether a server of a cluster is harder to place or to protect than before.
fn more(before: &Cluster, after: &Cluster) -> bool {
    let level = |protect: Option<Protect>| protect.filter(|protect| protect.failures > 0);
    let protect = match (level(before.protect), level(after.protect)) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(old), Some(new)) => new.failures > old.failures || new.domain > old.domain,
    };
    let spread = matches!(after.spread, Spread::Require(_)) && after.spread != before.spread;
    let labels = after.require_labels.iter().any(|(key, value)| before.require_labels.get(key) != Some(value));
    let with = after.with.iter().any(|name| !before.with.contains(name));
    !after.need.fits(&before.need) || protect || spread || labels || with
}

fn partition_key(snapshot: &Snapshot, partition: &PartitionName) -> ClusterKey {
    let first = snapshot.clusters.keys().find(|key| key.0 == *partition);
    first.cloned().unwrap_or_else(|| {
        (partition.clone(), ClusterName::new(partition.as_str()).expect("a partition's name is short enough for a cluster"))
    })
}

/// The first cluster of a partition that the change makes larger, else its first.
fn grown(before: &Snapshot, after: &Snapshot, partition: &PartitionName) -> ClusterKey {
    let total = |cluster: &Cluster| cluster.servers.keys().fold(Resources::default(), |sum, _| sum.plus(&cluster.need));
    let own = after.clusters.iter().filter(|(key, _)| key.0 == *partition);
    let mut larger = own.filter(|(key, cluster)| before.clusters.get(key).is_none_or(|former| !total(cluster).fits(&total(former))));
    larger.next().map_or_else(|| partition_key(after, partition), |(key, _)| key.clone())
}

fn within_maxima(before: &Snapshot, after: &Snapshot) -> Result<(), Box<Refusal>> {
    let former = guarantee::wanted(before);
    for (name, wanted) in guarantee::wanted(after) {
        let Some(max) = after.partitions.get(name).and_then(|partition| partition.max.as_ref()) else { continue };
        let same_max = before.partitions.get(name).and_then(|partition| partition.max.as_ref()) == Some(max);
        let grew = |resource: &str, wanted: u64| !same_max || wanted > former.get(name).map_or(0, |former| former.amount(resource));
        let over = wanted.entries().find(|(resource, wanted)| *wanted > max.amount(resource) && grew(resource, *wanted));
        if let Some((resource, wanted)) = over {
            let reason =
                NotPlaced::PartitionMax { partition: name.clone(), resource: resource.to_owned(), wanted, max: max.amount(resource) };
            let (text, cluster) = (reason.to_string(), grown(before, after, name));
            return Err(Box::new(Refusal { cluster, server: None, reason, partition_text: text.clone(), text }));
        }
    }
    Ok(())
}

fn within_guarantees(before: &Snapshot, after: &Snapshot) -> Result<(), Box<Refusal>> {
    let Err(gap) = guarantee::prove(after) else { return Ok(()) };
    if guarantee::prove(before).is_err_and(|former| former.resource == gap.resource && former.by >= gap.by) {
        return Ok(());
    }
    let former = guarantee::wanted(before);
    let above = |(name, wanted): &(&PartitionName, Resources)| {
        let guaranteed = after.partitions.get(*name).and_then(|partition| partition.guaranteed.as_ref());
        let grew = !wanted.fits(&former.get(name).cloned().unwrap_or_default());
        grew && guaranteed.is_none_or(|guaranteed| !wanted.fits(guaranteed))
    };
    let raised = |name: &&PartitionName| {
        let old = before.partitions.get(*name).and_then(|partition| partition.guaranteed.clone()).unwrap_or_default();
        after.partitions.get(*name).and_then(|partition| partition.guaranteed.as_ref()).is_some_and(|new| !new.fits(&old))
    };
    let taker = guarantee::wanted(after).into_iter().find(above).map(|(name, _)| name);
    let Some(partition) = taker.or_else(|| after.partitions.keys().find(raised)) else { return Ok(()) };
    let reason = NotPlaced::NotAvailableNow { resource: gap.resource, by: gap.by };
    let (cluster, text) = (grown(before, after, partition), format!("partition {partition}: {reason}"));
    Err(Box::new(Refusal { cluster, server: None, reason, text, partition_text: NOT_AVAILABLE_NOW.to_owned() }))
}
