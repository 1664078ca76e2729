//! Who is placed first: a cluster before those that wait for it, the important before the rest.

use crate::world::{ClusterId, World};
use pan_model::{ClusterName, PartitionName};
use std::collections::{BTreeMap, VecDeque};

/// The place of a cluster in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank {
    /// Its own priority or that of the most important cluster that waits for it.
    pub(crate) priority: u16,
    /// The longest chain of clusters that it waits for.
    pub(crate) depth: usize,
}

/// The rank of every cluster. Clusters in a cycle of `after` (which no manifest can ask for) wait for nothing.
pub(crate) fn of(world: &World) -> Vec<Rank> {
    let clusters = &world.clusters;
    let index: BTreeMap<(&PartitionName, &ClusterName), ClusterId> =
        clusters.iter().enumerate().map(|(id, cluster)| ((&cluster.key.0, &cluster.key.1), id)).collect();
    let after: Vec<Vec<ClusterId>> = clusters
        .iter()
        .map(|cluster| cluster.spec.after.iter().filter_map(|name| index.get(&(&cluster.key.0, name)).copied()).collect())
        .collect();
    let mut waiters = vec![Vec::new(); clusters.len()];
    for (id, before) in after.iter().enumerate() {
        before.iter().for_each(|before| waiters[*before].push(id));
    }
    let mut ranks: Vec<Rank> = clusters.iter().map(|cluster| Rank { priority: cluster.spec.priority, depth: 0 }).collect();
    let mut open: Vec<usize> = after.iter().map(Vec::len).collect();
    let mut ready: VecDeque<ClusterId> = (0..clusters.len()).filter(|id| open[*id] == 0).collect();
    let mut sorted = Vec::with_capacity(clusters.len());
    while let Some(id) = ready.pop_front() {
        sorted.push(id);
        for waiter in &waiters[id] {
            ranks[*waiter].depth = ranks[*waiter].depth.max(ranks[id].depth + 1);
            open[*waiter] -= 1;
            if open[*waiter] == 0 {
                ready.push_back(*waiter);
            }
        }
    }
    for id in sorted.into_iter().rev() {
        let wanted = waiters[id].iter().map(|waiter| ranks[*waiter].priority).max().unwrap_or(0);
        ranks[id].priority = ranks[id].priority.max(wanted);
    }
    ranks
}
