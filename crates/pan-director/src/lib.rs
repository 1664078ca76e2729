//! The director role: owns public addresses and spreads their connections over servers, at layer 4.
//!
//! The data path is the kernel's: each partition has a network namespace with an nftables table, and
//! this program only keeps table, links and addresses as the controller wants them. It decides nothing about
//! which servers are well or who owns an address. Agents may stop and start: what they made stays in force
//! and is taken over.

pub mod rules;
pub mod ruleset;
pub mod units;

#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod testing;
