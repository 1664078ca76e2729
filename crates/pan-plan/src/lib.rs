//! Where servers run, and the proof that they can run again after a failure.
//!
//! Everything here is a function of a [`Snapshot`]: no clock, no randomness, no input or output, no
//! order that depends on hashing. The same snapshot gives the same plan, so a what-if is the
//! production code run on a copy.
//!
//! - [`plan()`] places what has no place, moves what lost its node or must leave it, and touches nothing else.
//! - [`Planner`] does the same from event to event, without starting anew each time.
//! - [`protect`] turns a promise ("survives the loss of one node") into capacity that stays free.
//! - [`certify()`] checks the promise without trusting [`protect`]: it loses every node in turn.
//! - [`admit()`] refuses a change that would make a promise impossible to keep.
//! - [`evacuate`] empties a failure domain batch by batch, as far as every promise stays kept.
//! - [`taken`] says what draining nodes would take from whom.
//! - [`room()`] says how many more servers fit; [`ganeti`] reads and writes the files of another planner, to compare.
//! - [`replicas`] chooses the storage hosts of a volume.
//! - [`whatif`] and [`explain`] answer questions with the code that decides.

mod board;
mod index;
mod ledger;
mod order;
mod packing;
mod place;
mod planner;
mod room;
mod world;

pub mod admit;
pub mod certify;
pub mod evacuate;
pub mod ganeti;
pub mod guarantee;
pub mod plan;
pub mod protect;
pub mod reason;
pub mod replicas;
pub mod score;
pub mod snapshot;
pub mod taken;
pub mod whatif;
pub mod why;

pub use admit::{NOT_AVAILABLE_NOW, Refusal, admit};
pub use certify::{Certificate, Counterexample, certify};
pub use plan::{Change, Deficit, Displaced, Options, Placement, Plan, Report, plan, plan_with};
pub use planner::Planner;
pub use protect::{Broken, Held, Reserves, compute, hold};
pub use reason::{Cause, NotPlaced, Why};
pub use room::room;
pub use score::Strategy;
pub use snapshot::{Cluster, ClusterKey, Domain, Node, NodeState, Partition, Protect, ServerId, Snapshot, Spread};
pub use taken::Taken;
pub use whatif::WhatIf;
pub use why::{Explanation, explain};
