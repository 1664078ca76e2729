//! Why a server is where it is, and what speaks against every other node.

use crate::board::{Block, Board, Reach};
use crate::ledger::{Ledger, Tolerance};
use crate::plan::plan;
use crate::reason::{show_broken, show_server};
use crate::score::{Strategy, milli};
use crate::snapshot::{Protect, ServerId, Snapshot};
use crate::world::{NodeId, Task, UnitId, World};
use std::sync::Arc;

/// An answer to "why".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Where the server is or would go, in one sentence.
    pub decision: String,
    /// Why, a sentence each.
    pub reasons: Vec<String>,
    /// Every node: its score, or why it cannot have the server.
    pub alternatives: Vec<String>,
}

/// Explains where a server is, or what the planner would do with it.
#[must_use]
pub fn explain(snapshot: &Snapshot, server: &ServerId) -> Explanation {
    let name = show_server(server);
    let Some((_, cluster)) = snapshot.cluster_of(server) else {
        return Explanation { decision: format!("{name} does not exist"), reasons: Vec::new(), alternatives: Vec::new() };
    };
    let plan = plan(snapshot);
    let bound = snapshot.bound(server);
    let state = bound.and_then(|host| snapshot.nodes.get(host)).map(|node| node.state);
    let mut reasons = Vec::new();
    let decision = if let Some(placed) = plan.place.iter().find(|placed| placed.server == *server) {
        reasons.push(placed.why.to_string());
        placed
            .from
            .as_ref()
            .map_or_else(|| format!("{name} goes to {}", placed.node), |from| format!("{name} moves from {from} to {}", placed.node))
    } else if let Some((_, reason)) = plan.not_placed.iter().find(|(other, _)| other == server) {
        reasons.push(reason.to_string());
        match bound.filter(|_| state.is_some_and(|state| state.runs())) {
            Some(host) if !plan.displaced.iter().any(|displaced| displaced.server == *server) => {
                format!("{name} stays on {host} for want of another place")
            }
            _ => format!("{name} has no place"),
        }
    } else {
        reasons.push("a server stays where it is while its node is there".to_owned());
        bound.map_or_else(|| format!("{name} has no node"), |host| format!("{name} is on {host}"))
    };
    match cluster.protect.filter(|protect| protect.failures > 0) {
        None => reasons.push("its cluster is not protected".to_owned()),
        Some(Protect { failures: 1, domain }) => reasons.push(format!("its cluster is promised to survive the loss of any {domain}")),
        Some(Protect { failures, domain }) => {
            reasons.push(format!("its cluster is promised to survive the loss of any {failures} {domain}s at a time"))
        }
    }
    if let Some(host) = plan.reserves.backup.get(server) {
        reasons.push(format!("{host} keeps room for it"));
    }
    reasons.extend(plan.report.deficits.iter().filter(|deficit| deficit.server == *server).map(ToString::to_string));
    let alternatives = alternatives(&plan.applied(snapshot), server);
    Explanation { decision, reasons, alternatives }
}

/// Every node, as if the server were to be placed now.
fn alternatives(snapshot: &Snapshot, server: &ServerId) -> Vec<String> {
    let world = Arc::new(World::new(snapshot));
    let mut board = Board::new(&world);
    let mut ledger = Ledger::new(&mut board);
    let has = |unit: &UnitId| world.units[*unit].servers.iter().any(|id| world.server_id(*id) == *server);
    let homed = (0..world.units.len()).filter(has).find(|unit| board.home(*unit).is_some());
    let Some(unit) = homed.or_else(|| (0..world.units.len()).find(has)) else { return Vec::new() };
    let home = board.home(unit);
    if home.is_some() {
        let home = board.take(unit);
        ledger.remove(&mut board, unit, home);
    }
    let reach = if world.units[unit].task == Task::Failover { Reach::Backup } else { Reach::Up };
    let line = |node: NodeId| {
        let text = verdict(&world, &mut board, &ledger, (unit, node), reach);
        let here = if home == Some(node) { " (here)" } else { "" };
        format!("{}{here}: {text}", world.nodes[node].name)
    };
    (0..world.nodes.len()).map(line).collect()
}

fn verdict(world: &World, board: &mut Board, ledger: &Ledger, (unit, node): (UnitId, NodeId), reach: Reach) -> String {
    match board.block(unit, node, reach) {
        Some(Block::State(state)) => return format!("is {}", state.word()),
        Some(Block::Labels) => return "lacks a required label".to_owned(),
        Some(Block::Spread(cluster)) => return format!("already has a server of cluster {}", world.clusters[cluster].key.1),
        Some(Block::Short(short)) => return short.to_string(),
        None => {}
    }
    let (need, view) = (&world.units[unit].need, &world.nodes[node]);
    let score = milli(Strategy::Cost.score(need, board.used(node), &view.capacity, world.nodes_up()));
    board.put(unit, node);
    let entry = ledger.entry(board, unit, node, Tolerance::Nothing);
    board.take(unit);
    match entry {
        Ok(_) => format!("cost {}.{:03}", score / 1000, score % 1000),
        Err(breach) => show_broken(&world.hosts_of(breach.level, &breach.failed), &world.unit_id(breach.unit), &breach.short),
    }
}
