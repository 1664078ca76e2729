//! The best nodes for a kind of unit without looking at every node: a tournament over all nodes per kind of
//! question, brought up to date from the journal of nodes that changed since it was asked last.

use crate::board::{Board, Reach};
use crate::score::Strategy;
use crate::snapshot::NodeState;
use crate::world::{Amounts, NodeId, UnitId, World};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// How many tournaments are kept: some dozens of sizes of servers at 160 kB each for ten thousand nodes.
const TOURNAMENTS_MAX: usize = 64;

/// After how many runners-up, plus a share of all nodes, a plain pass over all nodes is cheaper.
const RUNNERS_UP_MIN: usize = 64;

/// Lower is better. The largest value means that the node is out of the question.
type Rank = u128;
const OUT: Rank = Rank::MAX;

/// What was changed, for those who remember how far they have read.
#[derive(Clone)]
pub(crate) struct Journal {
    nodes: Vec<NodeId>,
    /// The position of the first entry; never 0, so that who has read nothing is told to look at everything.
    dropped: u64,
    /// Up to where anybody has read.
    read: Cell<u64>,
    /// More entries than this are not worth reading.
    most: usize,
}

impl Journal {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes: Vec::new(), dropped: 1, read: Cell::new(0), most: nodes.max(64) }
    }

    pub(crate) fn note(&mut self, node: NodeId) {
        if self.nodes.last() == Some(&node) && self.read.get() < self.end() {
            return;
        }
        if self.nodes.len() == self.most {
            let half = self.most / 2;
            self.nodes.drain(..half);
            self.dropped += half as u64;
        }
        self.nodes.push(node);
    }

    fn end(&self) -> u64 {
        self.dropped + self.nodes.len() as u64
    }

    /// What was noted since; None if that is not known any more.
    fn since(&self, position: u64) -> Option<&[NodeId]> {
        self.read.set(self.end());
        let from = usize::try_from(position.checked_sub(self.dropped)?).ok()?;
        Some(&self.nodes[from..])
    }
}

/// A kind of question; units of one kind get the same answer, spread rules aside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    need: Amounts,
    labels: Vec<(String, String)>,
    aim: Aim,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aim {
    /// Room now, best score first; on spare nodes too if so said.
    Place { spares: bool, strategy: Strategy },
    /// Room after a loss.
    Backup,
}

#[derive(Clone)]
struct Tournament {
    /// The rank of each node, padded to a power of two.
    ranks: Vec<Rank>,
    /// The best node below each inner position; position 1 is the root, the children of `i` are `2i` and `2i + 1`.
    winners: Vec<u32>,
    /// Nodes whose state and labels allow it.
    open: Vec<bool>,
    read: u64,
    used_at: u64,
}

/// The tournaments of a board. Empty ones give the same answers as full ones, only later.
#[derive(Clone, Default)]
pub(crate) struct Index {
    by_question: RefCell<BTreeMap<Question, Tournament>>,
    clock: Cell<u64>,
}

impl Index {
    /// The best nodes for a unit now, the reserve aside, at most `most`: on nodes in service before spares, with
    /// little company where a soft spread rule asks for it, outside what is reserved, then by score.
    pub(crate) fn places(&self, board: &Board, unit: UnitId, reach: Reach, strategy: Strategy, most: usize) -> Vec<NodeId> {
        let spares = match reach {
            Reach::Up => false,
            Reach::Backup => true,
            Reach::Only(only) => return board.block(unit, only, reach).is_none().then_some(only).into_iter().collect(),
        };
        let least = board.company_min(unit);
        let (mut found, mut regular, mut ideal) = (Vec::new(), 0, 0);
        let nodes_up = board.world.nodes_up();
        let rank = |node| place_rank(board, unit, node, strategy, nodes_up);
        self.with(board, unit, Aim::Place { spares, strategy }, &rank, |tournament| {
            tournament.visit(|node, rank| {
                if board.crowded(unit, node).is_none() {
                    let spare = board.world.nodes[node].state == NodeState::Spare;
                    if spare && regular >= most {
                        return false;
                    }
                    let company = board.company(unit, node);
                    found.push(((spare, company), rank, node));
                    regular += usize::from(!spare);
                    ideal += usize::from(company == least && !spare);
                }
                ideal < most
            });
        });
        found.sort_unstable();
        found.into_iter().take(most).map(|(_, _, node)| node).collect()
    }

    /// The best node for a unit after a loss, among those that `allows`, and its rank. Loads of other units that
    /// would come there are not looked at.
    pub(crate) fn backup(&self, board: &Board, unit: UnitId, allows: impl Fn(NodeId) -> bool) -> Option<(Rank, NodeId)> {
        let mut best = None;
        let need = &board.world.units[unit].need;
        let rank = |node| if board.has_room(node, need, None) { backup_rank(board, need, node, None) } else { OUT };
        self.with(board, unit, Aim::Backup, &rank, |tournament| {
            tournament.visit(|node, rank| {
                if best.is_none_or(|best| (rank, node) < best) && allows(node) {
                    best = Some((rank, node));
                }
                best.is_none()
            });
        });
        best
    }

    /// Gets ready for questions about a unit.
    pub(crate) fn warm(&self, board: &Board, unit: UnitId, strategy: Strategy) {
        self.places(board, unit, Reach::Up, strategy, 1);
        self.backup(board, unit, |_| true);
    }

    /// Takes a dead node out of every answer.
    pub(crate) fn close(&mut self, node: NodeId) {
        for (question, tournament) in self.by_question.get_mut() {
            tournament.open[node] = false;
            // The number of nodes in service is part of every score.
            if question.aim != Aim::Backup {
                tournament.read = 0;
            }
        }
    }

    fn with(&self, board: &Board, unit: UnitId, aim: Aim, rank: &impl Fn(NodeId) -> Rank, ask: impl FnOnce(&Tournament)) {
        let world = &board.world;
        let view = &world.units[unit];
        let wanted = view.class.iter().flat_map(|cluster| &world.clusters[*cluster].spec.require_labels);
        let labels = wanted.map(|(key, value)| (key.clone(), value.clone())).collect();
        let question = Question { need: view.need.clone(), labels, aim };
        self.clock.set(self.clock.get() + 1);
        let mut all = self.by_question.borrow_mut();
        if !all.contains_key(&question) && all.len() == TOURNAMENTS_MAX {
            let oldest = all.iter().min_by_key(|(_, tournament)| tournament.used_at).map(|(question, _)| question.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        let tournament = all.entry(question).or_insert_with(|| Tournament::new(world, unit, aim));
        tournament.used_at = self.clock.get();
        match board.journal.since(tournament.read) {
            Some(changed) => changed.iter().for_each(|node| tournament.update(*node, rank)),
            None => tournament.fill(rank),
        }
        tournament.read = board.journal.end();
        ask(tournament);
    }
}

impl Tournament {
    fn new(world: &World, unit: UnitId, aim: Aim) -> Self {
        let states = |state: NodeState| match aim {
            Aim::Place { spares: false, .. } => state == NodeState::Up,
            Aim::Place { spares: true, .. } | Aim::Backup => state.backs_up(),
        };
        let size = world.nodes.len().next_power_of_two();
        let open = world.nodes.iter().enumerate().map(|(id, node)| states(node.state) && world.labels_met(unit, id)).collect();
        Self { ranks: vec![OUT; size], winners: vec![0; size], open, read: 0, used_at: 0 }
    }

    fn fill(&mut self, rank: &impl Fn(NodeId) -> Rank) {
        for node in 0..self.open.len() {
            self.ranks[node] = if self.open[node] { rank(node) } else { OUT };
        }
        (1..self.winners.len()).rev().for_each(|at| self.winners[at] = self.better(at));
    }

    fn update(&mut self, node: NodeId, rank: &impl Fn(NodeId) -> Rank) {
        let rank = if self.open[node] { rank(node) } else { OUT };
        if self.ranks[node] == rank {
            return;
        }
        self.ranks[node] = rank;
        let mut at = (self.winners.len() + node) / 2;
        while at > 0 {
            self.winners[at] = self.better(at);
            at /= 2;
        }
    }

    /// The winner at a position: that below it or, at a leaf, the node itself.
    fn winner(&self, at: usize) -> NodeId {
        at.checked_sub(self.winners.len()).unwrap_or_else(|| self.winners[at] as NodeId)
    }

    /// The better of a position's children; of equals the one with the lower number.
    fn better(&self, at: usize) -> u32 {
        let (left, right) = (self.winner(2 * at), self.winner(2 * at + 1));
        u32::try_from(if self.ranks[right] < self.ranks[left] { right } else { left }).expect("nodes are fewer than 2^32")
    }

    /// Visits nodes, best first, until told to stop. Past many of them the rest comes in no order: who has not
    /// stopped by then wants to see them all.
    fn visit(&self, mut go_on: impl FnMut(NodeId, Rank) -> bool) {
        let Some(root) = self.ranks.get(self.winner(1)).map(|rank| (*rank, self.winner(1))) else { return };
        if root.0 == OUT || !go_on(root.1, root.0) {
            return;
        }
        let mut heap: BinaryHeap<Reverse<(Rank, NodeId, usize)>> = BinaryHeap::new();
        let push_beside = |heap: &mut BinaryHeap<_>, leaf: NodeId, top: usize| {
            let mut at = leaf + self.winners.len();
            while at > top {
                let beside = self.winner(at ^ 1);
                if self.ranks[beside] != OUT {
                    heap.push(Reverse((self.ranks[beside], beside, at ^ 1)));
                }
                at /= 2;
            }
        };
        push_beside(&mut heap, root.1, 1);
        let mut most = RUNNERS_UP_MIN + self.open.len() / 16;
        while let Some(Reverse((rank, node, at))) = heap.pop() {
            if !go_on(node, rank) {
                return;
            }
            if most == 0 {
                return self.visit_after((rank, node), go_on);
            }
            most -= 1;
            push_beside(&mut heap, node, at);
        }
    }

    fn visit_after(&self, last: (Rank, NodeId), mut go_on: impl FnMut(NodeId, Rank) -> bool) {
        let rest = self.ranks.iter().enumerate().filter(|(node, rank)| **rank != OUT && (**rank, *node) > last);
        for (node, rank) in rest {
            go_on(node, *rank);
        }
    }
}

fn place_rank(board: &Board, unit: UnitId, node: NodeId, strategy: Strategy, nodes_up: usize) -> Rank {
    let (need, view) = (&board.world.units[unit].need, &board.world.nodes[node]);
    if !board.has_room(node, need, None) {
        return OUT;
    }
    let class = u128::from(view.state == NodeState::Spare) << 1 | u128::from(!board.spares(node, need));
    class << 64 | u128::from(ordered(strategy.score(need, board.used(node), &view.capacity, nodes_up)))
}

/// Backups gather on few nodes, so that the reserve stays near one node's worth in all: where nothing more has to
/// be kept free, on spare nodes first, then where most is reserved already, then on the emptiest.
pub(crate) fn backup_rank(board: &Board, need: &[u64], node: NodeId, load: Option<&[u64]>) -> Rank {
    let reserved = board.reserved(node);
    let grows = need.iter().enumerate().any(|(resource, need)| need + load.map_or(0, |load| load[resource]) > reserved[resource]);
    u128::from(grows) << 127 | backup_preference(board, node)
}

/// The part of a backup's rank that does not depend on the unit.
pub(crate) fn backup_preference(board: &Board, node: NodeId) -> Rank {
    let view = &board.world.nodes[node];
    let most = u128::from(u32::MAX);
    let (reserved, free) = (share(board.reserved(node), &view.capacity).min(most), board.free_share(node).min(most));
    u128::from(view.state != NodeState::Spare) << 64 | (most - reserved) << 32 | (most - free)
}

fn share(part: &[u64], of: &[u64]) -> u128 {
    part.iter().zip(of).map(|(part, of)| u128::from(*part) * 1000 / u128::from((*of).max(1))).max().unwrap_or(0)
}

/// A number in the order of [`f64::total_cmp`].
fn ordered(score: f64) -> u64 {
    let bits = score.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}
