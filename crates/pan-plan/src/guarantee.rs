//! Guarantees of partitions: what each can always have, proved with the largest node lost.
//!
//! Amounts are proved as if they could be divided freely; whether one large server finds a node is
//! decided when it is admitted. Each partition counts with its guarantee or with what its servers
//! need, whichever is more, so that nothing is given away above a guarantee that another relies on.

use crate::snapshot::{NodeState, Snapshot};
use pan_model::{PartitionName, Resources};
use std::collections::BTreeMap;

/// What guarantees lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The resource's name.
    pub resource: String,
    /// How much is missing, in the resource's own unit.
    pub by: u64,
}

/// What the wanted servers of each partition need in all.
#[must_use]
pub fn wanted(snapshot: &Snapshot) -> BTreeMap<&PartitionName, Resources> {
    let mut wanted: BTreeMap<&PartitionName, Resources> = snapshot.partitions.keys().map(|name| (name, Resources::default())).collect();
    for ((partition, _), cluster) in &snapshot.clusters {
        let sum = wanted.entry(partition).or_default();
        *sum = cluster.servers.keys().fold(std::mem::take(sum), |sum, _| sum.plus(&cluster.need));
    }
    wanted
}

/// Proves that the guarantees hold whichever node is lost; without any guarantee there is nothing to prove.
///
/// # Errors
/// [`Gap`] names the first resource of which there is too little.
pub fn prove(snapshot: &Snapshot) -> Result<(), Gap> {
    if snapshot.partitions.values().all(|partition| partition.guaranteed.is_none()) {
        return Ok(());
    }
    let usable = |state: NodeState| matches!(state, NodeState::Up | NodeState::Cordoned | NodeState::Away | NodeState::Spare);
    let (mut all, mut largest) = (Resources::default(), Resources::default());
    for node in snapshot.nodes.values().filter(|node| usable(node.state)) {
        all = all.plus(&node.capacity);
        largest = largest.max(&node.capacity);
    }
    let mut promised = Resources::default();
    for (name, wanted) in wanted(snapshot) {
        let guaranteed = snapshot.partitions.get(name).and_then(|partition| partition.guaranteed.as_ref());
        promised = promised.plus(&guaranteed.map_or_else(|| wanted.clone(), |guaranteed| guaranteed.max(&wanted)));
    }
    let missing = promised.minus(&all.minus(&largest));
    let gap = missing.entries().find(|(_, by)| *by > 0).map(|(resource, by)| Gap { resource: resource.to_owned(), by });
    gap.map_or(Ok(()), Err)
}
