//! Protection as reservation: every protected server has a backup, and the backup keeps room for it.
//!
//! What a node keeps free is, per resource, the most that any one loss would bring to it. Losses share
//! the room because only one of them happens, so in a PAN of like nodes the whole reserve is about one node.

use crate::board::Board;
use crate::ledger::Ledger;
use crate::reason::show_broken;
use crate::snapshot::{ServerId, Snapshot};
use crate::world::World;
use pan_model::{ByteSize, Cpu, HostName, Resources};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Who goes where after a loss, and what is kept free for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserves {
    /// The node that each protected server goes to when its own is lost.
    pub backup: BTreeMap<ServerId, HostName>,
    /// What each node keeps free; a node that is missing here keeps nothing.
    pub reserved: BTreeMap<HostName, Resources>,
}

/// A promise that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The nodes whose loss breaks it.
    pub lost: Vec<HostName>,
    /// The server that would then have no place.
    pub server: ServerId,
    /// What it would lack.
    pub short: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_broken(&self.lost, &self.server, &self.short))
    }
}

impl std::error::Error for Broken {}

/// Reserves for the protected servers that run; those that run nowhere have nothing to lose.
///
/// # Errors
/// [`Broken`] names a promise that cannot be kept.
pub fn compute(snapshot: &Snapshot) -> Result<Reserves, Broken> {
    if snapshot.clusters.values().all(|cluster| cluster.protect.is_none()) {
        return Ok(Reserves::default());
    }
    let world = Arc::new(World::new(snapshot));
    let mut board = Board::new(&world);
    let ledger = Ledger::new(&mut board);
    match ledger.breaches(&board).into_iter().next() {
        None => Ok(Reserves::of(&board, &ledger)),
        Some(breach) => {
            let lost = world.hosts_of(breach.level, &breach.failed);
            Err(Broken { lost, server: world.unit_id(breach.unit), short: breach.short })
        }
    }
}

/// The promises that can be kept, and those that cannot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Reserves for all that can be backed up, the important first.
    pub reserves: Reserves,
    /// The first reason for each server, or group of servers, whose promise cannot be kept.
    pub broken: Vec<Broken>,
}

/// [`compute`] for a PAN in need: keeps what promises it can instead of stopping at the first that breaks.
#[must_use]
pub fn hold(snapshot: &Snapshot) -> Held {
    let mut board = Board::new(&Arc::new(World::new(snapshot)));
    let mut ledger = Ledger::new(&mut board);
    ledger.heal(&mut board);
    let world = &board.world;
    let broken = ledger.breaches(&board).into_iter().map(|breach| {
        let lost = world.hosts_of(breach.level, &breach.failed);
        Broken { lost, server: world.unit_id(breach.unit), short: breach.short }
    });
    Held { broken: broken.collect(), reserves: Reserves::of(&board, &ledger) }
}

impl Reserves {
    pub(crate) fn of(board: &Board, ledger: &Ledger) -> Self {
        let world = &board.world;
        let mut backup: Vec<(ServerId, HostName)> = Vec::new();
        for unit in 0..world.units.len() {
            if let Some(node) = board.home(unit).and_then(|home| ledger.backup(world, unit, home)) {
                let servers = world.units[unit].servers.iter();
                backup.extend(servers.map(|server| (world.server_id(*server), world.nodes[node].name.clone())));
            }
        }
        let kept = (0..world.nodes.len()).filter(|node| board.reserved(*node).iter().any(|amount| *amount > 0));
        let reserved = kept.map(|node| (world.nodes[node].name.clone(), resources(&world.resources, board.reserved(node)))).collect();
        Self { backup: backup.into_iter().collect(), reserved }
    }
}

fn resources(names: &[String], amounts: &[u64]) -> Resources {
    let mut resources = Resources::default();
    for (name, amount) in names.iter().zip(amounts).filter(|(_, amount)| **amount > 0) {
        match name.as_str() {
            "cpu" => resources.cpu = Cpu(*amount),
            "memory" => resources.memory = ByteSize(*amount),
            other => {
                resources.other.insert(other.to_owned(), *amount);
            }
        }
    }
    resources
}
