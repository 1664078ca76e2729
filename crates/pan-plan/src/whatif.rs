//! What would happen: the production planner on a copy.

use crate::plan::{Options, Placement, Plan, plan, plan_with};
use crate::reason::NotPlaced;
use crate::score::Strategy;
use crate::snapshot::{Node, NodeState, ServerId, Snapshot};
use pan_model::HostName;

/// The difference that an event would make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhatIf {
    /// Servers that would be placed or moved because of it.
    pub moves: Vec<Placement>,
    /// Servers that would have no place because of it.
    pub lost: Vec<(ServerId, NotPlaced)>,
}

/// What would happen if these nodes died at once. Names that are no node's are ignored.
#[must_use]
pub fn fail(snapshot: &Snapshot, hosts: &[HostName]) -> WhatIf {
    let before = plan(snapshot);
    let mut copy = snapshot.clone();
    for host in hosts {
        if let Some(node) = copy.nodes.get_mut(host) {
            node.state = NodeState::Down;
        }
    }
    let after = plan_with(&copy, Options { strategy: Strategy::Cost, reserves: Some(&before.reserves) });
    difference(&before, after)
}

/// What would happen if a node joined; one of that name is replaced.
#[must_use]
pub fn add_node(snapshot: &Snapshot, name: HostName, node: Node) -> WhatIf {
    let before = plan(snapshot);
    let mut copy = snapshot.clone();
    copy.nodes.insert(name, node);
    difference(&before, plan(&copy))
}

fn difference(before: &Plan, after: Plan) -> WhatIf {
    let planned = |placed: &Placement| before.place.iter().any(|other| other.server == placed.server && other.node == placed.node);
    let missing = |server: &ServerId| before.not_placed.iter().any(|(other, _)| other == server);
    WhatIf {
        moves: after.place.into_iter().filter(|placed| !planned(placed)).collect(),
        lost: after.not_placed.into_iter().filter(|(server, _)| !missing(server)).collect(),
    }
}
