//! The plan: what to place, where, why, and what has no place.

use crate::place::{Desk, Rigour};
use crate::protect::Reserves;
use crate::reason::{NotPlaced, Why, show_broken, show_server};
use crate::score::Strategy;
use crate::snapshot::{ServerId, Snapshot};
use crate::world::World;
use pan_model::HostName;
use std::fmt;

/// What to do, in the order in which to do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Servers to bind to a node: a cluster before those that wait for it, the important before the rest.
    pub place: Vec<Placement>,
    /// Servers without a place. One on a draining node stays there; any other does not run.
    pub not_placed: Vec<(ServerId, NotPlaced)>,
    /// Servers that lose their place to a more important one. One that finds another is in `place` too,
    /// one that does not is in `not_placed`.
    pub displaced: Vec<Displaced>,
    /// Where each protected server goes next, once the plan is carried out.
    pub reserves: Reserves,
    /// What was found on the way.
    pub report: Report,
}

/// What an event changes; see [`crate::Planner`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// As in [`Plan`].
    pub place: Vec<Placement>,
    /// As in [`Plan`].
    pub not_placed: Vec<(ServerId, NotPlaced)>,
    /// As in [`Plan`].
    pub displaced: Vec<Displaced>,
}

/// A server to bind to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The server.
    pub server: ServerId,
    /// Its new node.
    pub node: HostName,
    /// The node it is bound to now.
    pub from: Option<HostName>,
    /// Why there.
    pub why: Why,
}

/// A server that makes room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Displaced {
    /// The server.
    pub server: ServerId,
    /// The node it leaves.
    pub node: HostName,
    /// The server that takes its place.
    pub by: ServerId,
}

/// A promise that cannot be kept once the plan is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deficit {
    /// The server that would have no place.
    pub server: ServerId,
    /// The nodes whose loss it would not survive.
    pub lost: Vec<HostName>,
    /// What it would lack.
    pub short: String,
}

/// What a plan found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Servers that stay where they are.
    pub kept: usize,
    /// Servers with a promise, running once the plan is carried out.
    pub protected: usize,
    /// Promises that cannot be kept: an alarm until a node returns or something is given up.
    pub deficits: Vec<Deficit>,
}

/// How to plan.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// How nodes are compared.
    pub strategy: Strategy,
    /// The reserves of the plan before: a failover is then a lookup.
    pub reserves: Option<&'a Reserves>,
}

/// Places what has no place, moves what lost its node or must leave it, and nothing else.
///
/// A protected server that was admitted runs even where its promise cannot be kept for now
/// ([`Report::deficits`] says so); an unprotected one never takes what is reserved.
#[must_use]
pub fn plan(snapshot: &Snapshot) -> Plan {
    plan_with(snapshot, Options { strategy: Strategy::Cost, reserves: None })
}

/// [`plan`], with a choice of strategy and with the reserves of the plan before.
#[must_use]
pub fn plan_with(snapshot: &Snapshot, options: Options<'_>) -> Plan {
    decide(snapshot, options, Rigour::Admitted)
}

pub(crate) fn decide(snapshot: &Snapshot, options: Options<'_>, rigour: Rigour) -> Plan {
    let mut desk = Desk::new(World::new(snapshot), options, rigour);
    desk.fail_over();
    desk.place_rest();
    desk.finish()
}

impl Plan {
    /// The snapshot once the plan is carried out.
    #[must_use]
    pub fn applied(&self, snapshot: &Snapshot) -> Snapshot {
        let mut after = snapshot.clone();
        self.displaced.iter().for_each(|displaced| after.bind(&displaced.server, None));
        self.place.iter().for_each(|placed| after.bind(&placed.server, Some(placed.node.clone())));
        after
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.place.is_empty() && self.displaced.is_empty()
    }
}

impl fmt::Display for Deficit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_broken(&self.lost, &self.server, &self.short))
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = show_server(&self.server);
        match &self.from {
            Some(from) => write!(f, "{server} from {from} to {}: {}", self.node, self.why),
            None => write!(f, "{server} to {}: {}", self.node, self.why),
        }
    }
}

impl fmt::Display for Displaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leaves {} to {}", show_server(&self.server), self.node, show_server(&self.by))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.iter().try_for_each(|placed| writeln!(f, "place {placed}"))?;
        self.displaced.iter().try_for_each(|displaced| writeln!(f, "displace {displaced}"))?;
        self.not_placed.iter().try_for_each(|(server, reason)| writeln!(f, "no place for {}: {reason}", show_server(server)))?;
        self.report.deficits.iter().try_for_each(|deficit| writeln!(f, "unprotected: {deficit}"))?;
        write!(
            f,
            "{} kept, {} placed, {} without a place, {} protected",
            self.report.kept,
            self.place.len(),
            self.not_placed.len(),
            self.report.protected
        )
    }
}
