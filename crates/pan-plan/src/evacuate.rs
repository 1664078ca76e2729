//! Emptying a failure domain for planned work: which nodes may be drained next, so that every promise stays kept.
//!
//! A domain is emptied batch by batch. A batch is at most what one of the promises in force covers, so that losing it
//! while it is on its way is a loss that was promised to be survived; and with the batch gone every promise must still
//! hold. What comes next is a function of the snapshot and the nodes wanted empty, so whoever asks again later goes on.

use crate::certify::{Counterexample, certify};
use crate::plan::{Placement, plan};
use crate::reason::{NotPlaced, show_server};
use crate::snapshot::{Domain, NodeState, ServerId, Snapshot};
use pan_model::HostName;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What to do now for some nodes to become empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// All of them are.
    Done,
    /// These are being emptied: nothing more until they are.
    Wait(BTreeSet<HostName>),
    /// Drain these.
    Drain(BTreeSet<HostName>),
}

/// Some of the nodes, and what leaves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The nodes drained together.
    pub nodes: BTreeSet<HostName>,
    /// Where their servers go.
    pub moves: Vec<Placement>,
}

/// Why some nodes cannot be emptied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stuck {
    /// A promise would be broken.
    Broken(Counterexample),
    /// A server would have no place.
    Homeless(ServerId, Box<NotPlaced>),
    /// There are too many losses to prove that every promise holds.
    Unproved(String),
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(case) => write!(f, "a promise would be broken: {case}"),
            Self::Homeless(server, reason) => write!(f, "{} would have no place: {reason}", show_server(server)),
            Self::Unproved(reason) => write!(f, "that every promise holds cannot be proved: {reason}"),
        }
    }
}

impl std::error::Error for Stuck {}

/// What to do now for the `wanted` nodes to become empty. Those that are draining already count as begun, dead ones as
/// empty.
///
/// # Errors
/// [`Stuck`]: not even one more node may be drained now, or not all of them could ever be.
pub fn next(snapshot: &Snapshot, wanted: &BTreeSet<HostName>) -> Result<Next, Stuck> {
    let state = |node: &HostName| snapshot.nodes.get(node).map(|node| node.state);
    let used: BTreeSet<&HostName> = snapshot.clusters.values().flat_map(|cluster| cluster.servers.values()).flatten().collect();
    let begun = wanted.iter().filter(|node| state(node) == Some(NodeState::Draining));
    let busy: BTreeSet<HostName> = begun.filter(|node| used.contains(node)).cloned().collect();
    if !busy.is_empty() {
        return Ok(Next::Wait(busy));
    }
    let rest: BTreeSet<HostName> =
        wanted.iter().filter(|node| !matches!(state(node), None | Some(NodeState::Draining | NodeState::Down))).cloned().collect();
    if rest.is_empty() {
        return Ok(Next::Done);
    }
    without(snapshot, &rest)?;
    let (mut batch, mut refused) = (BTreeSet::new(), None);
    for node in rest {
        let mut larger = batch.clone();
        larger.insert(node);
        if !is_one_failure(snapshot, &larger) {
            continue;
        }
        match without(snapshot, &larger) {
            Ok(_) => batch = larger,
            Err(stuck) => refused = refused.or(Some(stuck)),
        }
    }
    match refused {
        Some(stuck) if batch.is_empty() => Err(stuck),
        _ => Ok(Next::Drain(batch)),
    }
}

/// All batches, as if each were emptied before the next begins.
///
/// # Errors
/// As [`next`].
pub fn batches(snapshot: &Snapshot, wanted: &BTreeSet<HostName>) -> Result<Vec<Batch>, Stuck> {
    let mut copy = snapshot.clone();
    let mut all = Vec::new();
    loop {
        let nodes = match next(&copy, wanted)? {
            Next::Done => return Ok(all),
            Next::Drain(nodes) => nodes,
            // Begun before: what is under way ends first.
            Next::Wait(nodes) => nodes,
        };
        drain(&mut copy, &nodes);
        let plan = plan(&copy);
        copy = plan.applied(&copy);
        let leaves = |placed: &Placement| placed.from.as_ref().is_some_and(|from| nodes.contains(from));
        let moves: Vec<Placement> = plan.place.into_iter().filter(leaves).collect();
        let stays = |(server, _): &(ServerId, NotPlaced)| copy.bound(server).is_some_and(|node| nodes.contains(node));
        if let Some((server, reason)) = plan.not_placed.into_iter().find(stays) {
            return Err(Stuck::Homeless(server, Box::new(reason)));
        }
        all.push(Batch { nodes, moves });
    }
}

fn drain(snapshot: &mut Snapshot, nodes: &BTreeSet<HostName>) {
    for (name, node) in &mut snapshot.nodes {
        if nodes.contains(name) && node.state != NodeState::Down {
            node.state = NodeState::Draining;
        }
    }
}

/// Whether everything has a place and every promise holds while and after these nodes are drained.
fn without(snapshot: &Snapshot, nodes: &BTreeSet<HostName>) -> Result<(), Stuck> {
    let mut copy = snapshot.clone();
    drain(&mut copy, nodes);
    let plan = plan(&copy);
    // What has no place either way is not these nodes' doing; what loses its own to a more important one is.
    let before = crate::plan::plan(snapshot).not_placed;
    let fresh = |server: &ServerId| snapshot.bound(server).is_some() && !before.iter().any(|(other, _)| other == server);
    if let Some((server, reason)) = plan.not_placed.iter().find(|(server, _)| fresh(server)) {
        return Err(Stuck::Homeless(server.clone(), Box::new(reason.clone())));
    }
    for state in [&plan.applied(&copy), &copy] {
        let proof = certify(state, None);
        match (proof.ok, proof.counterexample, proof.unproved) {
            (true, _, _) => {}
            (false, Some(case), _) => return Err(Stuck::Broken(case)),
            (false, None, reason) => return Err(Stuck::Unproved(reason.unwrap_or_default())),
        }
    }
    Ok(())
}

/// Whether losing these nodes together is a loss that every promise in force covers. Where nothing is promised, one
/// node is: nobody said that more may be away at once.
fn is_one_failure(snapshot: &Snapshot, nodes: &BTreeSet<HostName>) -> bool {
    let spans = |level: Domain| nodes.iter().map(|name| domain_of(snapshot, name, level)).collect::<BTreeSet<_>>().len();
    let mut levels: BTreeMap<Domain, usize> = BTreeMap::new();
    for cluster in snapshot.clusters.values().filter(|cluster| !cluster.servers.is_empty()) {
        if let Some(protect) = cluster.protect.filter(|protect| protect.failures > 0) {
            let failures = usize::try_from(protect.failures).unwrap_or(usize::MAX);
            levels.entry(protect.domain).and_modify(|least| *least = failures.min(*least)).or_insert(failures);
        }
    }
    if levels.is_empty() {
        return nodes.len() <= 1;
    }
    levels.into_iter().all(|(level, failures)| spans(level) <= failures)
}

/// The failure domain of a node; nodes without the label are one together.
fn domain_of<'a>(snapshot: &'a Snapshot, name: &'a HostName, level: Domain) -> &'a str {
    match level {
        Domain::Node => name.as_str(),
        Domain::Rack | Domain::Zone | Domain::Region => {
            snapshot.nodes.get(name).and_then(|node| node.labels.get(level.word())).map_or("", String::as_str)
        }
    }
}
