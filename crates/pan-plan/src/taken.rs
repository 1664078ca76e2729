//! What draining nodes takes away: for whoever drains them all the same, and is to know it before.

use crate::guarantee::{self, Gap};
use crate::plan::{Placement, plan};
use crate::protect::{Broken, hold};
use crate::reason::{NotPlaced, show_server};
use crate::snapshot::{ClusterKey, NodeState, ServerId, Snapshot};
use pan_model::HostName;
use std::collections::{BTreeMap, BTreeSet};

/// What is there now and would not be with some nodes drained. What is missing already is not among it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Where the nodes' servers would go.
    pub moves: Vec<Placement>,
    /// Servers that run and would have no place: on these nodes they stay, elsewhere they make room.
    pub homeless: Vec<(ServerId, NotPlaced)>,
    /// What the guarantees of partitions would lack.
    pub guarantees: Option<Gap>,
    /// Clusters whose promise would not hold any more, and the loss that breaks it.
    pub unprotected: BTreeMap<ClusterKey, Broken>,
}

impl Taken {
    /// Whether more is taken than the promise to survive a failure, which is there to be used up: somebody's room.
    #[must_use]
    pub const fn is_room(&self) -> bool {
        !self.homeless.is_empty() || self.guarantees.is_some()
    }

    /// What would be missing, each in a sentence: room first.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        let homeless = self.homeless.iter().map(|(server, reason)| format!("{} has no place: {reason}", show_server(server)));
        let guarantees = self.guarantees.iter().map(|gap| {
            let Gap { resource, by } = gap;
            format!(
                "guarantees of partitions are not covered if one more node is lost: {}",
                NotPlaced::NotAvailableNow { resource: resource.clone(), by: *by }
            )
        });
        let unprotected = self
            .unprotected
            .iter()
            .map(|((partition, cluster), broken)| format!("cluster {partition}/{cluster} is not protected: {broken}"));
        homeless.chain(guarantees).chain(unprotected).collect()
    }
}

/// What draining these nodes would take.
#[must_use]
pub fn taken(snapshot: &Snapshot, nodes: &BTreeSet<HostName>) -> Taken {
    let mut copy = snapshot.clone();
    for (name, node) in &mut copy.nodes {
        if nodes.contains(name) && node.state != NodeState::Down {
            node.state = NodeState::Draining;
        }
    }
    let plan = plan(&copy);
    let after = plan.applied(&copy);
    let before: BTreeSet<ServerId> = crate::plan::plan(snapshot).not_placed.into_iter().map(|(server, _)| server).collect();
    let fresh = |server: &ServerId| snapshot.bound(server).is_some() && !before.contains(server);
    let broken = |snapshot: &Snapshot| -> BTreeMap<ClusterKey, Broken> {
        let all = hold(snapshot).broken.into_iter();
        all.filter_map(|broken| Some((snapshot.cluster_of(&broken.server)?.0.clone(), broken))).collect()
    };
    let known = broken(snapshot);
    let guarantees = guarantee::prove(&after).err().filter(|gap| {
        let former = guarantee::prove(snapshot).err();
        former.is_none_or(|former| former.resource != gap.resource || former.by < gap.by)
    });
    Taken {
        homeless: plan.not_placed.into_iter().filter(|(server, _)| fresh(server)).collect(),
        guarantees,
        unprotected: broken(&after).into_iter().filter(|(cluster, _)| !known.contains_key(cluster)).collect(),
        moves: plan.place.into_iter().filter(|placed| placed.from.as_ref().is_some_and(|from| nodes.contains(from))).collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::snapshot::{Cluster, Domain, Node, Partition, Protect, Spread};
    use pan_model::{ByteSize, Cpu, Resources};

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    /// `nodes` nodes of 1000m, and the servers of a cluster on the first ones, one on each.
    fn with(nodes: usize, servers: usize, need: u64, protect: bool) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for at in 1..=nodes {
            let capacity = Resources::new(Cpu(1000), ByteSize(1 << 30));
            let node = Node { capacity, labels: BTreeMap::new(), state: NodeState::Up };
            snapshot.nodes.insert(name(&format!("n{at}")), node);
        }
        snapshot.partitions.insert("p".parse().unwrap(), Partition::default());
        let cluster = Cluster {
            need: Resources::new(Cpu(need), ByteSize(0)),
            spread: Spread::Require(Domain::Node),
            protect: protect.then_some(Protect { failures: 1, domain: Domain::Node }),
            priority: 500,
            after: Vec::new(),
            with: Vec::new(),
            require_labels: BTreeMap::new(),
            servers: (1..=servers).map(|at| (format!("web-{at}").parse().unwrap(), Some(name(&format!("n{at}"))))).collect(),
        };
        snapshot.clusters.insert(("p".parse().unwrap(), "web".parse().unwrap()), cluster);
        snapshot
    }

    fn of(snapshot: &Snapshot, node: &str) -> Taken {
        taken(snapshot, &BTreeSet::from([name(node)]))
    }

    #[test]
    fn where_all_promises_hold_nothing_is_taken() {
        let taken = of(&with(5, 3, 100, true), "n1");
        assert_eq!((taken.said(), taken.is_room(), taken.moves.len()), (vec![], false, 1));
        assert_eq!(of(&with(4, 3, 100, false), "n1").said(), Vec::<String>::new(), "nothing was promised");
    }

    #[test]
    fn the_last_spare_node_is_a_clusters_protection() {
        let all = with(4, 3, 100, true);
        for node in ["n1", "n4"] {
            let taken = of(&all, node);
            let said = taken.said();
            assert_eq!((said.len(), taken.is_room()), (1, false), "{node}: {said:?}");
            assert!(said[0].starts_with("cluster p/web is not protected: if n"), "{said:?}");
        }
        // What was broken before is not this drain's doing.
        assert_eq!(of(&with(3, 3, 100, true), "n9").said(), Vec::<String>::new());
        let mut broken = all;
        broken.nodes.get_mut(&name("n4")).unwrap().state = NodeState::Down;
        assert!(of(&broken, "n4").said().is_empty());
    }

    #[test]
    fn a_server_without_a_place_and_a_guarantee_without_room_are_somebodys_room() {
        let taken = of(&with(3, 3, 100, false), "n1");
        assert!(taken.is_room() && taken.said()[0].starts_with("p/web-1 has no place: "), "{:?}", taken.said());

        let mut promised = with(3, 1, 100, false);
        let partition = promised.partitions.get_mut(&"p".parse().unwrap()).unwrap();
        partition.guaranteed = Some(Resources::new(Cpu(1500), ByteSize(0)));
        let taken = of(&promised, "n3");
        assert!(taken.is_room() && taken.homeless.is_empty(), "{taken:?}");
        assert!(taken.said()[0].contains("guarantees of partitions are not covered"), "{:?}", taken.said());
    }
}
