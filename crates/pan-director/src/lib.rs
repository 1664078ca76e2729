//! The director role: owns public addresses, spreads their connections over servers, and has proxies spread requests.
//!
//! The data path is the kernel's: each partition has a network namespace with an nftables table, and
//! this program only keeps table, links and addresses as the controller wants them. It decides nothing about
//! which servers are well or who owns an address. Agents may stop and start: what they made stays in force
//! and is taken over.

mod announce;
mod beyond;
mod census;
mod director;
mod error;
mod hear;
mod imports;
mod leave;
mod memory;
pub mod metrics;
mod namespace;
mod notices;
mod rules;
mod ruleset;
mod run;
mod specs;
mod standin;
mod suspicion;
mod tables;
mod unanswered;
mod units;
mod web;

#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod testing;

pub use director::Director;
pub use error::{Error, Trouble, Troubles};
pub use leave::leave;
pub use rules::script;
pub use run::{run, run_with};
pub use suspicion::{Suspicions, Told, down};
