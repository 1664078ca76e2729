//! The protected servers of dead nodes: first, and by every means.

use super::desk::Desk;
use crate::board::{Block, Reach};
use crate::ledger::Tolerance;
use crate::packing::Packing;
use crate::reason::Why;
use crate::snapshot::Domain;
use crate::world::{NodeId, Task, UnitId, add, fits};
use std::cmp::Reverse;

impl Desk<'_> {
    /// Places the protected servers of dead nodes: where room is reserved for them, else one by one, else
    /// all together by search, else in the place of less important ones.
    pub(crate) fn fail_over(&mut self) {
        let lost = |unit: &UnitId| self.world.units[*unit].task == Task::Failover && self.world.units[*unit].protect.is_some();
        let mut units: Vec<UnitId> = self.open.iter().copied().filter(lost).collect();
        units.sort_by_key(|unit| {
            let view = &self.world.units[*unit];
            (Reverse(view.priority), Reverse(view.size), *unit)
        });
        units.retain(|unit| !self.reserved_place(*unit));
        if self.one_by_one(&units) || self.together(&units) {
            return;
        }
        self.one_by_one(&units);
        for unit in units {
            if self.board.home(unit).is_none() && !self.make_room(unit) {
                let reason = self.board.refusal(unit, Reach::Backup);
                self.refuse(unit, reason);
            }
        }
    }

    fn reserved_place(&mut self, unit: UnitId) -> bool {
        let Some(reserves) = self.options.reserves else { return false };
        let Some(host) = reserves.backup.get(&self.world.unit_id(unit)) else { return false };
        let Some(node) = self.world.node_id(host) else { return false };
        if self.board.block(unit, node, Reach::Backup).is_some() {
            return false;
        }
        let entry = self.attempt(unit, node, Tolerance::Harm).expect("harm is tolerated");
        self.book(unit, node, entry);
        self.placed.insert(unit, Why::Reserved { cause: self.cause(unit), node: host.clone() });
        true
    }

    /// Whether all found a place.
    fn one_by_one(&mut self, units: &[UnitId]) -> bool {
        let mut all = true;
        for unit in units {
            all &= self.settle(*unit, Reach::Backup, self.cause(*unit)).is_ok();
        }
        all
    }

    /// Takes back what was done one by one and looks for an arrangement of all; leaves all unplaced if there is none.
    fn together(&mut self, units: &[UnitId]) -> bool {
        for unit in units.iter().copied() {
            if self.board.home(unit).is_some() {
                self.leave(unit);
                self.placed.remove(&unit);
            }
        }
        let mut packing = Packing::new(&self.board, Domain::Node, &[]);
        if !packing.search(units) {
            return false;
        }
        for (unit, node) in std::mem::take(&mut packing.places) {
            let entry = self.attempt(unit, node, Tolerance::Harm).expect("harm is tolerated");
            self.book(unit, node, entry);
            let node = self.world.nodes[node].name.clone();
            self.placed.insert(unit, Why::Packed { cause: self.cause(unit), node });
        }
        true
    }

    /// Puts a unit in the place of unprotected ones of lower priority, as few and unimportant as possible.
    fn make_room(&mut self, unit: UnitId) -> bool {
        let options = (0..self.world.nodes.len()).filter_map(|node| Some((self.victims(unit, node)?, node)));
        let worst = |victims: &[UnitId]| victims.iter().map(|victim| self.world.units[*victim].priority).max();
        let Some((victims, node)) = options.min_by_key(|(victims, node)| (worst(victims), victims.len(), *node)) else { return false };
        for victim in victims {
            self.board.take(victim);
            self.placed.remove(&victim);
            self.displaced.insert(victim, (node, self.world.unit_id(unit)));
        }
        let entry = self.attempt(unit, node, Tolerance::Harm).expect("harm is tolerated");
        self.book(unit, node, entry);
        let node = self.world.nodes[node].name.clone();
        self.placed.insert(unit, Why::Room { cause: self.cause(unit), node });
        true
    }

    /// The units that would have to leave a node; None if that would not help.
    fn victims(&self, unit: UnitId, node: NodeId) -> Option<Vec<UnitId>> {
        match self.board.block(unit, node, Reach::Backup) {
            Some(Block::Short(_)) => {}
            Some(Block::State(_) | Block::Labels | Block::Spread(_)) | None => return None,
        }
        let view = &self.world.units[unit];
        let lower = |other: &UnitId| {
            let other = &self.world.units[*other];
            other.protect.is_none() && other.priority < view.priority
        };
        let mut there: Vec<UnitId> = self.board.there(node).iter().copied().filter(lower).collect();
        there.sort_by_key(|other| (self.world.units[*other].priority, Reverse(self.world.units[*other].size), *other));
        let mut free = self.board.free(node);
        let mut victims = Vec::new();
        for other in there {
            if fits(&view.need, &free) {
                break;
            }
            add(&mut free, &self.world.units[other].need);
            victims.push(other);
        }
        fits(&view.need, &free).then_some(victims)
    }
}
