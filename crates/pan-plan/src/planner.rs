//! The planner with its books kept between events, so that an event costs what it changes and not what there is.
//!
//! What it answers is taken to be carried out at once. The same events in the same order give the same answers. A
//! plan made from the resulting snapshot keeps the same promises, but may have arranged backups differently.

use crate::board::Reach;
use crate::ledger::Tolerance;
use crate::place::{Books, Desk, Rigour, deficits};
use crate::plan::{Change, Deficit, Options, Placement};
use crate::protect::Reserves;
use crate::reason::{Cause, Why};
use crate::score::Strategy;
use crate::snapshot::{Cluster, ClusterKey, Snapshot};
use crate::world::{Bound, ClusterId, NodeId, Task, UnitId, World};
use pan_model::{ClusterName, HostName, PartitionName};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// How many kinds of servers are prepared for; the first question about any other takes a look at every node.
const KINDS_MAX: usize = 32;

/// A PAN whose plan is kept up to date.
pub struct Planner {
    snapshot: Snapshot,
    strategy: Strategy,
    books: Books,
    clusters: BTreeMap<ClusterKey, ClusterId>,
    /// Clusters that others wait for or share nodes with: a change of these concerns more than itself.
    named: BTreeSet<ClusterKey>,
    /// Whether servers wait for a place beside others of their group; such a PAN is planned as a whole.
    grows: bool,
    /// Dead nodes that the books still count on.
    dead: Vec<NodeId>,
    /// Units that left a dead node, and the node.
    fled: Vec<(UnitId, NodeId)>,
}

impl Planner {
    /// Plans the whole PAN and keeps the books.
    #[must_use]
    pub fn new(snapshot: Snapshot, strategy: Strategy) -> (Self, Change) {
        let mut planner = Self {
            books: books_of(&Snapshot::default()),
            snapshot,
            strategy,
            clusters: BTreeMap::new(),
            named: BTreeSet::new(),
            grows: false,
            dead: Vec::new(),
            fled: Vec::new(),
        };
        let change = planner.renew();
        (planner, change)
    }

    /// The PAN as it is once every answer is carried out.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Anything may have changed: plans the whole PAN.
    pub fn replace(&mut self, snapshot: Snapshot) -> Change {
        self.snapshot = snapshot;
        self.renew()
    }

    /// A node died: sends its protected servers to where room is kept for them, a table lookup each. Call
    /// [`Planner::settle`] next; it places the others and puts the books in order.
    pub fn lose(&mut self, host: &HostName) -> Change {
        let Some(node) = self.snapshot.nodes.get_mut(host).filter(|node| node.state.runs()) else { return Change::default() };
        node.state = crate::snapshot::NodeState::Down;
        if self.grows {
            return self.renew();
        }
        let board = &mut self.books.board;
        let id = board.world.node_id(host).expect("the world has the snapshot's nodes");
        let mut units = board.there(id).to_vec();
        units.sort_by_key(|unit| {
            let view = &board.world.units[*unit];
            (Reverse(view.priority), Reverse(view.size), *unit)
        });
        let backups: Vec<Option<NodeId>> = units.iter().map(|unit| self.books.ledger.backup(&board.world, *unit, id)).collect();
        units.iter().for_each(|unit| {
            board.take(*unit);
        });
        board.bury(id);
        let mut change = Change::default();
        for (unit, backup) in units.into_iter().zip(backups) {
            self.fled.push((unit, id));
            let board = &mut self.books.board;
            board.world_mut().units[unit].task = Task::Failover;
            match backup.filter(|node| board.block(unit, *node, Reach::Backup).is_none()) {
                Some(node) => {
                    board.put(unit, node);
                    let to = &board.world.nodes[node].name;
                    let why = Why::Reserved { cause: Cause::Failover(host.clone()), node: to.clone() };
                    change.place.extend(board.world.units[unit].servers.iter().map(|server| Placement {
                        server: board.world.server_id(*server),
                        node: to.clone(),
                        from: Some(host.clone()),
                        why: why.clone(),
                    }));
                    self.note(unit);
                }
                None => self.books.touched.push(unit),
            }
        }
        self.dead.push(id);
        self.record(&change);
        change
    }

    /// Places whatever has no place, and proves anew what the last events concern.
    pub fn settle(&mut self) -> Change {
        let Books { board, ledger, .. } = &mut self.books;
        for (unit, node) in &self.fled {
            ledger.remove(board, *unit, *node);
        }
        for node in std::mem::take(&mut self.dead) {
            ledger.forsake(board, node);
        }
        let fled: BTreeSet<UnitId> = std::mem::take(&mut self.fled).into_iter().map(|(unit, _)| unit).collect();
        for unit in fled {
            if let Some(home) = board.home(unit) {
                let entry = ledger.entry(board, unit, home, Tolerance::Harm).expect("harm is tolerated");
                ledger.accept(board, entry);
            }
        }
        self.desk()
    }

    /// A cluster is wanted like this. A new one, and more servers of a known one, are placed without looking at the
    /// rest, unless it is part of a group or an order; anything else plans the whole PAN.
    pub fn want(&mut self, key: &ClusterKey, cluster: &Cluster) -> Change {
        let known = self.snapshot.clusters.get(key);
        let placed = |cluster: &Cluster| cluster.servers.values().any(Option::is_some);
        let alike = match known {
            None => cluster.after.is_empty() && !placed(cluster),
            Some(known) => grown(known, cluster),
        };
        let resources = &self.books.board.world.resources;
        let measured = cluster.need.entries().all(|(name, _)| resources.iter().any(|known| known == name));
        let alone = cluster.with.is_empty() && !self.named.contains(key);
        let easy = alike && measured && alone && self.books.ledger.knows(cluster.protect);
        let fresh: Vec<_> =
            cluster.servers.keys().filter(|name| known.is_none_or(|known| !known.servers.contains_key(*name))).cloned().collect();
        self.snapshot.clusters.insert(key.clone(), cluster.clone());
        if !easy {
            return self.renew();
        }
        let world = self.books.board.world_mut();
        let id = *self.clusters.entry(key.clone()).or_insert_with(|| world.admit(key, cluster));
        let units: Vec<UnitId> = fresh.iter().map(|name| world.admit_server(id, name)).collect();
        self.books.board.grow();
        self.books.touched.extend(units);
        self.settle()
    }

    /// Every promise that cannot be kept.
    #[must_use]
    pub fn deficits(&self) -> Vec<Deficit> {
        deficits(&self.books.board, &self.books.ledger)
    }

    /// Who goes where after a loss, and what is kept free for it.
    #[must_use]
    pub fn reserves(&self) -> Reserves {
        Reserves::of(&self.books.board, &self.books.ledger)
    }

    fn renew(&mut self) -> Change {
        self.books = books_of(&self.snapshot);
        (self.dead, self.fled) = Default::default();
        self.clusters = self.snapshot.clusters.keys().cloned().zip(0..).collect();
        self.named.clear();
        for ((partition, _), cluster) in &self.snapshot.clusters {
            let others = cluster.after.iter().chain(&cluster.with);
            self.named.extend(others.map(|name: &ClusterName| -> (PartitionName, ClusterName) { (partition.clone(), name.clone()) }));
        }
        let grew = self.has_growing();
        let change = self.desk();
        if grew {
            self.books = books_of(&self.snapshot);
        }
        self.grows = self.has_growing();
        self.warm();
        change
    }

    /// Gets ready for what is likely to be asked: a further server of any kind there is.
    fn warm(&self) {
        let (board, mut kinds) = (&self.books.board, BTreeSet::new());
        for cluster in &board.world.clusters {
            if kinds.len() < KINDS_MAX && kinds.insert((&cluster.need, &cluster.spec.require_labels)) {
                cluster.units.iter().take(1).for_each(|unit| board.index.warm(board, *unit, self.strategy));
            }
        }
    }

    fn has_growing(&self) -> bool {
        self.books.board.world.units.iter().any(|unit| matches!(unit.task, Task::Grow(_)))
    }

    /// Does what is open, and notes what came of it.
    fn desk(&mut self) -> Change {
        let books = std::mem::replace(&mut self.books, books_of(&Snapshot::default()));
        let mut desk = Desk::resume(books, Options { strategy: self.strategy, reserves: None }, Rigour::Admitted);
        desk.fail_over();
        desk.place_rest();
        let (change, books) = desk.pause();
        self.books = books;
        let touched: BTreeSet<UnitId> = std::mem::take(&mut self.books.touched).into_iter().collect();
        touched.into_iter().for_each(|unit| self.note(unit));
        self.record(&change);
        change
    }

    /// Brings the task of a unit, and what its servers are bound to, up to date with where it is.
    fn note(&mut self, unit: UnitId) {
        let (home, Books { board, claims, touched, .. }) = (self.books.board.home(unit), &mut self.books);
        let world = board.world_mut();
        let task = match (home, world.units[unit].task) {
            (Some(home), Task::Leave(from)) if home == from => Task::Leave(from),
            (Some(home), _) => Task::Keep(home),
            (None, Task::Keep(_) | Task::Leave(_)) => Task::New,
            (None, task @ (Task::New | Task::Failover | Task::Grow(_))) => task,
        };
        if home.is_none() || matches!(task, Task::Leave(_)) {
            touched.push(unit);
        }
        let displaced = home.is_none() && task == Task::New;
        world.units[unit].task = task;
        for server in world.units[unit].servers.clone() {
            let (cluster, former) = (world.servers[server].cluster, world.servers[server].bound.clone());
            if let Some(home) = home {
                world.servers[server].bound = Bound::To(home);
            } else if displaced && former != Bound::Nowhere {
                world.servers[server].bound = Bound::Nowhere;
                let view = &world.clusters[cluster];
                if let Some(claim) = claims.get_mut(&view.key.0) {
                    *claim = claim.minus(&view.spec.need);
                }
            }
        }
    }

    fn record(&mut self, change: &Change) {
        change.displaced.iter().for_each(|displaced| self.snapshot.bind(&displaced.server, None));
        change.place.iter().for_each(|placed| self.snapshot.bind(&placed.server, Some(placed.node.clone())));
    }
}

/// Whether a cluster is as before with the same servers or more, the new ones without a place.
fn grown(former: &Cluster, now: &Cluster) -> bool {
    let same = former.need == now.need
        && former.spread == now.spread
        && former.protect == now.protect
        && former.priority == now.priority
        && former.after == now.after
        && former.with == now.with
        && former.require_labels == now.require_labels;
    let fresh = |(name, node): (_, &Option<HostName>)| former.servers.get(name).map_or(node.is_none(), |former| former == node);
    let kept = former.servers.keys().all(|name| now.servers.contains_key(name));
    same && kept && now.servers.iter().all(fresh)
}

/// Books with every running server on its node.
fn books_of(snapshot: &Snapshot) -> Books {
    Desk::new(World::new(snapshot), Options { strategy: Strategy::Cost, reserves: None }, Rigour::Admitted).books()
}
